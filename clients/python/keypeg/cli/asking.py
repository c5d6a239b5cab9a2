"""What people are asked for on a terminal.

Promises: a secret comes from a prompt, a file or standard input, never from the command line; nothing is asked where
nobody can answer.

Leaves to others: what is done with the answers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TextIO

import click

SECRET_SIZE: Final = 4096  # characters read of a file; a ticket has 53, a password 1,024 at most

password_option: Final[Callable[..., Any]] = click.option(
    "--password-file",
    type=click.File("r"),
    metavar="FILE",
    help="Read the password from the first line of FILE; - is standard input.",
)


def secret(what: str, file: TextIO | None, *, again: bool = False) -> str:
    """A line that nobody sees, from a file, from standard input, or by asking; twice for what is made anew."""
    if file is None and sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, confirmation_prompt=again, err=True))
    return (file or sys.stdin).readline(SECRET_SIZE).rstrip("\r\n")


def line(what: str, option: str) -> str:
    """A line by asking; where nobody can be asked, it has to come by an option."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"Nobody can be asked here: give {option}.")
    return str(click.prompt(what, err=True))


def confirmed(question: str) -> bool:
    """Whether a person says yes; nobody to ask is a usage error."""
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: give --yes, or --dry-run.")
    return click.confirm(question, err=True)

"""keypegd in this process: for what it says and how it ends, where a process of its own would show nothing more.

Promises: logging is afterwards as it was before.

Leaves to others: that the installed program says the same (test_program.py starts it, too).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import structlog
from click.testing import CliRunner

from keypeg_server.main import cli

QUIET = {"GRPC_VERBOSITY": "NONE"}  # which keypegd sets for itself, and would stay


def command(*arguments: object, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run keypegd; its exit code and all that it said."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        done = CliRunner().invoke(
            cli, [str(one) for one in arguments], env={**QUIET, **(env or {})}
        )
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def failed(*arguments: object, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Run keypegd, which fails; its exit code and its one sentence."""
    code, said = command(*arguments, env=env)
    assert code != 0, said
    return code, sentence(said)


def sentence(said: str) -> str:
    """The one sentence that a keypegd which failed has said."""
    (line,) = said.strip().splitlines()
    assert line.startswith("keypegd: ")
    assert line.endswith(".")
    return line

"""Groups and commands that load late.

Promises: a lazy group lists its commands, with one line each, without loading them; a command may be a
coroutine; the options that every command shares are taken before and after the noun alike.

Leaves to others: which commands there are (main.py) and what the shared options mean (context.py).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

SETTINGS: Final = "keypeg.settings"  # in Context.meta, shared by all contexts of one run
OUTPUTS: Final = ("table", "json", "jsonl", "csv")
ENVIRONMENT: Final = {
    "profile": "KEYPEG_PROFILE",
    "server": "KEYPEG_SERVER",
    "ca_file": "KEYPEG_CA_FILE",
    "bridge": "KEYPEG_BRIDGE",
    "output": "KEYPEG_OUTPUT",
}


@dataclass(frozen=True)
class Late:
    """Where a command is, and its line in the list."""

    module: str
    name: str
    summary: str


def keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """Keep a shared option's value for context.py; the one nearest to the end of the line wins."""
    if param.name is not None and value not in (None, False):
        ctx.meta.setdefault(SETTINGS, {})[param.name] = value
    return value


def shared_options(*, hidden: bool) -> list[click.Parameter]:
    """The options that every command takes; fresh objects each time, as click binds them."""

    def option(*names: str, **how: Any) -> click.Option:
        return click.Option(names, callback=keep, expose_value=False, **how)

    def variable(name: str) -> str | None:
        # Only the outermost group reads the environment: the command line must win over it.
        return None if hidden else ENVIRONMENT[name]

    return [
        option(
            "-o",
            "--output",
            type=click.Choice(OUTPUTS),
            envvar=variable("output"),
            help="How to print: table (default), json, jsonl or csv.",
        ),
        option(
            "--profile",
            metavar="NAME",
            envvar=variable("profile"),
            hidden=hidden,
            help="Which profile to use: a server and who signs in there.",
        ),
        option(
            "--server",
            metavar="HOST:PORT",
            envvar=variable("server"),
            hidden=hidden,
            help="The server, instead of the profile's.",
        ),
        option(
            "--ca-file",
            metavar="FILE",
            type=click.Path(dir_okay=False),
            envvar=variable("ca_file"),
            hidden=hidden,
            help="Certificates that the server is verified with, instead of the profile's.",
        ),
        option(
            "--bridge",
            metavar="TARGET",
            envvar=variable("bridge"),
            hidden=hidden,
            help="The bridge to keys: unix:/path or host:port.",
        ),
        option(
            "--debug",
            is_flag=True,
            hidden=hidden,
            help="Print the reason code, and the traceback of an error.",
        ),
    ]


class Command(click.Command):
    """A command with the shared options; its function may be a coroutine."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.params.extend(shared_options(hidden=True))

    def invoke(self, ctx: click.Context) -> Any:
        result = super().invoke(ctx)
        if inspect.iscoroutine(result):
            import asyncio

            return asyncio.run(result)
        return result


class Group(click.Group):
    """A noun: a group whose commands are `Command`s."""

    command_class = Command
    group_class = type


class LateGroup(click.Group):
    """A group whose commands are loaded when they are named."""

    def __init__(
        self, *args: Any, chapters: Sequence[tuple[str, Mapping[str, Late]]], **how: Any
    ) -> None:
        super().__init__(*args, **how)
        self.chapters = chapters
        self.late = {name: late for _, chapter in chapters for name, late in chapter.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        late = self.late.get(cmd_name)
        if late is None:
            return None
        command = getattr(importlib.import_module(late.module), late.name)
        assert isinstance(command, click.Command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=late.summary)
            for name, late in self.late.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.late))
        for title, chapter in self.chapters:
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), late.summary) for name, late in chapter.items()]
                )

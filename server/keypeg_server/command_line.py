"""What the commands of `keypegd` share: options, exit codes, reading settings, and failing with one sentence.

Promises: `fail` ends the program with one sentence on standard error, never a traceback.

Leaves to others: the commands (main.py, keeping_commands.py).
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NoReturn

import click

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2

DATA = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="The data directory.",
)
SETTINGS = click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The settings file; DATA/keypegd.toml otherwise.",
)

DATABASE = click.option(
    "--database",
    metavar="URL",
    help="A PostgreSQL database, postgresql://user@host/name, instead of storage.database; other users of this "
    "computer see a password in it, so leave that to PGPASSFILE.",
)
OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print what was found.",
)


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> timedelta:
        from keypeg.settings_reading import duration

        if isinstance(value, timedelta):
            return value
        found = duration(value)
        if found is None:
            self.fail(f"{value!r} is no duration such as 90s, 10m or 2h.", param, ctx)
        return found


DURATION = _Duration()


def read_settings(data: Path, settings_file: Path | None, database: str | None = None) -> Any:
    """The settings of a data directory, with this database if there is one; ends the program when they are wrong."""
    from keypeg.settings_reading import SettingsError
    from keypeg_server.settings_reading import FILE_NAME, load, with_database

    if settings_file is not None and not settings_file.exists():
        fail(f"{settings_file}: there is no such settings file.", EXIT_USAGE)
    try:
        return with_database(load(settings_file or data / FILE_NAME, os.environ), database)
    except SettingsError as error:
        fail(str(error), EXIT_USAGE)


def fail(sentence: str, code: int) -> NoReturn:
    """End the program."""
    click.echo(f"keypegd: {sentence}", err=True)
    sys.exit(code)

"""The commands that keep a server's data: `keypegd backup`, `restore` and `check`.

Promises: what can not be done is one sentence and exit code 1, and leaves nothing behind, also when it is
interrupted; progress goes to standard error. `check` exits with 0 when nothing is wrong, with 1 otherwise.

Leaves to others: the work (backing_up.py, restoring.py, checking.py), imported when it is needed.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from keypeg_server.command_line import (
    DATA,
    DATABASE,
    DURATION,
    EXIT_ERROR,
    EXIT_USAGE,
    OUTPUT,
    SETTINGS,
    fail,
    read_settings,
)
from keypeg_server.loading import loading

if TYPE_CHECKING:
    from keypeg_server.findings import Finding
    from keypeg_server.storage.snapshot import Progress

LARGE: Final = 64 * 1024 * 1024  # bytes of a file, above which its progress is told
STEPS: Final = 10  # times that it is told
MIB: Final = 1024 * 1024


@click.command()
@DATA
@SETTINGS
@DATABASE
@click.option(
    "--without-secrets",
    is_flag=True,
    help="Leave out secrets/ and tls/. A server restored from such a backup can sign nothing and starts "
    "only when both are put back from elsewhere.",
)
@click.argument("to", type=click.Path(path_type=Path))
def backup(
    data: Path, settings_file: Path | None, database: str | None, without_secrets: bool, to: Path
) -> None:
    """Copy a server, running or not, into the new directory TO."""
    settings = read_settings(data, settings_file, database)
    with loading():
        from keypeg_server.backing_up import make
        from keypeg_server.settings_reading import FILE_NAME

    with _sentences():
        made = make(
            data,
            settings,
            settings_file or data / FILE_NAME,
            to.absolute(),
            with_secrets=not without_secrets,
            progress=_progress(),
        )
    manifest = made.manifest
    size = sum(entry.bytes for entry in manifest.files) / MIB
    click.echo(f"backup:      {to}  ({len(manifest.files)} files, {size:.1f} MiB)")
    click.echo(
        f"as of:       {manifest.create_time:%Y-%m-%d %H:%M:%S} UTC, schema {manifest.schema}"
    )
    click.echo(f"holds:       {_counts(manifest.counts)}")
    if manifest.with_secrets:
        click.echo("secret:      it holds the server's keys; keep it where nobody else reads it")
    for line in made.left_out:
        click.echo(f"not in it:   {line}")


@click.command()
@DATA
@click.option(
    "--database",
    metavar="URL",
    envvar="KEYPEGD_STORAGE__DATABASE",
    help="Restore into this PostgreSQL database, which has no tables yet, instead of a file in DATA.",
)
@click.option(
    "--stopped-for",
    type=DURATION,
    default="0s",
    help="How long ago the server of the backup stopped, such as 20m. Seats are held back until nobody can "
    "believe any more in one that it gave after the backup: for an hour since then.",
)
@click.option(
    "--sign-out",
    is_flag=True,
    help="End all tokens: everyone signs in again. What was signed out after the backup would else be "
    "signed in again.",
)
@click.argument("backup", type=click.Path(path_type=Path, file_okay=False))
def restore(
    data: Path, database: str | None, stopped_for: timedelta, sign_out: bool, backup: Path
) -> None:
    """Make a new data directory from the backup BACKUP."""
    with loading():
        from keypeg_server.address import AddressError, PostgresUrl
        from keypeg_server.restoring import restore as work

    try:
        url = PostgresUrl.read(database) if database else None
    except AddressError as error:
        fail(f"--database: {error}", EXIT_USAGE)
    with _sentences():
        made = work(
            backup.absolute(),
            data,
            stopped_for=stopped_for,
            sign_out=sign_out,
            progress=_progress(),
            database=url,
        )
    manifest = made.manifest
    click.echo(f"restored:    {data}, as of {manifest.create_time:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(f"holds:       {_counts(manifest.counts)}")
    click.echo(
        "first:       see that the server of the backup is stopped, and is never started again"
    )
    click.echo(
        "seats:       who holds or waits by the backup keeps it, and has one full grant to come back"
    )
    if made.pools_held_back:
        minutes = made.holds_back_for.total_seconds() / 60
        click.echo(
            f"             no other seat is given in the first {minutes:.0f} min after the start: others "
            "may have got one after the backup (--stopped-for)"
        )
    click.echo(
        "numbers:     fencing numbers and generations go on above all that can have been given"
    )
    click.echo(
        "forgotten:   all after the backup: licenses, activations, sign-ins, sign-outs, removed users"
    )
    for path in made.missing:
        click.echo(f"missing:     {path}; put it and tls/ there before the first start")
    if not made.missing:
        click.echo(f"next:        keypegd check --data {data}, then keypegd serve --data {data}")
    served = read_settings(data, None).storage.database
    if url is not None and served != database:
        click.echo(
            f"database:    {url}; say so in storage.database, or with --database to each command"
        )
    elif url is None and served:
        click.echo(
            f"attention:   {data}/keypegd.toml names another database, {PostgresUrl.read(served)}; take that out to "
            "serve what was restored"
        )


@click.command()
@DATA
@SETTINGS
@DATABASE
@OUTPUT
def check(data: Path, settings_file: Path | None, database: str | None, output: str) -> None:
    """Look whether a data directory is whole.

    Beside a running server or without one.
    """
    settings = read_settings(data, settings_file, database)
    with loading():
        from keypeg_server.checking import check as work
        from keypeg_server.checking import is_clean
        from keypeg_server.clock import SystemClock

    with _sentences():
        found = work(data, settings, SystemClock())
    clean = is_clean(found)
    if output == "json":
        checks = [
            {
                "check": one.check,
                "verdict": one.verdict.value,
                "said": one.said,
                "advice": one.advice,
            }
            for one in found
        ]
        click.echo(json.dumps({"clean": clean, "checks": checks}, indent=2))
    else:
        _print(found)
    sys.exit(0 if clean else EXIT_ERROR)


def _print(found: list[Finding]) -> None:
    marks = {"good": "✓", "soon": "!", "bad": "✗"}
    try:
        "".join(marks.values()).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        marks = {"good": "ok", "soon": "!!", "bad": "NO"}
    width = max(len(one.check) for one in found)
    for one in found:
        mark = marks[one.verdict.value]
        click.echo(f"{mark} {one.check:<{width}}  {one.said}")
        if one.advice:
            click.echo(f"{'':{len(mark)}} {'':{width}}  -> {one.advice}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _progress() -> Progress:
    """Tells of large files, at every tenth."""
    told: dict[str, int] = {}

    def progress(what: str, done: int, total: int) -> None:
        step = done * STEPS // total if total else STEPS
        if total >= LARGE and told.get(what) != step:
            told[what] = step
            click.echo(f"{what}: {done // MIB:,} of {total // MIB:,} MiB", err=True)

    return progress


@contextmanager
def _sentences() -> Iterator[None]:
    """End with a sentence for what is foreseen to go wrong; SIGTERM ends it as an interrupt does."""
    from keypeg_server.backing_up import BackupError
    from keypeg_server.secret_files import SecretError
    from keypeg_server.storage.snapshot import SnapshotError

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except (BackupError, SecretError, SnapshotError) as error:
        fail(str(error), EXIT_ERROR)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}.", EXIT_ERROR)
    except KeyboardInterrupt:
        fail("It was interrupted; nothing was left behind.", EXIT_ERROR)
    finally:
        signal.signal(signal.SIGTERM, before)

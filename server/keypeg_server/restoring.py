"""`keypegd restore`: a data directory from a backup, ready to be served in the place of the lost one.

Promises: every file is what the manifest says, or nothing is restored; a directory that holds something is
refused, and what was begun is removed; so is a PostgreSQL database that has tables. The marker that makes the directory a server is written last. What
must not happen twice after a restore does not (storage/restored.py).

Leaves to others: stopping the earlier server for good, which no program can see to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from keypeg.errors import KeypegError
from keypeg.ids import id_text, uuid7
from keypeg_server import secret_files
from keypeg_server.address import PostgresUrl
from keypeg_server.backing_up import BackupError, copy_file, sync_folders, write_file
from keypeg_server.clock import SystemClock, to_us
from keypeg_server.domain.restored import holds_back_for
from keypeg_server.manifest import FILE_NAME, MAX_BYTES, Manifest, ManifestError, read
from keypeg_server.opened import DATABASE_FILE, MARKER, TLS_FOLDER
from keypeg_server.storage import carrying, schema, snapshot
from keypeg_server.storage.restored import Restoration, make_fit
from keypeg_server.storage.snapshot import Progress
from keypeg_server.storage.sqlite import SqliteDatabase

PUBLIC: Final = frozenset({f"{TLS_FOLDER}/ca.pem", f"{TLS_FOLDER}/server.pem"})


@dataclass(frozen=True)
class Restored:
    """What was restored."""

    manifest: Manifest
    holds_back_for: timedelta
    pools_held_back: int
    missing: tuple[str, ...]  # secrets that have to be put back before the first start


def restore(
    source: Path,
    data: Path,
    *,
    stopped_for: timedelta,
    sign_out: bool,
    progress: Progress,
    database: PostgresUrl | None = None,
) -> Restored:
    """Restore a backup into a directory that is empty or not there; BackupError when that can not be.

    `database`: one without tables, that is to be served instead of a file in the directory.
    """
    manifest = _manifest(source)
    if data.is_symlink() or (data.exists() and not data.is_dir()):
        raise BackupError(f"{data} is no directory; name one that is empty or not there.")
    made = not data.exists()
    if not made and any(data.iterdir()):
        raise BackupError(f"{data} is not empty; a restore replaces nothing, name a new directory.")
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise BackupError(f"{data} can not be made ({error.strerror}); choose another.") from error
    try:
        return _fill(source, data, manifest, stopped_for, sign_out, progress, database)
    except BaseException:
        _empty(data, remove=made)
        raise


def _manifest(source: Path) -> Manifest:
    path = source / FILE_NAME
    try:
        with path.open("rb") as handle:
            return read(handle.read(MAX_BYTES))
    except OSError as error:
        raise BackupError(
            f"{source} is no backup: {path} can not be read ({error.strerror})."
        ) from error
    except ManifestError as error:
        raise BackupError(f"The backup can not be used: {path} {error}.") from error


def _fill(
    source: Path,
    data: Path,
    manifest: Manifest,
    stopped_for: timedelta,
    sign_out: bool,
    progress: Progress,
    database: PostgresUrl | None,
) -> Restored:
    _check_complete(data, manifest)
    for entry in manifest.files:
        mode = 0o644 if entry.path in PUBLIC else 0o600
        origin = source / entry.path
        try:
            found = copy_file(origin, data / entry.path, mode, progress)
        except FileNotFoundError as error:
            raise BackupError(
                f"The backup lacks {origin}, which its manifest names; use another backup."
            ) from error
        if found != (entry.bytes, entry.sha256):
            raise BackupError(
                f"{origin} is not what was backed up (its length or SHA-256 differs); use another backup."
            )
    (data / secret_files.FOLDER).mkdir(exist_ok=True, mode=0o700)
    clock = SystemClock()
    clock.never_before(manifest.create_time)
    now_us = to_us(clock.wall())
    held_back_for = holds_back_for(stopped_for)
    restoration = Restoration(
        now_us=now_us,
        backup_time_us=to_us(manifest.create_time),
        holds_back_for=held_back_for,
        new_id=lambda: id_text(uuid7(now_us, os.urandom(8))),
        sign_out=sign_out,
    )
    pools = _with_database(data / DATABASE_FILE, manifest, restoration)
    missing = [
        str(path) for path in secret_files.needed(data, manifest.publishers) if not path.exists()
    ]
    if database is not None:
        _carry(data / DATABASE_FILE, database)
    sync_folders(data)
    write_file(data / MARKER, b"keypegd restored this directory.\n", 0o644)
    sync_folders(data)
    return Restored(manifest, held_back_for, pools, tuple(missing))


def _check_complete(data: Path, manifest: Manifest) -> None:
    """Refuse a manifest that names less than a server needs."""
    named = {entry.path for entry in manifest.files}
    wanted = {DATABASE_FILE}
    if manifest.with_secrets:
        needed = secret_files.needed(data, manifest.publishers)
        wanted.update(path.relative_to(data).as_posix() for path in needed)
    for path in sorted(wanted - named):
        later = path.removesuffix("key")  # signing-ID.KEY.key, when the first signs no more
        if later.endswith(".") and any(one.startswith(later) for one in named):
            continue
        raise BackupError(f"The backup's manifest names no {path}; use another backup.")


def _with_database(path: Path, manifest: Manifest, restoration: Restoration) -> int:
    """Check the database, bring it up to date, and make it fit."""
    with snapshot.snapshot(path) as view:
        contents = snapshot.contents_of(view)
        if (contents.schema, contents.counts, contents.publishers) != (
            manifest.schema,
            manifest.counts,
            manifest.publishers,
        ):
            raise BackupError(
                "The database of the backup is not the one of its manifest (its schema or its counts differ); "
                "use another backup."
            )
        found = snapshot.problems(view)
        if found:
            raise BackupError(f"The database of the backup is damaged ({found[0]}); use another.")

    def work(connection: Connection) -> int:
        schema.upgrade(connection)
        return make_fit(connection, restoration)

    return _changed(path, work)


def _changed(path: Path, work: Callable[[Connection], int]) -> int:
    try:
        database = SqliteDatabase.open(path)
    except KeypegError as error:
        raise BackupError(error.sentence) from error
    try:
        return database.migrate(work)
    except KeypegError as error:
        raise BackupError(f"The backup can not be restored: {error.sentence}") from error
    finally:
        database.close()


def _carry(path: Path, url: PostgresUrl) -> None:
    """Let the database go on in PostgreSQL, and the file go."""
    from keypeg_server.storage.postgres import PostgresDatabase  # loads the driver

    try:
        database = PostgresDatabase.open(url)
    except KeypegError as error:
        raise BackupError(error.sentence) from error
    try:
        database.migrate(lambda connection: carrying.from_file(path, connection))
    except KeypegError as error:
        raise BackupError(f"The backup can not be restored: {error.sentence}") from error
    finally:
        database.close()
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def _empty(data: Path, *, remove: bool) -> None:
    """Take away what was begun."""
    for path in data.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if remove:
        data.rmdir()

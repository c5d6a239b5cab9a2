"""`keypegd backup`: one directory that holds all that a server needs, made while it runs.

Promises: the backup appears whole, under its name, or not at all; it is readable by its owner only, and
replaces nothing. All that was acknowledged before it began is in it. The server is not disturbed: its
database is read as storage/snapshot.py says. It is the same whether that is SQLite or PostgreSQL, so that each
can be restored into the other.

Leaves to others: reading it again (restoring.py), and keeping it safe: it holds the server's secrets, unless
they were left out. The publisher's root key is never in it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keypeg._version import __version__
from keypeg_server import secret_files
from keypeg_server.address import PostgresUrl
from keypeg_server.clock import SystemClock, from_us
from keypeg_server.manifest import FILE_NAME, FileEntry, Manifest, is_path, text
from keypeg_server.opened import DATABASE_FILE, MARKER, TLS_FOLDER, place_of
from keypeg_server.settings import Settings
from keypeg_server.settings_reading import FILE_NAME as SETTINGS_FILE
from keypeg_server.storage import carrying, snapshot
from keypeg_server.storage.snapshot import Progress
from keypeg_server.storage.upkeep import HIGH_WATER
from keypeg_server.vaults import vault_of

PIECE: Final = 1024 * 1024  # bytes read at once


class BackupError(Exception):
    """Why there is no backup: one sentence."""


@dataclass(frozen=True)
class Backup:
    """A backup that was made."""

    folder: Path
    manifest: Manifest
    left_out: tuple[str, ...]  # what a person may look for in it, and why it is not there


def make(
    data: Path,
    settings: Settings,
    settings_file: Path,
    target: Path,
    *,
    with_secrets: bool,
    progress: Progress,
) -> Backup:
    """Back a data directory up into `target`; BackupError, SecretError or SnapshotError when that can not be."""
    if not (data / MARKER).exists():
        raise BackupError(f"{data} holds no server; --data names the directory of one.")
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} is there already; a backup replaces nothing, name another.")
    if not target.parent.is_dir():
        raise BackupError(f"There is no directory {target.parent} to make the backup in.")
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}.partial-", dir=target.parent))
    try:
        made = _fill(partial, data, settings, settings_file, with_secrets, progress)
        sync_folders(partial)
        partial.rename(target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    manifest, left_out = made
    return Backup(target, manifest, left_out)


def _fill(
    folder: Path,
    data: Path,
    settings: Settings,
    settings_file: Path,
    with_secrets: bool,
    progress: Progress,
) -> tuple[Manifest, tuple[str, ...]]:
    database = folder / DATABASE_FILE
    place = place_of(data, settings)
    if isinstance(place, PostgresUrl):
        contents = carrying.to_file(place, database)
    else:
        contents = snapshot.copy(place, database, progress)
    # The secrets come after the database: a publisher that is in it has its key by then.
    sources, left_out = _sources(data, settings, settings_file, contents.publishers, with_secrets)
    entries = [FileEntry(DATABASE_FILE, *digest_of(database, progress))]
    for path, source in sources.items():
        entries.append(FileEntry(path, *copy_file(source, folder / path, 0o600, progress)))
    clock = SystemClock()
    clock.never_before(from_us(_high_water_us(database)))
    manifest = Manifest(
        keypeg=__version__,
        schema=contents.schema,
        create_time=clock.wall(),
        host_name=socket.gethostname(),
        data=str(data.resolve()),
        with_secrets=with_secrets,
        publishers=contents.publishers,
        counts=contents.counts,
        files=tuple(entries),
    )
    write_file(folder / FILE_NAME, text(manifest).encode(), 0o600)
    return manifest, left_out


def _sources(
    data: Path,
    settings: Settings,
    settings_file: Path,
    publishers: Iterable[str],
    with_secrets: bool,
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Where each file of the backup comes from, but for the database; and what is not taken."""
    found: dict[str, Path] = {}
    left_out = ["root/: the publisher's root key is kept offline, by people"]
    if settings_file.exists():
        found[SETTINGS_FILE] = settings_file
    if not with_secrets:
        left_out.append(
            "secrets/ and tls/: a server restored from this backup can sign nothing and starts only when "
            "both are put back from elsewhere; the database still holds logins and password hashes"
        )
        return found, tuple(left_out)
    vault = vault_of(data, settings)
    for file in secret_files.needed(data, publishers):
        if not secret_files.is_elsewhere(
            file
        ):  # without it, or with a broken one, it would be none
            secret_files.read_key(file, vault)
    for folder in (secret_files.FOLDER, TLS_FOLDER):
        if (data / folder).is_dir():
            for file in sorted((data / folder).iterdir()):
                if file.is_file() and not file.name.endswith(".partial"):
                    found[f"{folder}/{file.name}"] = file
    server = settings.server
    for name in (server.tls_certificate, server.tls_key):
        if name:
            own = data / name
            if own.resolve().is_relative_to(data.resolve()) and is_path(name):
                found[name] = own
            else:
                left_out.append(f"{own}: it is not in the data directory; back it up by itself")
    return found, tuple(left_out)


def _high_water_us(database: Path) -> int:
    with snapshot.snapshot(database) as view:
        row = view.execute("SELECT value FROM meta WHERE key = ?", (HIGH_WATER,)).fetchone()
        return 0 if row is None else int(row[0])


# Files: whole, synced, with their digest.


def copy_file(source: Path, target: Path, mode: int, progress: Progress) -> tuple[int, str]:
    """Copy a file into a new one; its length and SHA-256."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    total = source.stat().st_size
    digest = hashlib.sha256()
    done = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as output, source.open("rb") as content:
        os.fchmod(descriptor, mode)
        while piece := content.read(PIECE):
            output.write(piece)
            digest.update(piece)
            done += len(piece)
            progress(target.name, done, total)
        output.flush()
        os.fsync(descriptor)
    return done, digest.hexdigest()


def digest_of(path: Path, progress: Progress) -> tuple[int, str]:
    """The length and SHA-256 of a file."""
    total = path.stat().st_size
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as content:
        while piece := content.read(PIECE):
            digest.update(piece)
            done += len(piece)
            progress("checksum", done, total)
    return done, digest.hexdigest()


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Write a new file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as output:
        os.fchmod(descriptor, mode)
        output.write(content)
        output.flush()
        os.fsync(descriptor)


def sync_folders(folder: Path) -> None:
    """Put the names in a directory and below it on disk."""
    for path in (folder, *(one for one in folder.rglob("*") if one.is_dir())):
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Put the names in a directory on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

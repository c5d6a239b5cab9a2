"""What a backup says of itself: `manifest.json`.

Promises: `read` gives back exactly what `text` wrote, and refuses everything else with one sentence: another
format, a newer version, a changed or truncated manifest, a path that leads out of the backup.

Leaves to others: whether the files are what the manifest says (restoring.py).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

FILE_NAME: Final = "manifest.json"
FORMAT: Final = "keypegd backup"
VERSION: Final = 1
MAX_BYTES: Final = 4 * 1024 * 1024  # one entry of a file takes some 150

# What a backup may hold: nothing leads out of it, whoever wrote the manifest.
_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PATH: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class ManifestError(Exception):
    """Why a manifest is none: the end of a sentence."""


@dataclass(frozen=True)
class FileEntry:
    """A file of the backup."""

    path: str  # below the backup, with /
    bytes: int
    sha256: str  # hexadecimal


@dataclass(frozen=True)
class Manifest:
    """A backup, without its files."""

    keypeg: str  # the version that made it
    schema: str  # the migration that the database is at
    create_time: datetime  # by the server's clock, which never goes backward
    host_name: str
    data: str  # the data directory that was copied
    with_secrets: bool
    publishers: tuple[str, ...]  # ids
    counts: dict[str, int]
    files: tuple[FileEntry, ...]


def is_path(path: str) -> bool:
    """Whether a file of a backup may be called so."""
    return _PATH.fullmatch(path) is not None and ".." not in path


def text(manifest: Manifest) -> str:
    """The manifest as JSON, with its own SHA-256 at the end."""
    content: dict[str, Any] = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    content["create_time"] = manifest.create_time.isoformat()
    content["sha256"] = _digest(content)
    return json.dumps(content, indent=2) + "\n"


def read(content: bytes) -> Manifest:
    """The manifest; ManifestError says why it is none."""
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError
    except (ValueError, RecursionError) as error:
        raise ManifestError("is not JSON; it may be truncated") from error
    if found.get("format") != FORMAT:
        raise ManifestError("is not of a keypegd backup")
    if found.get("version") != VERSION:
        raise ManifestError(
            f"has version {found.get('version')!r}, and this keypegd reads {VERSION}; use a newer one"
        )
    digest = found.pop("sha256", None)
    if digest != _digest(found):
        raise ManifestError("was changed after it was written")
    try:
        return _manifest(found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ManifestError(f"is not complete ({error})") from error


def _manifest(found: dict[str, Any]) -> Manifest:
    files = tuple(
        FileEntry(str(one["path"]), int(one["bytes"]), str(one["sha256"])) for one in found["files"]
    )
    for entry in files:
        if not is_path(entry.path):
            raise ManifestError(f"names a file {entry.path!r} that no backup holds")
        if not _DIGEST.fullmatch(entry.sha256):
            raise ManifestError(f"has no SHA-256 for {entry.path}")
    create_time = datetime.fromisoformat(found["create_time"])
    if create_time.tzinfo is None:
        raise ValueError("create_time has no time zone")
    return Manifest(
        keypeg=str(found["keypeg"]),
        schema=str(found["schema"]),
        create_time=create_time,
        host_name=str(found["host_name"]),
        data=str(found["data"]),
        with_secrets=bool(found["with_secrets"]),
        publishers=tuple(str(one) for one in found["publishers"]),
        counts={str(name): int(count) for name, count in found["counts"].items()},
        files=files,
    )


def _digest(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()

"""The server's secrets, one file each below the data directory, readable by their owner only.

Promises: `create` makes what is missing and replaces nothing; `load` refuses when one is missing, instead
of making another that would fit nothing that was signed before. A secret is never in a repr.

Leaves to others: what each is for (the services), and the publisher's root key, which is not needed to serve.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keypeg.document import Ed25519Signer
from keypeg_server.tls import write_secret

FOLDER: Final = "secrets"
SECRET_BYTES: Final = 32


class SecretError(Exception):
    """One sentence: which file, and what is wrong with it."""


@dataclass(frozen=True)
class Secrets:
    """What a server needs to know."""

    site: Ed25519Signer
    ticket_key: bytes = field(repr=False)
    release_key: bytes = field(repr=False)
    management_key: bytes = field(repr=False)  # the master of all management keys of smart keys


_NAMES: Final = ("site", "ticket", "release", "management")


def create(data: Path) -> None:
    """Make the secrets that are missing."""
    for name in _NAMES:
        key_file(_path(data, name), lambda: secrets.token_bytes(SECRET_BYTES))


def load(data: Path) -> Secrets:
    """All secrets; SecretError when one is missing or is none."""
    site, ticket, release, management = (read_key(_path(data, name)) for name in _NAMES)
    return Secrets(Ed25519Signer(site), ticket, release, management)


def signing_file(data: Path, publisher: str) -> Path:
    """Where the key is that signs for a publisher (id)."""
    return _path(data, f"signing-{publisher}")


def later_signing_files(data: Path, publisher: str) -> dict[str, Path]:
    """The files of keys that came after the first, by their ids."""
    prefix = f"signing-{publisher}."  # no publisher's id has a point
    found = sorted((data / FOLDER).glob(f"{prefix}*.key"))
    return {path.name.removeprefix(prefix).removesuffix(".key"): path for path in found}


def later_signing_file(data: Path, publisher: str, id: str) -> Path:
    """Where a key goes that comes after the first."""
    return _path(data, f"signing-{publisher}.{id}")


def needed(data: Path, publishers: Iterable[str]) -> list[Path]:
    """All secrets that a server of these publishers (ids) does not start without."""
    keys = [signing_file(data, publisher) for publisher in publishers]
    return [*(_path(data, name) for name in _NAMES), *keys]


def key_file(path: Path, make: Callable[[], bytes]) -> bytes:
    """The key in a file, made when the file is not there."""
    if not path.exists():
        write_secret(path, make().hex().encode() + b"\n")
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The 32 bytes of a key file; SecretError when it is missing or holds something else."""
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise SecretError(
            f"The secret {path} can not be read ({error.strerror}); restore it from a backup."
        ) from error
    except ValueError as error:
        raise SecretError(
            f"The secret {path} is not in hexadecimal; restore it from a backup."
        ) from error
    return key_of_text(path, text)


def key_of_text(path: Path, text: str) -> bytes:
    """The key in the text of a file."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError as error:
        raise SecretError(
            f"The secret {path} is not in hexadecimal; restore it from a backup."
        ) from error
    if len(key) != SECRET_BYTES:
        raise SecretError(
            f"The secret {path} has {len(key)} bytes, not {SECRET_BYTES}; restore it from a backup."
        )
    return key


def exposed(data: Path) -> list[Path]:
    """Secrets that others than their owner may read."""
    folder = data / FOLDER
    return [path for path in sorted(folder.iterdir()) if os.stat(path).st_mode & 0o077]


def _path(data: Path, name: str) -> Path:
    return data / FOLDER / f"{name}.key"

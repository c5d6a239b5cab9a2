"""The server's secrets, one file each below the data directory, readable by their owner only.

Promises: `create` makes what is missing and replaces nothing; `load` refuses when one is missing, instead
of making another that would fit nothing that was signed before. A secret is never in a repr. Files are wrapped where there is a vault.

Leaves to others: under what they are wrapped (vaults.py), what each is for (the services), and the publisher's root key, which is not needed to serve.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keypeg.document import Ed25519Signer
from keypeg_server.service.wrapping import UnwrapError, Wrapping
from keypeg_server.tls import write_secret

FOLDER: Final = "secrets"
SECRET_BYTES: Final = 32
ELSEWHERE: Final = "pkcs11:"  # what a file begins with that names a key of a token
WRAPPED: Final = "keypeg-wrapped-1:"  # what a wrapped key file begins with


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


def create(data: Path, vault: Wrapping | None = None) -> None:
    """Make the secrets that are missing."""
    for name in _NAMES:
        key_file(_path(data, name), lambda: secrets.token_bytes(SECRET_BYTES), vault)


def load(data: Path, vault: Wrapping | None) -> Secrets:
    """All secrets; SecretError when one is missing or is none."""
    site, ticket, release, management = (read_key(_path(data, name), vault) for name in _NAMES)
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
    keys: list[Path] = []
    for publisher in publishers:
        first = signing_file(data, publisher)
        later = list(later_signing_files(data, publisher).values())
        keys += later if later and not first.exists() else [first, *later]
    return [*(_path(data, name) for name in _NAMES), *keys]


def key_files(data: Path) -> list[Path]:
    """All files that hold a key here; not those that name one of a token."""
    return [path for path in sorted((data / FOLDER).glob("*.key")) if not is_elsewhere(path)]


def is_elsewhere(path: Path) -> bool:
    """Whether a file only names a key, which is in a PKCS#11 token."""
    return path.exists() and text_of(path).startswith(ELSEWHERE)


def key_file(path: Path, make: Callable[[], bytes], vault: Wrapping | None = None) -> bytes:
    """The key in a file, made when the file is not there."""
    if not path.exists():
        write_key(path, make(), vault)
    return read_key(path, vault)


def write_key(path: Path, key: bytes, vault: Wrapping | None) -> None:
    """Write a key file, wrapped where there is a vault."""
    text = key.hex()
    if vault is not None:
        text = WRAPPED + base64.b64encode(vault.wrap(key, path.name)).decode()
    write_secret(path, text.encode() + b"\n")


def read_key(path: Path, vault: Wrapping | None = None) -> bytes:
    """The 32 bytes of a key file; SecretError when it is missing or holds something else."""
    text = text_of(path)
    if not text.startswith(WRAPPED):
        return key_of_text(path, text)
    if vault is None:
        raise SecretError(
            f"The secret {path} is wrapped; secrets.wrapping_key has to say under what."
        )
    try:
        wrapped = base64.b64decode(text.removeprefix(WRAPPED).strip(), validate=True)
        return vault.unwrap(wrapped, path.name)
    except (binascii.Error, UnwrapError) as error:
        raise SecretError(
            f"The secret {path} is wrapped under another key than that of secrets.wrapping_key, or was changed."
        ) from error


def text_of(path: Path) -> str:
    """The text of a key file."""
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise SecretError(
            f"The secret {path} can not be read ({error.strerror}); restore it from a backup."
        ) from error
    except ValueError as error:
        raise SecretError(
            f"The secret {path} is not in hexadecimal; restore it from a backup."
        ) from error


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

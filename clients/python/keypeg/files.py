"""Small files that are written whole and durably, or not at all.

Promises: a file is readable by its owner only; when `write` has returned, its content survives a loss of power;
until then the one before is there. Reading is bounded.

Leaves to others: what is in them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keypeg.errors import FieldInvalid

_NO_SYNC: Final = (errno.EINVAL, errno.ENOTSUP)  # some network disks can not


def write(path: Path, data: bytes) -> None:
    """Writes a file, 0600, with the directories above it."""
    _place(path, data, os.replace)


def write_once(path: Path, data: bytes) -> bool:
    """Writes a file, unless there is one; True when this call did."""
    there = False

    def link(name: str, place: Path) -> None:
        nonlocal there
        try:
            os.link(name, place)
        except FileExistsError:
            there = True

    _place(path, data, link)
    return not there


def _place(path: Path, data: bytes, put: Callable[[str, Path], None]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                _sync(descriptor)
            put(name, path)
        finally:
            with contextlib.suppress(OSError):  # it has its place, as a rule
                os.unlink(name)
        _settle(path.parent)
    except OSError as error:
        raise FieldInvalid(
            f"{path} can not be written: {error.strerror}; make room, or set KEYPEG_CONFIG_DIR to a "
            "directory of your own.",
            field="config",
        ) from error


def read(path: Path, size: int) -> bytes:
    """Reads a file of at most `size` bytes; FileNotFoundError when it is not there."""
    try:
        with path.open("rb") as file:
            data = file.read(size + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise FieldInvalid(f"{path} can not be read: {error.strerror}.", field="config") from error
    if len(data) > size:
        raise FieldInvalid(f"{path} is longer than {size} bytes.", field="config")
    return data


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _settle(directory: Path) -> None:
    """The name of a new file is durable, too, where directories can be synced."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

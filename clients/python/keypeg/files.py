"""Small files that are written whole and durably, or not at all.

Promises: a file is readable by its owner only; when `write` has returned, its content survives a loss of power;
until then the one before is there. Reading is bounded.

Leaves to others: what is in them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from keypeg.errors import FieldInvalid


def write(path: Path, data: bytes) -> None:
    """Writes a file, 0600, with the directories above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
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


def _settle(directory: Path) -> None:
    """The name of a new file is durable, too, where directories can be synced."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):  # some network disks can not
            os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The bridge's memory of keys on its disk.

Promises: replaced as a whole, on disk when `save` returns, readable by the bridge's own user only. A file that cannot be read
is a MemoryUnreadable of one sentence, never an empty memory by the way. A disk that cannot be written is in the log: the bridge
goes on by what it has in memory.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import structlog

from keypeg_bridge.rack.memory import ACTIVATIONS, KEYS, Known, Seen

FILE: Final = "seen.json"
VERSION: Final = 1
MAX_BYTES: Final = 16 * 1024 * 1024
"""Of the file; all that is remembered takes some 4 MB."""
ROOT_BYTES: Final = 32
_LOG = structlog.get_logger(__name__)


class MemoryUnreadable(Exception):
    """What was seen cannot be read; one sentence."""


class MemoryFile:
    """The file in one directory."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._failing = False

    def load(self) -> Seen:
        """What was kept; nothing when there is no file yet."""
        try:
            with self._path.open("rb") as handle:
                content = handle.read(MAX_BYTES + 1)
            return _decoded(content)
        except FileNotFoundError:
            return Seen()
        except OSError as error:
            raise MemoryUnreadable(
                f"{self._path} cannot be read: {error.strerror}. Give it back to the bridge's user."
            ) from error
        except Exception as error:  # whatever is wrong with the contents
            raise MemoryUnreadable(
                f"{self._path} is damaged. Restore it; or remove it, and this bridge forgets which"
                " keys were lost and which contents are old."
            ) from error

    def save(self, seen: Seen) -> None:
        """Replace it."""
        partial = self._path.with_suffix(".partial")
        try:
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as handle:
                handle.write(_encoded(seen))
                handle.flush()
                os.fsync(descriptor)
            partial.replace(self._path)
            self._failing = False
        except OSError as error:
            if not self._failing:
                _LOG.error("memory of keys not kept", file=str(self._path), reason=error.strerror)
            self._failing = True


def _encoded(seen: Seen) -> bytes:
    return json.dumps(
        {
            "version": VERSION,
            "keys": [
                [root.hex(), key, publisher, one.version, one.lost, one.location]
                for (root, key, publisher), one in seen.keys.items()
            ],
            "activations": [
                [root.hex(), entry.hex(), generation]
                for (root, entry), generation in seen.activations.items()
            ],
        }
    ).encode()


def _decoded(content: bytes) -> Seen:
    found: dict[str, Any] = json.loads(content)
    if len(content) > MAX_BYTES or found["version"] != VERSION:
        raise ValueError
    seen = Seen()
    for root, key, publisher, version, lost, location in found["keys"][-KEYS:]:
        known = Known(int(version), bool(lost), str(location))
        seen.keys[_root(root), str(key), str(publisher)] = known
    for root, entry, generation in found["activations"][-ACTIVATIONS:]:
        seen.activations[_root(root), bytes.fromhex(entry)] = int(generation)
    return seen


def _root(text: str) -> bytes:
    root = bytes.fromhex(text)
    if len(root) != ROOT_BYTES:
        raise ValueError
    return root

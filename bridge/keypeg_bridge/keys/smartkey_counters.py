"""The highest counter that this bridge has seen of each smartkey, on its disk, and whether one ever fell.

Promises: a key's number only grows here; it is on disk every `SAVE_EVERY` counts and when the key is let go, a fall at
once, so that a crash forgets few counts and invents no fall. One file a key, replaced as a whole, this user's only. A disk
that fails is told in the log, and refuses nobody. Any thread.
"""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import structlog

VERSION: Final = 1
SAVE_EVERY: Final = 256  # counts; a copy that is further behind is found after a crash too
MAX_FILE_BYTES: Final = 4_096
MAX_COUNTER: Final = 2**64 - 1
_KEY_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of one key."""

    counter: int = 0  # the highest, or a little less after a crash
    fall: tuple[int, int] | None = None  # what had been seen, and what was told then

    def encode(self) -> bytes:
        """The file's content."""
        fall = None if self.fall is None else list(self.fall)
        return json.dumps({"version": VERSION, "counter": self.counter, "fall": fall}).encode()

    @classmethod
    def decode(cls, content: bytes) -> Seen:
        """From a file's content; `ValueError` for anything that `encode` does not write."""
        try:
            found: dict[str, Any] = json.loads(content)
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']!r}")
            fall = found["fall"]
            return cls(
                _number(found["counter"]),
                None if fall is None else (_number(fall[0]), _number(fall[1])),
            )
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


class SmartkeyCounters:
    """What this bridge knows of all smartkeys, by key id. Without a folder it is forgotten with this object."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._known: dict[str, Seen] = {}
        self._saved: dict[str, int] = {}

    def known(self, key: str) -> Seen:
        """What is known of a key now."""
        with self._lock:
            return self._of(key)

    def saw(self, key: str, counter: int) -> None:
        """A right signature had this number."""
        with self._lock:
            seen = self._of(key)
            if counter > seen.counter:
                self._known[key] = replace(seen, counter=counter)
                if counter - self._saved.get(key, 0) >= SAVE_EVERY:
                    self._save(key)

    def fell(self, key: str, seen: int, told: int) -> bool:
        """A right signature had a number that is too low; whether that is news."""
        with self._lock:
            known = self._of(key)
            self._known[key] = replace(known, fall=(seen, told))
            if known.fall is not None:
                return False
            self._save(key)
            return True

    def settle(self, key: str) -> None:
        """The key is let go: its number is on disk from now on."""
        with self._lock:
            if self._of(key).counter > self._saved.get(key, 0):
                self._save(key)

    def _of(self, key: str) -> Seen:
        if key not in self._known:
            seen = self._load(key)
            self._known[key] = seen
            self._saved[key] = seen.counter
        return self._known[key]

    def _load(self, key: str) -> Seen:
        file = self._file(key)
        if file is None:
            return Seen()
        try:
            with file.open("rb") as handle:
                content = handle.read(MAX_FILE_BYTES + 1)
            if len(content) > MAX_FILE_BYTES:
                raise ValueError("too long")
            return Seen.decode(content)
        except FileNotFoundError:
            return Seen()
        except (OSError, ValueError) as error:
            _LOG.error("key counter unreadable", file=str(file), reason=str(error))
            return Seen()

    def _save(self, key: str) -> None:
        file = self._file(key)
        seen = self._known[key]
        self._saved[key] = seen.counter
        if file is None:
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = file.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as handle:
                handle.write(seen.encode())
                handle.flush()
                os.fsync(descriptor)
            partial.replace(file)
        except OSError as error:
            _LOG.error("key counter not kept", file=str(file), reason=str(error))

    def _file(self, key: str) -> Path | None:
        if not _KEY_ID.fullmatch(key):
            raise ValueError("a key id is 32 hexadecimal digits")
        return None if self._folder is None else self._folder / f"{key}.json"


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_COUNTER:
        raise ValueError("no counter")
    return value

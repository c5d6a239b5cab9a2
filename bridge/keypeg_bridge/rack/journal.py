"""The bridge's own record of its keys: each change of a key's state as one line of JSON in a file.

Promises: one line for each change, numbered without gaps over restarts unless `dropped` says how many are missing; readable by
the bridge's own user only; bounded, with one older file beside it; written on a thread of its own, so that a slow or full
disk delays no app, and its failure is in the log. It is a record for people: nothing is proved by it, as the bridge proves nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import structlog

from keypeg_bridge.rack.shelf import KeyChange

FILE: Final = "keys.jsonl"
LIMIT_BYTES: Final = 4 * 1024 * 1024
"""Of one file: some 15,000 changes, years of plugging."""
WAITING: Final = 10_000
"""Changes that may wait for the disk."""
TAIL_BYTES: Final = 8_192
"""Read at the start for the last number: a line is shorter."""
_LOG = structlog.get_logger(__name__)


class Journal:
    """The record in one directory."""

    def __init__(
        self, folder: Path, wall: Callable[[], datetime], limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._path = folder / FILE
        self._wall = wall
        self._limit = limit_bytes
        self._lines: queue.Queue[dict[str, Any] | threading.Event | None] = queue.Queue(WAITING)
        self._dropped = 0
        self._lock = threading.Lock()  # `_dropped`
        self._failing = False
        self._torn = _is_torn(self._path)
        self._number = _last_number(self._path)
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def note(self, change: KeyChange) -> None:
        """Record a change; never blocks and never fails."""
        record = change.record
        line: dict[str, Any] = {
            "time": self._wall().isoformat(timespec="milliseconds"),
            "key": record.name,
            "happening": change.happening.value,
            "before": change.before.name.lower(),
            "after": record.state.name.lower(),
        }
        if record.reading is not None:
            identity = record.reading.identity
            line |= {"driver": identity.driver, "serial": identity.serial}
        if record.place is not None:
            line["place"] = str(record.place)
        if record.fault:
            line["fault"] = record.fault
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._drop(1)

    def settle(self, timeout: float) -> bool:
        """Wait until the disk was asked to take what waits; False when that took longer."""
        done = threading.Event()
        self._lines.put(done, timeout=timeout)
        return done.wait(timeout)

    def close(self, timeout: float) -> None:
        """Write what waits, for at most so many seconds."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=timeout)
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            batch = [self._lines.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batch.append(self._lines.get_nowait())
            lines = [one for one in batch if isinstance(one, dict)]
            if lines:
                self._keep(lines)
            for one in batch:
                if isinstance(one, threading.Event):
                    one.set()
            if None in batch:
                return

    def _keep(self, lines: list[dict[str, Any]]) -> None:
        dropped, number = self._dropped, self._number
        if dropped:
            lines[0]["dropped"] = dropped
        text = ""
        for line in lines:
            number += 1
            text += json.dumps({"number": number, **line}, ensure_ascii=False) + "\n"
        try:
            self._write((b"\n" if self._torn else b"") + text.encode())
        except OSError as error:
            self._drop(len(lines))
            if not self._failing:
                _LOG.warning("record of keys not written", file=str(self._path), why=str(error))
            self._failing = self._torn = True
            return
        self._number, self._failing, self._torn = number, False, False
        self._drop(-dropped)

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_size + len(data) > self._limit:
                self._path.replace(self._path.with_name(f"{FILE}.1"))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(descriptor, "ab") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)


def _is_torn(path: Path) -> bool:
    """Whether its last line was not written to its end."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 1))
            return handle.read() not in (b"", b"\n")
    except OSError:
        return False


def _last_number(path: Path) -> int:
    """The number of the last whole line; 0 without one."""
    for file in (path, path.with_name(f"{FILE}.1")):
        try:
            with file.open("rb") as handle:
                handle.seek(max(0, file.stat().st_size - TAIL_BYTES))
                tail = handle.read().splitlines()
        except OSError:
            continue
        for line in reversed(tail):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return int(json.loads(line)["number"])
    return 0

"""What the checker itself writes down: its faults, and what the server says that it holds.

Promises: an entry is in its journal at once; snapshots are taken on a thread of their own, four times a second, and
a server that does not answer just gives none.

Leaves to others: what clients write (client), what it means (judge).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from keypeg import clock
from seatchecker.adapter import Unavailable
from seatchecker.history import CHECKER, Entry, Listed, Snapshot, write_entry

LOOK_PAUSE: Final = 0.25  # seconds between two looks at what the server says is held

Look = Callable[[], tuple[tuple[Listed, ...], tuple[str, ...]]]


class Faults:
    """The journal of what was done to whom."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / f"{CHECKER}.jsonl").open("a", buffering=1)
        self._entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self._entries)

    def record(self, what: str, at: float | None = None, **facts: Any) -> None:
        """One entry; from any thread."""
        entry = Entry(clock.monotonic() if at is None else at, CHECKER, what, facts)
        self._entries.append(entry)
        self._file.write(write_entry(entry) + "\n")

    def all(self) -> tuple[Entry, ...]:
        """What was recorded so far."""
        return tuple(self._entries)

    def close(self) -> None:
        """Write no more."""
        self._file.close()


class Observer:
    """Looks at what the server says."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._snapshots: list[Snapshot] = []
        self._looked = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._observe, name="observer", daemon=True)

    def start(self) -> None:
        """From now on."""
        self._thread.start()

    def all(self) -> tuple[Snapshot, ...]:
        """What was seen so far."""
        return tuple(self._snapshots)

    @property
    def held(self) -> int:
        """How many seats are held, as last seen."""
        return len(self._snapshots[-1].leases) if self._snapshots else 0

    def await_look(self) -> None:
        """Return after a look that began after this call, or two seconds later."""
        for _ in range(2):
            self._looked.clear()
            self._looked.wait(1.0)

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def save(self, file: Path) -> None:
        """Write down all that was seen."""
        with file.open("w") as handle:
            for one in self._snapshots:
                leases = [[lease.lease, lease.fence, lease.device] for lease in one.leases]
                handle.write(json.dumps([one.sent, one.answered, leases, one.places]) + "\n")

    def _observe(self) -> None:
        while not self._over.is_set():
            sent = clock.monotonic()
            try:
                leases, places = self._look()
            except Unavailable:
                pass
            else:
                self._snapshots.append(Snapshot(sent, clock.monotonic(), leases, places))
                self._looked.set()
            self._over.wait(LOOK_PAUSE)

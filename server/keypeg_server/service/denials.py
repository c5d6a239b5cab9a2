"""Refused requests on their way into the log: counted, so that a retry storm can not fill the disk.

Promises: the first refusal of its kind is recorded at once; the same asker, asking the same again within
WINDOW, adds to one more record at its end. At most KINDS_LIMIT kinds are told apart within a window, all
others are counted by pool and reason. So a window costs a bounded number of rows, whatever comes.

Leaves to others: the disk (whoever takes the records), what a record says (domain/record.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from keypeg.errors import Busy, KeypegError, ServerDraining, StorageUnavailable
from keypeg_server.domain import record
from keypeg_server.domain.lease import Features, Holder
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.record import Entry

WINDOW: Final = 60.0  # seconds; short against the 5 minutes after which a denial counts in reports
KINDS_LIMIT: Final = (
    500  # askers and reasons told apart within a window: some 1,000 rows a minute at most
)

# The server's own trouble: nobody decided against the asker.
_PASSING: Final = (Busy, ServerDraining, StorageUnavailable)


class _Count:
    """Refusals that are the same."""

    __slots__ = ("begin_us", "count", "last_us")

    def __init__(self, now_us: int) -> None:
        self.begin_us = self.last_us = now_us
        self.count = 0

    def add(self, now_us: int) -> None:
        if not self.count:
            self.begin_us = now_us
        self.count += 1
        self.last_us = now_us


class Denials:
    """The refusals of one server."""

    def __init__(self, note: Callable[[Sequence[Entry]], None], window: float = WINDOW) -> None:
        """`note` puts records on disk."""
        self._note = note
        self._window = window
        self._told: dict[Any, tuple[_Count, Callable[[_Count], Entry]]] = {}
        self._fresh: list[Entry] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(
        self,
        pool: Pool,
        holder: Holder,
        units: int,
        features: Features,
        error: KeypegError,
        now_us: int,
    ) -> None:
        """Someone was refused now."""
        if isinstance(error, _PASSING):
            return
        reason, rule = error.reason.name, error.metadata.get("rule", "")

        def entry(of: _Count) -> Entry:
            return record.denied(
                pool,
                holder,
                units,
                features,
                reason,
                rule,
                of.begin_us,
                count=of.count,
                last_us=of.last_us,
            )

        def more(of: _Count) -> Entry:
            return record.denied_more(pool, reason, of.begin_us, of.count, of.last_us)

        self._add(
            (pool.id, holder, units, features, reason, rule), (pool.id, reason), entry, more, now_us
        )

    def add_open(
        self, account: str, holder: Holder, product: str, error: KeypegError, now_us: int
    ) -> None:
        """A session was not opened."""
        if isinstance(error, _PASSING):
            return
        reason = error.reason.name

        def entry(of: _Count) -> Entry:
            return record.open_denied(
                account, holder, product, reason, of.begin_us, count=of.count, last_us=of.last_us
            )

        def more(of: _Count) -> Entry:
            return record.open_denied_more(account, reason, of.begin_us, of.count, of.last_us)

        self._add((account, holder, product, reason), (account, reason), entry, more, now_us)

    def _add(
        self,
        key: tuple[Any, ...],
        more_key: tuple[Any, ...],
        entry: Callable[[_Count], Entry],
        more: Callable[[_Count], Entry],
        now_us: int,
    ) -> None:
        found = self._told.get(key)
        if found is None and len(self._told) >= KINDS_LIMIT:
            found = self._told.setdefault(more_key, (_Count(now_us), more))
        if found is not None:
            found[0].add(now_us)
            return
        self._told[key] = (_Count(now_us), entry)
        if not self._fresh:
            asyncio.get_running_loop().call_soon(self._tell_fresh)
        first = _Count(now_us)
        first.add(now_us)
        self._fresh.append(entry(first))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._window, self.flush)

    def drop(self, pools: Sequence[Pool]) -> None:
        """These pools are here no more, and neither are their accounts' logs: count nothing for them."""
        accounts = {pool.account for pool in pools}
        gone = {pool.id for pool in pools} | accounts
        self._told = {key: value for key, value in self._told.items() if key[0] not in gone}
        self._fresh = [entry for entry in self._fresh if entry.parent not in accounts]

    def flush(self) -> None:
        """The window ends: what was counted is recorded."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell_fresh()
        told, self._told = self._told, {}
        entries = [entry(count) for count, entry in told.values() if count.count]
        if entries:
            self._note(entries)

    def _tell_fresh(self) -> None:
        fresh, self._fresh = self._fresh, []
        if fresh:
            self._note(fresh)

"""What happened in pools, from the log.

Promises: in the order of the log, page by page; a page costs a bounded amount of reading, so that it may hold
less than was asked for though more follows. What goes on meanwhile is on later pages.

Leaves to others: the disk (storage/log_search.py), what a caller may see of an event (domain/pool_event.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from keypeg import names
from keypeg.errors import NotFound
from keypeg_server.domain import pool_event
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_event import Kind, PoolEvent
from keypeg_server.service.refusals import no_pool

STEPS: Final = 8  # readings of one page: some ten thousand records, and tens of milliseconds
COUNTED_US: Final = 120_000_000  # how much later than its time a record that counts may stand


@dataclass(frozen=True, slots=True)
class Found:
    """Some records of a log, with their numbers."""

    records: tuple[tuple[int, bytes], ...]
    through: int  # the number up to which was read
    more: bool  # whether the log goes on there


class LogSearch(Protocol):
    """Looks for records."""

    async def begin(self, parent: str, time_us: int) -> int:
        """The number of a record of an account's log after which all of this time and later are."""
        ...

    async def find(self, parent: str, after: int, mark: bytes) -> Found:
        """Records after a number that contain `mark`; a part of the log is read, not all of it."""
        ...


@dataclass(frozen=True, slots=True)
class Events:
    """A page."""

    account: str
    events: tuple[PoolEvent, ...]
    after: int | None  # where the next page begins; None when this is the last


class History:
    """The past of the pools of this server."""

    def __init__(self, pool: Callable[[str], Pool | None], search: LogSearch) -> None:
        """`pool` finds a pool by its name."""
        self._pool = pool
        self._search = search

    async def events(
        self,
        caller: Caller,
        parent: str,
        begin_us: int,
        end_us: int | None,
        kinds: Collection[Kind],
        after: int | None,
        limit: int,
    ) -> Events:
        """What happened in a pool, or in all of an account (name); `kinds` empty for all."""
        account, pool = parent, ""
        if names.POOL.matches(parent):
            found = self._pool(parent)
            if found is None or not caller.sees_account(found.account):
                raise no_pool(parent)
            account, pool = found.account, found.id
        elif not caller.sees_account(parent):
            raise NotFound(f"There is no {parent} that you can see.", resource=parent)
        at = await self._search.begin(account, begin_us) if after is None else after
        mark = pool_event.mark_of(pool)
        events: list[PoolEvent] = []
        for _ in range(STEPS):
            part = await self._search.find(account, at, mark)
            for number, body in part.records:
                event = pool_event.of_record(body, number)
                if event is None or pool not in ("", event.pool):
                    continue
                if end_us is not None and event.time_us >= end_us + COUNTED_US:
                    return Events(account, tuple(events), None)
                if event.time_us < begin_us or (end_us is not None and event.time_us >= end_us):
                    continue
                if kinds and event.kind not in kinds:
                    continue
                if len(events) == limit:
                    return Events(account, tuple(events), events[-1].sequence)
                events.append(event)
            at = part.through
            if not part.more:
                return Events(account, tuple(events), None)
        return Events(account, tuple(events), at)

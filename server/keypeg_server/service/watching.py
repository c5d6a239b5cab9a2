"""Who watches pools: everything that happens, as it happens.

Promises: a watcher gets a snapshot, then every event that is on disk and was not when the snapshot was taken,
each once and in order. Its memory is bounded: one that reads too slowly loses all events that it has not read,
is told how many, and gets a new snapshot. Whose user was removed, or has signed out, is told nothing more. What is
watched costs nothing where nobody watches.

Leaves to others: messages and what a caller may see of them (rpc), the log itself (storage).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from keypeg import names
from keypeg.errors import KeypegError, LimitExceeded, NotFound, TokenInvalid
from keypeg.v1 import seat_pb2
from keypeg_server.domain import pool_event
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import (
    AccountAbandoned,
    LogRecorded,
    PoolRemoved,
    TokenRevoked,
    UserChanged,
    UserRemoved,
)
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_event import PoolEvent
from keypeg_server.domain.record import Entry
from keypeg_server.service import frames
from keypeg_server.service.events import EventHub
from keypeg_server.service.refusals import draining, elsewhere, no_pool, role_changed, signed_out

_T = TypeVar("_T")

UNREAD_LIMIT: Final = 2_000  # events of one watcher: a megabyte, and some seconds of a busy server
WATCHERS_LIMIT: Final = 1_000  # of the server: each is a stream, and up to a megabyte
OF_USER_LIMIT: Final = 20  # a person with a few screens, and not a loop that forgets to close them


class Pools(Protocol):
    """The pools that are watched; service/pools.py."""

    def pool(self, name: str) -> Pool | None: ...
    def pools_of_account(self, account: str) -> list[Pool]: ...
    def look(self, read: Callable[[], _T], done: Callable[[_T | KeypegError], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool, and all that is held and waits in it at one moment."""

    pool: Pool
    shown: seat_pb2.Pool
    leases: tuple[Lease, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Missed:
    """So many events are not told; a new snapshot follows."""

    count: int


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of an account's."""

    account: str
    event: PoolEvent


Told = tuple[PoolState, ...] | Happened | Missed


class _Watcher:
    """One who watches an account, or one pool of it (id)."""

    def __init__(self, caller: Caller, account: str, pool: str, unread_limit: int) -> None:
        self.caller = caller
        self.account = account
        self.pool = pool
        self.active = False  # it has its snapshot
        self.unread: deque[PoolEvent] = deque()
        self.unread_limit = unread_limit
        self.missed = 0
        self.error: KeypegError | None = None
        self.woken = asyncio.Event()

    def start(self) -> None:
        """A snapshot is taken: what comes from now on is not in it."""
        self.active, self.missed = True, 0
        self.unread.clear()

    def put(self, event: PoolEvent) -> None:
        if not self.active or self.pool not in ("", event.pool):
            return
        if not self.missed and len(self.unread) >= self.unread_limit:
            self.missed = len(self.unread)
            self.unread.clear()
        if self.missed:
            self.missed += 1
        else:
            self.unread.append(event)
        self.woken.set()

    def end(self, error: KeypegError) -> None:
        self.error = error
        self.woken.set()

    def shut(self, error: KeypegError) -> None:
        """It may see nothing more, and not what it has not read yet."""
        self.active, self.missed = False, 0
        self.unread.clear()
        self.end(error)


class Watching:
    """All watchers of this server."""

    def __init__(self, pools: Pools, hub: EventHub, *, unread_limit: int = UNREAD_LIMIT) -> None:
        self._pools = pools
        self._unread_limit = unread_limit
        self._watchers: dict[str, set[_Watcher]] = {}  # by account
        self._draining = False
        hub.subscribe(LogRecorded, lambda event: self.told(event.entries, event.numbers))
        hub.subscribe(AccountAbandoned, lambda event: self._abandon(event.account))
        hub.subscribe(UserRemoved, self._user_removed)
        hub.subscribe(UserChanged, self._user_changed)
        hub.subscribe(TokenRevoked, self._token_revoked)
        hub.subscribe(PoolRemoved, self._pool_removed)

    def told(self, entries: Sequence[Entry], numbers: Sequence[int]) -> None:
        """These records are on disk, under these numbers of their logs."""
        if not self._watchers:
            return
        for entry, number in zip(entries, numbers, strict=True):
            watchers = self._watchers.get(entry.parent)
            if watchers and (event := pool_event.of_record(entry.body, number)) is not None:
                for watcher in watchers:
                    watcher.put(event)

    async def watch(self, caller: Caller, parent: str) -> AsyncGenerator[Told, None]:
        """What is in a pool or in all pools of an account (name), and what happens there."""
        watcher = self._enter(caller, parent)
        try:
            while True:
                snapshot = await self._snapshot(watcher)
                if watcher.error is not None:
                    raise watcher.error
                yield snapshot
                while not watcher.missed:
                    await watcher.woken.wait()
                    watcher.woken.clear()
                    while watcher.unread:
                        yield Happened(watcher.account, watcher.unread.popleft())
                    if watcher.error is not None:
                        raise watcher.error
                if watcher.error is not None:
                    raise watcher.error
                yield Missed(watcher.missed)
        finally:
            self._leave(watcher)

    def stop(self) -> None:
        """The server goes away: end all streams."""
        self._draining = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.end(draining())

    def _enter(self, caller: Caller, parent: str) -> _Watcher:
        if self._draining:
            raise draining()
        account, pool = parent, ""
        if names.POOL.matches(parent):
            found = self._pools.pool(parent)
            if found is None or not caller.sees_account(found.account):
                raise no_pool(parent)
            account, pool = found.account, found.id
        elif not caller.sees_account(parent):
            raise NotFound(f"There is no {parent} that you can see.", resource=parent)
        everyone = [one for watchers in self._watchers.values() for one in watchers]
        own = sum(one.caller.user == caller.user for one in everyone)
        for count, limit, whose in (
            (own, OF_USER_LIMIT, "of yours"),
            (len(everyone), WATCHERS_LIMIT, "on this server"),
        ):
            if count >= limit:
                raise LimitExceeded(
                    f"{limit} streams {whose} watch pools already, which is the limit; end one of them.",
                    limit="watch.streams",
                    value=str(limit),
                )
        watcher = _Watcher(caller, account, pool, self._unread_limit)
        self._watchers.setdefault(account, set()).add(watcher)
        return watcher

    def _leave(self, watcher: _Watcher) -> None:
        watchers = self._watchers.get(watcher.account, set())
        watchers.discard(watcher)
        if not watchers:
            self._watchers.pop(watcher.account, None)

    async def _snapshot(self, watcher: _Watcher) -> tuple[PoolState, ...]:
        """What is there now; told when it is on disk, and before anything that comes after it."""
        future: asyncio.Future[tuple[PoolState, ...]] = asyncio.get_running_loop().create_future()
        watcher.active = False

        def read() -> tuple[PoolState, ...]:
            if watcher.pool:
                found = self._pools.pool(names.POOL.build(watcher.pool))
                if found is None:
                    raise no_pool(names.POOL.build(watcher.pool))
                return (_state(found),)
            pools = self._pools.pools_of_account(watcher.account)
            return tuple(_state(pool) for pool in pools)

        def done(found: tuple[PoolState, ...] | KeypegError) -> None:
            if not isinstance(found, KeypegError) and watcher.error is None:
                watcher.start()
            if not future.done():
                if isinstance(found, KeypegError):
                    future.set_exception(found)
                else:
                    future.set_result(found)

        self._pools.look(read, done)
        return await future

    def _abandon(self, account: str) -> None:
        for watcher in self._watchers.get(account, ()):
            watcher.end(elsewhere(account))

    def _pool_removed(self, event: PoolRemoved) -> None:
        (pool,) = names.POOL.parse(event.pool)
        for watchers in self._watchers.values():
            for watcher in watchers:
                if watcher.pool == pool:
                    watcher.end(no_pool(event.pool))

    def _user_removed(self, event: UserRemoved) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                if watcher.caller.user == event.user:
                    watcher.shut(
                        TokenInvalid(
                            f"{event.user} was removed; sign in as another user.", user=event.user
                        )
                    )

    def _user_changed(self, event: UserChanged) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                if watcher.caller.user == event.user:
                    watcher.shut(role_changed())

    def _token_revoked(self, event: TokenRevoked) -> None:
        for watchers in self._watchers.values():
            for watcher in watchers:
                if watcher.caller.token == event.token:
                    watcher.shut(signed_out())


def _state(pool: Pool) -> PoolState:
    return PoolState(pool, frames.pool(pool), tuple(pool.leases()), pool.queue())

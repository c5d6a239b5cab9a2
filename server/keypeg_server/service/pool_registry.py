"""The pools that this server has in memory, by name and by account, as they come and go.

Promises: a pool is here only while its account is served here: what is read from disk while an account is
given up is read again, never kept. A pool that went with its account is told apart from one that is not there:
whoever asks for it hears to connect again.

Leaves to others: which accounts are served here (whoever calls `adopt` and `abandon`), what is done with pools
(pools.py), who holds (holdings.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from keypeg import names
from keypeg_server.domain.events import PoolCreated, PoolRemoved
from keypeg_server.domain.pool import QUEUE_LIMIT, Pool
from keypeg_server.service.commits import PoolStore, StoredPool
from keypeg_server.service.events import EventHub
from keypeg_server.service.refusals import elsewhere

NOWHERE: Final = "-"  # the id of no pool


def _all_seen(_account: str) -> bool:
    return True


class PoolRegistry:
    """All pools of the accounts that are served here."""

    def __init__(
        self,
        store: PoolStore,
        hub: EventHub,
        came: Callable[[Pool], None],
        gone: Callable[[Pool], None],
        *,
        queue_limit: int = QUEUE_LIMIT,
        user_queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        """`came` hears of each pool that is read, with who holds and waits; `gone` of each that is here no more."""
        self._store: Final = store
        self._came: Final = came
        self._gone: Final = gone
        self._queue_limit: Final = queue_limit
        self._user_queue_limit: Final = user_queue_limit
        self._pools: dict[str, Pool] = {}
        self._by_name: dict[str, Pool] = {}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._all = False  # every account is served here, unless it was abandoned
        self._adopted: set[str] = set()
        self._abandoned: set[str] = set()
        self._abandonments = 0  # so many; what is read over one may be from before it
        self._elsewhere: dict[str, str] = {}  # pools of accounts that are not served here: account
        hub.subscribe(PoolCreated, self._created)
        hub.subscribe(PoolRemoved, self._removed)

    # Accounts.

    def serves(self, account: str) -> bool:
        """Whether the pools of an account belong here."""
        return account in self._adopted or (self._all and account not in self._abandoned)

    async def adopt(self, account: str | None = None) -> list[Pool]:
        """Read all pools of an account, of every account when none is named; those that are here now.

        ServerDraining when the account was abandoned meanwhile.
        """
        if account is None:
            self._all = True
        else:
            self._adopted.add(account)
            self._abandoned.discard(account)
        while True:
            before = self._abandonments
            found = await self._store.load(account=account)
            if before == self._abandonments:
                break
            if account is not None and not self.serves(account):
                raise elsewhere(account)
        for stored in found:
            self._elsewhere.pop(stored.id, None)
            self._keep(stored)
        return self.of_account(account) if account is not None else list(self._pools.values())

    def abandon(self, account: str) -> list[Pool]:
        """Drop the pools of an account from memory; nothing is written. Those that were here."""
        self._adopted.discard(account)
        if self._all:
            self._abandoned.add(account)
        self._abandonments += 1
        dropped = self.of_account(account)
        for pool in dropped:
            del self._pools[pool.id], self._by_name[pool.name]
            self._elsewhere[pool.id] = account
            self._gone(pool)
        return dropped

    # Pools.

    async def present(self, pools: Iterable[str], sees: Callable[[str], bool] = _all_seen) -> None:
        """See to it that pools (names) that were just created are here; ServerDraining when they belong elsewhere.

        One of an account that `sees` says nothing of is looked for as one that is not there is: it takes as long.
        """
        for name in pools:
            found = self._by_name.get(name)
            if found is not None:
                if not sees(found.account):
                    await self._store.load(NOWHERE)
                continue
            (id,) = names.POOL.parse(name)
            if id not in self._pools:
                await self._fetch(id)
                self.by_id(id)

    def get(self, name: str) -> Pool | None:
        """The pool of this name; FieldInvalid when it is no pool's name, else as `by_id`."""
        pool = self._by_name.get(name)
        return pool if pool is not None else self.by_id(names.POOL.parse(name)[0])

    def by_id(self, id: str) -> Pool | None:
        """The pool with this id; None when there is none, ServerDraining when it belongs elsewhere."""
        pool = self._pools.get(id)
        if pool is None and id in self._elsewhere:
            raise elsewhere(self._elsewhere[id])
        return pool

    def has(self, pool: Pool) -> bool:
        """Whether this very pool is here, and was not dropped or removed."""
        return self._pools.get(pool.id) is pool

    def all(self) -> list[Pool]:
        """All pools that are here."""
        return list(self._pools.values())

    def of_account(self, account: str) -> list[Pool]:
        """All pools of an account, by id."""
        return sorted(
            (pool for pool in self._pools.values() if pool.account == account),
            key=lambda pool: pool.id,
        )

    # Inside.

    def _keep(self, stored: StoredPool) -> None:
        if stored.id in self._pools:
            return
        if not self.serves(stored.account):
            self._elsewhere[stored.id] = stored.account
            return
        pool = Pool(
            stored.id,
            account=stored.account,
            product=stored.product,
            activation=stored.activation,
            capacity=stored.seat_count,
            feature_capacity=stored.features,
            fencing_number=stored.fencing_number,
            queue_limit=self._queue_limit,
            user_queue_limit=self._user_queue_limit,
            rules=stored.rules,
            freed=stored.freed,
        )
        pool.restore(stored.leases, stored.places, stored.borrows)
        self._pools[pool.id] = self._by_name[pool.name] = pool
        self._came(pool)

    def _created(self, event: PoolCreated) -> None:
        (id,) = names.POOL.parse(event.pool)
        if id not in self._pools:
            self._fetch(id)

    def _removed(self, event: PoolRemoved) -> None:
        pool = self._pools.pop(names.POOL.parse(event.pool)[0], None)
        if pool is not None:
            del self._by_name[pool.name]
            pool.retired = True
            self._gone(pool)

    def _fetch(self, id: str) -> asyncio.Task[None]:
        """Read a pool from disk; one reading at a time."""
        task = self._loading.get(id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._read(id))
            self._loading[id] = task
            task.add_done_callback(lambda _: self._loading.pop(id, None))
        return task

    async def _read(self, id: str) -> None:
        before = None
        while before != self._abandonments:
            before = self._abandonments
            found = await self._store.load(id)
        for stored in found:
            self._elsewhere.pop(id, None)
            self._keep(stored)

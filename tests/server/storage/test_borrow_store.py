"""Borrows on disk, on every kind of database: what is read is what was decided, whatever a batch has done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlmodel import Session

from keypeg.errors import KeypegError
from keypeg_server.clock import SystemClock
from keypeg_server.domain import pool_borrowing
from keypeg_server.domain.borrow import Terms
from keypeg_server.domain.decision import Ask, Change, Decision
from keypeg_server.domain.lease import Holder
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_rules import Borrowing, PoolRules
from keypeg_server.service.commits import Operation
from keypeg_server.storage.committer import BatchCommitter
from keypeg_server.storage.database import Database
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.tables_seat import PoolRow
from tests.server.databases import Place

RULES = PoolRules(borrowing=Borrowing(longest_us=10**12), write_off=5)
HOLDER = Holder(
    "", "accounts/a/users/ann", "laptop-1", 'Ann\'s "laptop" \\ \u2028', "app", 0, "10.1.2.3"
)


class Do(Operation):
    """Whatever a test decides."""

    def __init__(self, pool: Pool, decide: Callable[[Pool], Decision]) -> None:
        super().__init__()
        self._pool = pool
        self._decide = decide
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def decide(self) -> list[Change]:
        self._decision = self._decide(self._pool)
        return self._decision.changes

    def undo(self) -> None:
        self._pool.undo(self._decision.changes)

    def answer(self) -> None:
        self.ended.set_result(None)

    def refuse(self, error: KeypegError) -> None:
        self.ended.set_exception(error)


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    made = place.make()
    yield made
    made.close()


def fresh() -> Pool:
    return Pool(
        "p",
        account="accounts/a",
        product="publishers/x/products/y",
        activation="accounts/a/licenses/l/activations/n",
        capacity=9,
        feature_capacity={"mesh": 2},
        rules=RULES,
    )


async def stored(database: Database) -> None:
    def insert(session: Session) -> None:
        session.add(
            PoolRow(
                id="p",
                account="accounts/a",
                product="publishers/x/products/y",
                activation="accounts/a/licenses/l/activations/n",
                seat_count=9,
                features='{"mesh": 2}',
                create_time_us=1,
                rules=RULES.to_json(),
            )
        )

    await database.write(insert)


def lend(id: str) -> Callable[[Pool], Decision]:
    ask = Ask(id, HOLDER, 2 if id == "b1" else 1, (("mesh", 1),) if id == "b1" else (), False, 0, 1)
    terms = Terms(10**6, 10**15, bytes([0, 255, 39, 92]) + id.encode(), b"\x00parts'")
    return lambda pool: pool_borrowing.lend(
        pool, ask, terms, 5, lambda one: b"\xffdoc " + one.id.encode()
    )


def renew(id: str) -> Callable[[Pool], Decision]:
    terms = Terms(10**9, 10**15, b"")
    return lambda pool: pool_borrowing.renew(pool, id, terms, 7, lambda one: b"newer")


def back(id: str) -> Callable[[Pool], Decision]:
    return lambda pool: pool_borrowing.give_back(pool, id, "accounts/a/users/tom", 8)


def lost(id: str) -> Callable[[Pool], Decision]:
    return lambda pool: pool_borrowing.write_off(
        pool, id, "accounts/a/users/boss", "stolen; 'x'", 9
    )


def end(id: str) -> Callable[[Pool], Decision]:
    return lambda pool: pool_borrowing.end(pool, id, 10**13)


async def done(database: Database, pool: Pool, *steps: Callable[[Pool], Decision]) -> None:
    """All in one batch."""
    committer = BatchCommitter(database, SystemClock(), linger=0)
    operations = [Do(pool, step) for step in steps]
    for one in operations:
        committer.submit(one)
    for one in operations:
        await one.ended
    await committer.close()


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "one each"])
@pytest.mark.parametrize(
    "steps",
    [
        [lend("b1"), lend("b2")],
        [lend("b1"), renew("b1")],
        [lend("b1"), back("b1")],
        [lend("b1"), renew("b1"), lost("b1"), back("b1")],
        [lend("b1"), lost("b1")],
        [lend("b1"), lend("b2"), back("b1"), end("b1")],
        [lend("b1"), end("b1"), lend("b2"), renew("b2")],
    ],
    ids=["lent", "renewed", "returned", "turned up", "lost", "over", "over before another"],
)
async def test_what_is_read_is_what_was_decided(
    database: Database, steps: list[Callable[[Pool], Decision]], together: bool
) -> None:
    await stored(database)
    pool = fresh()
    if together:
        await done(database, pool, *steps)
    else:
        for step in steps:
            await done(database, pool, step)
    (found,) = await SqlPoolStore(database).load()
    assert {one.id: one for one in found.borrows} == pool.borrows
    assert found.leases == ()  # a borrow has no other row
    assert found.fencing_number == pool.fencing_number
    again = fresh()
    again.restore(found.leases, found.places, found.borrows)
    assert again.leases() == pool.leases()
    assert (again.held, again.borrowed, again.exposed) == (pool.held, pool.borrowed, pool.exposed)

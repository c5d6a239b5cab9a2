"""News of queues: who waits is told where it stands, at a cost that does not grow with the queue."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from keypeg.errors import KeypegError, LeaseRecalled
from keypeg_server.domain.decision import Ask
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service.audience import HEAD_PLACES, SLICE_PLACES, Audience, QueueNews

EACH = HEAD_PLACES + SLICE_PLACES


class Hearers:
    """An audience that remembers what it was told, and a bell that rings when enough was."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}
        self.again: Counter[str] = Counter()
        self.count = 0
        self.enough = 0
        self.rung = asyncio.Event()

    def moved(self, pool: Pool, place: Place, position: int, *, again: bool) -> None:
        self.told[place.id] = position
        self.again[place.id] += again
        self.count += 1
        if self.count >= self.enough:
            self.rung.set()

    async def hear(self, count: int) -> None:
        """Wait until so much more was told."""
        self.rung.clear()
        self.enough = self.count + count
        await asyncio.wait_for(self.rung.wait(), 10)

    def there(self) -> Audience:
        """It is there from the beginning."""
        return self

    def ends_at(self, session: str) -> float | None:
        return None

    def seen_at(self, session: str) -> float | None:
        return None

    def served(self, pool: Pool, lease: Lease) -> None: ...
    def recalled(self, pool: Pool, lease: Lease, error: LeaseRecalled) -> None: ...
    def refused(self, pool: Pool, place: Place, error: KeypegError) -> None: ...


def queue(waiting: int) -> Pool:
    """A pool of one seat, which is held, and so many who wait."""
    pool = Pool(
        "p" * 32,
        account="accounts/studio",
        product="publishers/acme/products/solver",
        activation="accounts/studio/activations/1",
        capacity=1,
        feature_capacity={},
        fencing_number=0,
    )
    for number in range(waiting + 1):
        holder = Holder(f"s{number}", "accounts/studio/users/mia", "d", "atlas", "app", 1)
        pool.acquire(Ask(f"{number:032x}", holder, 1, (), True, 0, 60_000_000), number)
    return pool


@pytest.mark.parametrize("waiting", [1, HEAD_PLACES, HEAD_PLACES + 1, EACH, EACH + 1, 3 * EACH])
async def test_everybody_is_told_after_the_last_move(waiting: int) -> None:
    pool, hearers = queue(waiting), Hearers()
    news = QueueNews(hearers.there)
    news.moved(pool)
    behind = max(0, waiting - HEAD_PLACES)
    rounds = max(1, -(-behind // SLICE_PLACES))
    await hearers.hear(rounds * min(waiting, HEAD_PLACES) + behind)
    assert hearers.told == {place.id: at for at, place in enumerate(pool.queue(), 1)}


async def test_one_telling_costs_the_same_however_many_wait() -> None:
    pool, hearers = queue(2_000), Hearers()
    QueueNews(hearers.there).moved(pool)
    await hearers.hear(1)
    await asyncio.sleep(0)
    assert hearers.count == EACH
    assert [hearers.told[place.id] for place in pool.queue()[:HEAD_PLACES]] == list(
        range(1, HEAD_PLACES + 1)
    )


async def test_a_queue_that_goes_on_moving_is_told_to_its_end() -> None:
    pool, hearers = queue(4 * EACH), Hearers()
    news = QueueNews(hearers.there)
    last = pool.queue()[-1].id
    for number in range(2 * EACH):
        (holding,) = pool.leases()
        pool.release(holding.id, number)
        news.moved(pool)
        await hearers.hear(1)
        if last in hearers.told:
            return
    pytest.fail("the last of the queue heard nothing")


async def test_other_rules_are_told_once_to_everybody() -> None:
    waiting = 2 * EACH
    pool, hearers = queue(waiting), Hearers()
    news = QueueNews(hearers.there)
    news.ruled(pool)
    behind = waiting - HEAD_PLACES
    rounds = -(-behind // SLICE_PLACES)
    await hearers.hear(rounds * HEAD_PLACES + behind)
    assert set(hearers.again.values()) == {1}
    assert len(hearers.again) == waiting


async def test_a_pool_that_is_gone_is_told_to_nobody() -> None:
    gone, other, hearers = queue(3), queue(2), Hearers()
    news = QueueNews(hearers.there)
    news.moved(gone)
    news.moved(other)
    news.drop([gone])
    await hearers.hear(2)
    assert set(hearers.told) == {place.id for place in other.queue()}

"""How fresh the outlook of a pool is, small and large."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keypeg_server.clock import to_us
from keypeg_server.domain.lease import Holder, Lease
from keypeg_server.domain.outlook import EXAMINED
from keypeg_server.domain.pool import Pool
from keypeg_server.service.outlooks import LARGE, Outlooks

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOLDER = Holder("", "accounts/a/users/u", "d", "h", "app", 1)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds - 1_000)

    def wall_us(self) -> int:
        return to_us(self.wall())


def lease(number: int) -> Lease:
    return Lease(str(number), "p", HOLDER, 1, (), number, 0, 60_000_000)


def pool_of(count: int) -> Pool:
    pool = Pool(
        "p", account="accounts/a", product="x", activation="y", capacity=count, feature_capacity={}
    )
    pool.restore([lease(number) for number in range(1, count + 1)], [])
    return pool


@pytest.mark.parametrize(
    ("count", "fresh_after"), [(10, 0.1), (EXAMINED, 0.1), (EXAMINED + 1, 1.0), (LARGE, 1.0)]
)
def test_an_outlook_serves_for_a_moment(count: int, fresh_after: float) -> None:
    clock, pool, asked = Clock(), pool_of(count), 0

    def ends_at(one: Lease) -> float:
        nonlocal asked
        asked += 1
        return 2_000.0 + one.fencing_number

    outlooks = Outlooks(clock, ends_at)
    first = outlooks.of(pool)
    assert first is not None
    assert first.earliest(1) == to_us(NOW + timedelta(seconds=1_001))
    assert outlooks.of(pool) is first
    assert asked == count
    clock.seconds += fresh_after
    assert outlooks.of(pool) is not first


def test_a_very_large_pool_has_none() -> None:
    assert Outlooks(Clock(), lambda _: 2_000.0).of(pool_of(LARGE + 1)) is None

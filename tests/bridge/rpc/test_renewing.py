"""When a running bridge gets its next certificate, and what becomes of it when it does not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from keypeg.errors import Unreachable
from keypeg_bridge import enrollment
from keypeg_bridge.enrollment import Enrolled
from keypeg_bridge.rpc.online import Access
from keypeg_bridge.rpc.renewing import AGAIN, LOOK, Renewing
from tests.bridge.test_enrollment import NOW, signed

DAY = timedelta(days=1)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    enrollment.install(tmp_path, signed(enrollment.begin(tmp_path).text, 90 * DAY))
    return Access("127.0.0.1:9", None, None, tmp_path)


@pytest.mark.parametrize(
    ("age", "asked", "pause"),
    [
        (timedelta(), 0, LOOK),
        (60 * DAY - timedelta(minutes=40), 0, timedelta(minutes=20)),
        (61 * DAY, 1, LOOK),
        (89 * DAY, 1, LOOK),
    ],
)
async def test_it_is_asked_for_when_a_third_is_left(
    access: Access,
    age: timedelta,
    asked: int,
    pause: timedelta,
) -> None:
    now, calls = NOW + age, 0

    async def renew(access: Access, at: object) -> Enrolled:
        nonlocal calls
        calls += 1
        mine = enrollment.load(access.state)
        return Enrolled(mine.key, mine.certificate, mine.says, now, now + 90 * DAY)

    found = await Renewing(access, lambda: now, renew).look()
    assert calls == asked
    assert abs(found - pause) < timedelta(minutes=1)


async def test_a_server_that_is_away_is_asked_again_and_the_old_one_serves_on(
    access: Access,
) -> None:
    async def renew(access: Access, at: object) -> Enrolled:
        raise Unreachable("Nobody answers.")

    before = enrollment.load(access.state)
    with structlog.testing.capture_logs() as logs:
        assert await Renewing(access, lambda: NOW + 70 * DAY, renew).look() == AGAIN
    assert [line["event"] for line in logs] == ["certificate not renewed"]
    assert enrollment.load(access.state) == before


async def test_without_a_certificate_it_says_so_and_looks_again(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        found = await Renewing(Access("127.0.0.1:9", None, None, tmp_path), lambda: NOW).look()
    assert found == AGAIN
    assert "enroll this bridge" in logs[0]["why"]

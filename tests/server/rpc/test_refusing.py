"""What a refused call leaves in the log, and who has to wait for being refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest

from keypeg.errors import KeypegError, NotFound, PoolExhausted, TokenInvalid
from keypeg_server.rpc import refusing
from keypeg_server.rpc.refusing import BURST, HELD, RATE, Refusals
from tests.server.service.office import HandClock

METHOD = "/keypeg.v1.AccountService/GetCaller"
THIEF = SimpleNamespace(peer=lambda: "ipv4:192.0.2.7:4711")
OTHER = SimpleNamespace(peer=lambda: "ipv4:192.0.2.8:4711")
FORGED = TokenInvalid("This token is not one of ours.", why="other_audience")


class Waiting:
    """Holds back nobody, and counts."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waited.append(seconds)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@contextmanager
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    caplog.set_level(logging.INFO, refusing.__name__)
    yield caplog.records


def refuse(refusals: Refusals, error: KeypegError, count: int = 1, at: object = THIEF) -> None:
    async def all_of_them() -> None:
        for _ in range(count):
            await refusals.refused(error, METHOD, "", at)

    asyncio.run(all_of_them())


def test_the_log_says_why_from_where_and_how_often(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock, Waiting())
    with logged(caplog) as records:
        refuse(refusals, FORGED, 5)
        clock.now += timedelta(minutes=1)
        refuse(refusals, FORGED)
        refuse(refusals, PoolExhausted("All seats are taken."))
    first, second = (vars(record) for record in records)
    assert first["msg"] == second["msg"] == "call refused"
    said = ("reason", "why", "method", "address", "user", "times")
    assert [first[name] for name in said] == [
        "TOKEN_INVALID",
        "other_audience",
        METHOD,
        "192.0.2.7",
        "",
        1,
    ]
    assert second["times"] == 5


def test_who_is_refused_without_end_waits_and_nobody_else(clock: HandClock) -> None:
    waiting = Waiting()
    refusals = Refusals(clock, waiting)
    refuse(refusals, FORGED, int(BURST))
    assert not waiting.waited
    refuse(refusals, FORGED, 3)
    assert waiting.waited == pytest.approx([1 / RATE, 2 / RATE, 3 / RATE])
    refuse(refusals, FORGED, at=OTHER)
    refuse(refusals, PoolExhausted("All seats are taken."))
    assert len(waiting.waited) == 3
    clock.now += timedelta(seconds=10 / RATE)
    refuse(refusals, NotFound("There is none.", name="accounts/a"), 5)
    assert len(waiting.waited) == 3


def test_so_many_at_most_are_held(clock: HandClock) -> None:
    async def flood() -> int:
        free = asyncio.Event()
        held = 0

        async def hold(_seconds: float) -> None:
            nonlocal held
            held += 1
            await free.wait()

        refusals = Refusals(clock, hold)
        calls = [
            asyncio.create_task(refusals.refused(FORGED, METHOD, "", THIEF))
            for _ in range(int(BURST) + HELD + 50)
        ]
        await asyncio.sleep(0)
        over = sum(call.done() for call in calls)
        assert over == BURST + 50
        free.set()
        await asyncio.gather(*calls)
        return held

    assert asyncio.run(flood()) == HELD


def test_a_call_whose_request_never_comes_is_told(
    clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(clock)

    async def served(*, comes: bool) -> None:
        refusals.began(METHOD)
        if comes:
            refusals.read()

    async def both() -> None:
        for comes in (True, False):
            await asyncio.create_task(served(comes=comes))
        await asyncio.sleep(0)

    with logged(caplog) as records:
        asyncio.run(both())
    (cut_off,) = (vars(record) for record in records)
    assert (cut_off["msg"], cut_off["method"], cut_off["times"]) == ("call cut off", METHOD, 1)
    assert "limits.max_message_bytes" in cut_off["why"]

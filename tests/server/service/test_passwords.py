"""Passwords: what is kept of them, how many are checked at once, and who gives way to whom."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
import uvloop

from keypeg import errors
from keypeg_server.service import argon2id, aside
from keypeg_server.service.argon2id import Cost
from keypeg_server.service.aside import Aside
from keypeg_server.service.passwords import Elsewhere, Passwords
from tests.server.service.office import FAST, HandClock, Nowhere

pytestmark = pytest.mark.skipif(
    not hasattr(os, "SCHED_IDLE"), reason="children, signals and ranks of processes: Linux"
)
SOON = 20.0  # seconds, on a machine with other work
SLOW = Cost(memory_kib=65_536, iterations=20, lanes=1)


@dataclass
class Seen:
    """An Elsewhere that answers what it is told to, and keeps whom it was asked about."""

    answer: bool | None = None
    asked: list[str] = field(default_factory=list)

    async def matches(self, password: str, kept: str, patience: float) -> bool | None:
        self.asked.append(password)
        return self.answer

    async def derived(self, password: str, cost: Cost, patience: float) -> str | None:
        self.asked.append(password)
        return None

    async def close(self) -> None:
        pass


@asynccontextmanager
async def passwords(
    elsewhere: Elsewhere, clock: HandClock | None = None, at_once: int = 1, waiting: int = 2
) -> AsyncIterator[Passwords]:
    made = Passwords(FAST, clock or HandClock(), elsewhere, at_once=at_once, waiting=waiting)
    try:
        yield made
    finally:
        await made.close()


@asynccontextmanager
async def process(at_once: int = 2) -> AsyncIterator[Aside]:
    made = Aside(at_once)
    try:
        yield made
    finally:
        await made.close()


def children() -> set[int]:
    """The processes that this one has started, and that are there."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return {int(one) for one in text.split()}


async def started(made: Aside) -> int:
    """The process that it has."""
    kept = argon2id.derived("x" * 8, FAST)
    before = children()
    assert await made.matches("x" * 8, kept, SOON)
    (pid,) = children() - before
    return pid


@pytest.mark.parametrize(
    "password", ["a longer password", "p\u00e4ssw\u00f6rter", "\U0001f511" * 9]
)
def test_what_is_kept_tells_the_right_password_from_others(password: str) -> None:
    kept = argon2id.derived(password, FAST)
    assert argon2id.verified(password, kept)
    assert not argon2id.verified(password + "x", kept)
    assert kept != argon2id.derived(password, FAST), "a salt of its own"


def test_characters_are_the_same_however_a_keyboard_composes_them() -> None:
    assert argon2id.verified("a\u0308rger ist es", argon2id.derived("\u00e4rger ist es", FAST))


def test_a_decoy_is_like_what_is_kept_and_nobody_s() -> None:
    decoy, kept = argon2id.decoy(FAST), argon2id.derived("x" * 8, FAST)
    assert [part.split("=")[0] for part in decoy.split("$")[:4]] == [
        part.split("=")[0] for part in kept.split("$")[:4]
    ]
    assert decoy.split("$")[3] == kept.split("$")[3], "the same cost"
    assert list(map(len, decoy.split("$"))) == list(map(len, kept.split("$")))
    assert not argon2id.verified("x" * 8, decoy)


async def test_who_does_not_exist_has_no_password() -> None:
    async with passwords(Nowhere()) as made:
        assert not await made.matches("x" * 8, None)
        assert await made.matches("x" * 8, await made.hashed("x" * 8))


async def test_too_many_sign_ins_at_once_are_refused_and_not_piled_up() -> None:
    async with passwords(Nowhere()) as made:
        results = await asyncio.gather(
            *(made.hashed("x" * 8) for _ in range(8)), return_exceptions=True
        )
        busy = [one for one in results if isinstance(one, errors.Busy)]
        assert len(busy) == 5
        assert all(one.retry_after for one in busy)
        assert await made.matches("x" * 8, await made.hashed("x" * 8))


async def test_strangers_take_no_place_from_who_is_at_home() -> None:
    async with passwords(Nowhere()) as made:
        kept = await made.hashed("x" * 8)
        crowd = [asyncio.ensure_future(made.matches("y" * 8, kept)) for _ in range(8)]
        assert await made.matches("x" * 8, kept, at_home=True)
        results = await asyncio.gather(*crowd, return_exceptions=True)
        assert sum(isinstance(one, errors.Busy) for one in results) == 5


async def test_one_at_a_time_is_checked_like_other_work() -> None:
    elsewhere = Seen()
    async with passwords(elsewhere) as made:
        kept = await made.hashed("x" * 8)
        for _ in range(3):
            assert await made.matches("x" * 8, kept)
        assert elsewhere.asked == []


async def test_many_at_once_give_way() -> None:
    elsewhere = Seen(answer=True)
    async with passwords(elsewhere, waiting=9) as made:
        kept = await made.hashed("x" * 8)
        assert all(await asyncio.gather(*(made.matches("x" * 8, kept) for _ in range(10))))
        assert len(elsewhere.asked) == 8, "the first came alone, and the last was alone again"


async def test_after_a_wrong_one_all_give_way_for_a_minute() -> None:
    elsewhere, clock = Seen(answer=True), HandClock()
    async with passwords(elsewhere, clock) as made:
        kept = await made.hashed("x" * 8)
        assert not await made.matches("y" * 8, kept)
        assert elsewhere.asked == []
        assert await made.matches("z" * 8, kept), "as is said elsewhere"
        clock.now += timedelta(seconds=60)
        assert not await made.matches("z" * 8, kept), "calm again"
        assert elsewhere.asked == ["z" * 8]


async def test_what_is_not_known_elsewhere_is_checked_here() -> None:
    elsewhere = Seen(answer=None)
    async with passwords(elsewhere) as made:
        kept = await made.hashed("x" * 8)
        assert not await made.matches("y" * 8, kept)
        assert await made.matches("x" * 8, kept)
        assert not await made.matches("y" * 8, kept)
        assert elsewhere.asked == ["x" * 8, "y" * 8]


async def test_the_process_tells_right_from_wrong_many_at_once() -> None:
    kept = {text: argon2id.derived(text, FAST) for text in ("anna's", 'b"e\na', "\u00e4\u2028")}
    async with process() as made:
        for _ in range(3):
            answers = await asyncio.gather(
                *(made.matches(text, one, SOON) for text in kept for one in kept.values())
            )
            assert answers == [text == other for text in kept for other in kept]


async def test_what_can_not_be_checked_is_not_known_there_and_an_error_here() -> None:
    no_text = "x" * 8 + "\ud800"  # which no message can hold
    async with process(at_once=1) as made:
        kept = argon2id.derived("x" * 8, FAST)
        for _ in range(2):  # its only place is free again
            assert await made.matches(no_text, kept, SOON) is None
        async with passwords(made) as here:
            assert not await here.matches("y" * 8, kept)
            with pytest.raises(UnicodeEncodeError):
                await here.matches(no_text, kept)


async def test_the_process_checks_when_nobody_else_wants_to_run() -> None:
    async with process(at_once=1) as made:
        pid = await started(made)
        threads = map(int, os.listdir(f"/proc/{pid}/task"))
        policies = [os.sched_getscheduler(each) for each in threads]
        assert policies.count(os.SCHED_IDLE) == 1, "the others wait, and wake up at once"
        assert os.sched_getscheduler(0) != os.SCHED_IDLE
        assert os.getsid(pid) == os.getsid(0), "elsewhere its rank is not beside this process's"
    assert pid not in children()


async def test_who_waits_too_long_is_told_that_nothing_is_known() -> None:
    kept = argon2id.derived("x" * 8, FAST)
    async with process(at_once=1) as made:
        pid = await started(made)
        os.kill(pid, signal.SIGSTOP)
        assert await made.matches("x" * 8, kept, 0.05) is None
        assert await made.matches("x" * 8, kept, 0.05) is None, "its only place is taken"
        os.kill(pid, signal.SIGCONT)
        assert await made.matches("x" * 8, kept, SOON), "and free again"


async def test_a_process_that_ends_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "_PAUSE", 0.0)
    kept = argon2id.derived("x" * 8, FAST)
    async with process() as made:
        first = await started(made)
        os.kill(first, signal.SIGSTOP)
        waiting = asyncio.ensure_future(made.matches("x" * 8, kept, SOON))
        await asyncio.sleep(0)
        os.kill(first, signal.SIGKILL)
        assert await waiting is None
        assert await started(made) != first


async def test_a_process_that_can_not_be_had_is_not_tried_again_at_once() -> None:
    async with process() as made:
        made._command = ("/nowhere/python",)
        assert await made.matches("x", "y", SOON) is None
        made._command = (sys.executable, "-c", "")
        before = children()
        assert await made.matches("x", "y", SOON) is None
        assert children() == before


async def test_signals_that_end_a_server_do_not_end_what_it_waits_for() -> None:
    kept = argon2id.derived("x" * 8, FAST)
    async with process() as made:
        pid = await started(made)
        for told in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, told)
            assert await made.matches("x" * 8, kept, SOON)
        assert pid in children()


def test_whoever_asks_while_the_process_dies_is_told_that_nothing_is_known() -> None:
    """On the event loop of the server, which refuses to write to who is gone."""

    async def story() -> None:
        kept = argon2id.derived("x" * 8, FAST)
        async with process() as made:
            pid = await started(made)
            os.kill(pid, signal.SIGKILL)
            known = [await made.matches("x" * 8, kept, SOON) for _ in range(200)]
            assert known == [None] * 200
            assert made._free._value == 2, "no place is left behind"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())


async def test_what_is_no_answer_ends_the_process() -> None:
    async with process() as made:
        made._command = (sys.executable, "-c", "input(); print('hello'); input()")
        assert await made.matches("x", "y", SOON) is None
        assert made._started is None


async def test_the_process_hashes_as_well() -> None:
    async with process() as made:
        kept = await made.derived("x" * 8, FAST, SOON)
        assert kept is not None
        assert argon2id.verified("x" * 8, kept)


async def test_many_hashes_at_once_give_way_as_checks_do() -> None:
    elsewhere = Seen()
    async with passwords(elsewhere, waiting=9) as made:
        await asyncio.gather(*(made.hashed("x" * 8) for _ in range(10)))
        assert len(elsewhere.asked) == 8, "the first came alone, and the last was alone again"


async def test_a_guess_that_is_given_up_ends_the_calm() -> None:
    elsewhere = Seen(answer=True)
    async with passwords(elsewhere) as made:
        given_up = asyncio.ensure_future(made.matches("y" * 8, None))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert await made.matches("x" * 8, "as is said elsewhere")


async def test_closing_waits_for_nothing() -> None:
    kept = argon2id.derived("x" * 8, SLOW)
    async with process() as made:
        pid = await started(made)
        asked = asyncio.ensure_future(made.matches("x" * 8, kept, SOON))
        for _ in range(3):
            await asyncio.sleep(0)
        assert made._answers, "it has been told"
        await asyncio.wait_for(made.close(), SOON)
        assert await asked is None
        assert pid not in children()
        assert await made.matches("x" * 8, kept, SOON) is None, "nor is it started again"

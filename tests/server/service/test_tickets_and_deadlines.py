"""Tickets, release tokens, outboxes and deadlines by themselves."""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import LimitExceeded, ResumeInvalid, SessionClosed, SessionExpired
from keypeg.v1.session_pb2 import Changed
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.service.deadlines import Deadlines
from keypeg_server.service.outbox import Outbox
from keypeg_server.service.ports import AppInfo, DeviceInfo
from keypeg_server.service.tickets import TICKET_BYTES, Ticket, TicketBox

KEYS = (bytes(range(32)), bytes(reversed(range(32))))
TICKET = Ticket(
    session="0123456789abcdef",
    user="accounts/a/users/u",
    device=DeviceInfo("device-a", "host"),
    app=AppInfo("cad", "1.2", "keypeg-python/0.1", 7),
    product="publishers/x/products/y",
    kinds=(4, 1),
    sequence=9,
    key=b"k" * 32,
)


def test_a_ticket_comes_back_as_it_went():
    sealed = TicketBox(*KEYS).seal(TICKET)
    assert TicketBox(*KEYS).open(sealed) == TICKET
    assert TICKET.key not in sealed
    assert "k" * 32 not in repr(TICKET)


def test_the_longest_ticket_fits_the_contract():
    wide = "\N{SNOWMAN}"
    longest = Ticket(
        session="0" * 32,
        user="accounts/" + "a" * 63 + "/users/" + "u" * 63,
        device=DeviceInfo("d" * 64, wide * 255),
        app=AppInfo(wide * 128, wide * 128, wide * 128, 2**32 - 1),
        product="publishers/" + "p" * 63 + "/products/" + "q" * 63,
        kinds=(1, 2, 3, 4),
        sequence=2**63 - 1,
        key=b"k" * 32,
    )
    assert len(TicketBox(*KEYS).seal(longest)) <= TICKET_BYTES


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_ticket_with_one_bit_changed_is_none(at: int, bit: int):
    sealed = bytearray(TicketBox(*KEYS).seal(TICKET))
    sealed[at % len(sealed)] ^= 1 << bit
    with pytest.raises(ResumeInvalid):
        TicketBox(*KEYS).open(bytes(sealed))


@given(st.binary(max_size=200))
def test_random_bytes_are_no_ticket(noise: bytes):
    with pytest.raises(ResumeInvalid):
        TicketBox(*KEYS).open(noise)


def test_tickets_and_tokens_of_another_server_are_worth_nothing():
    mine, other = TicketBox(*KEYS), TicketBox(os.urandom(32), os.urandom(32))
    with pytest.raises(ResumeInvalid):
        other.open(mine.seal(TICKET))
    assert mine.is_release_token("s1", mine.release_token("s1"))
    assert not mine.is_release_token("s2", mine.release_token("s1"))
    assert not other.is_release_token("s1", mine.release_token("s1"))


def frame(name: str) -> HoldSessionResponse:
    return HoldSessionResponse(changed=Changed(resource=name))


def test_frames_leave_in_order_and_the_first_end_counts():
    woken = []
    outbox = Outbox(lambda: woken.append(1))
    outbox.push(frame("a"))
    outbox.push(frame("b"))
    outbox.end(SessionExpired("It is over."))
    outbox.end(SessionClosed("It is closed."))
    outbox.push(frame("c"))
    assert [outbox.pop(), outbox.pop(), outbox.pop()] == [frame("a"), frame("b"), None]
    assert isinstance(outbox.error, SessionExpired)
    assert len(woken) == 3


def test_an_outbox_that_nobody_empties_is_cut_off():
    outbox = Outbox(lambda: None, limit=2)
    for name in "abc":
        outbox.push(frame(name))
    assert outbox.cut_off
    assert outbox.pop() is None
    assert isinstance(outbox.error, LimitExceeded)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self):
        raise AssertionError("deadlines do not look at the wall clock")

    def wall_us(self):
        return self.wall()


async def test_what_was_postponed_is_looked_at_again_and_never_early():
    clock = Clock()
    deadline = {"a": 110.0, "b": 105.0}
    ended = []

    def due(name: str, now: float) -> float | None:
        if now < deadline[name]:
            return deadline[name]
        ended.append((name, now))
        return None

    deadlines: Deadlines[str] = Deadlines(clock, due)
    for name, when in deadline.items():
        deadlines.watch(name, when)
    deadline["b"] = 120.0  # renewed: costs nothing here
    for clock.now in (104.9, 105.0, 109.9, 110.0, 119.9, 120.0, 130.0):
        deadlines.tick()
    assert ended == [("a", 110.0), ("b", 120.0)]
    deadlines.stop()


async def test_the_loop_looks_by_itself():
    loop = asyncio.get_running_loop()

    class LoopClock(Clock):
        def monotonic(self) -> float:
            return loop.time()

    done = asyncio.Event()

    def due(_: str, now: float) -> float | None:
        done.set()
        return None

    deadlines: Deadlines[str] = Deadlines(LoopClock(), due)
    deadlines.watch("late", loop.time() + 100)
    deadlines.watch("soon", loop.time() + 0.01)
    async with asyncio.timeout(5):
        await done.wait()
    deadlines.stop()

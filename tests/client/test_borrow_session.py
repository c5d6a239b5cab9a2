"""Sessions by a seat that is borrowed for this computer: no server, its units, until its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from keypeg import aio, errors, events, hostinfo
from keypeg.borrow_place import Kept
from keypeg.borrow_session import CHECK_TIME
from keypeg.borrow_shelf import Shelf
from keypeg.document import Ed25519Signer
from keypeg.errors import Reason
from keypeg.session_state import State
from keypeg.testing import FakeClock, StandInHost, StandInPublisher
from tests.client.sdk_fixtures import DEVICE, computer
from tests.client.test_aio import heard, state_of

__all__ = ["computer"]

DAY = timedelta(days=1)
PUBLISHER = StandInPublisher()

Borrow = Callable[..., Kept]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shelf(computer: Path) -> Shelf:
    return Shelf(computer / "borrows")


@pytest.fixture
def borrow(shelf: Shelf, clock: FakeClock) -> Borrow:
    """Borrows a seat of the stand-in's site for three days."""

    def made(identity: str = "one", *, product: str = "demo", days: float = 3, **terms) -> Kept:
        key = Ed25519Signer.generate()
        asked = shelf.begin(identity, b"what was asked", key)
        now = clock.wall()
        terms = {"device": DEVICE, "borrow": f"pools/p/borrows/{identity}", **terms}
        proof = PUBLISHER.borrow_proof(
            product, return_key=key.public_key, now=now, until=now + days * DAY, **terms
        )
        return shelf.keep(asked.directory, proof, now)

    return made


def opening(clock: FakeClock, **options) -> aio.Opening:
    return aio.open_session("demo", **{"root": PUBLISHER.root, "clock": clock, **options})


async def passes(clock: FakeClock, seconds: float) -> None:
    """Time passes in steps that timers see."""
    step = max(CHECK_TIME, seconds / 60)
    while seconds > 0:
        clock.advance(min(step, seconds))
        seconds -= step
        for _ in range(3):
            await asyncio.sleep(0)


async def test_an_app_runs_by_a_borrowed_seat_without_a_server(borrow, clock):
    kept = borrow(units=2)
    until = clock.wall() + 3 * DAY
    async with opening(clock) as session:
        running = await heard(session, events.Running)
        assert running.borrowed_until == session.borrowed_until == until
        assert "borrowed until" in str(running)
        assert state_of(session) is State.RUNNING
        assert session.pools == (kept.pool,)
        assert not session.may_run
        with pytest.raises(errors.SeatRequired):
            session.require()
        async with session.seat() as seat:
            assert session.may_run
            assert seat.held
            assert seat.fencing_number == 7
            assert seat.lease is not None
            assert seat.lease.name == "pools/p/leases/one"
            await passes(clock, 600)
            assert session.may_run
        assert not session.may_run
        await heard(session, events.SeatReleased)


async def test_all_programs_together_hold_no_more_than_was_borrowed(borrow, clock):
    borrow(units=2)
    async with opening(clock) as one, opening(clock) as other, one.seat(), other.seat():
        with pytest.raises(errors.PoolExhausted):
            await other.seat().acquire()
        with pytest.raises(errors.PoolTooSmall):
            await other.seat(units=3).acquire()


async def test_a_seat_is_waited_for_until_another_program_closes(borrow, clock):
    borrow()
    async with opening(clock) as one, opening(clock) as other:
        seat = await one.seat().acquire()
        waiting = asyncio.create_task(other.seat(wait=True).acquire())
        await passes(clock, 3)
        assert not waiting.done()
        await seat.release()
        await passes(clock, 1)
        async with asyncio.timeout(5):
            assert (await waiting).held
        with pytest.raises(errors.TimedOut):
            await one.seat(wait=True, timeout=0.01).acquire()


async def test_features_are_those_that_were_borrowed(borrow, clock):
    borrow(features={"render": 1})
    async with opening(clock) as session:
        with pytest.raises(errors.FeatureUnknown, match="mesh"):
            await session.seat(features=["mesh"]).acquire()
        with pytest.raises(errors.LicenseMissing, match="pools/q"):
            await session.seat(pool="pools/q").acquire()
        async with session.seat(features=["render"]) as seat:
            assert seat.lease is not None
            assert seat.lease.features == {"render": 1}


async def test_it_ends_with_its_document(borrow, clock):
    borrow(days=0.01)
    async with opening(clock) as session, session.seat() as seat:
        assert session.time_left <= 0.01 * DAY
        await passes(clock, 860)
        assert session.may_run
        await passes(clock, 20)
        assert not session.may_run
        assert not seat.held
        stopped = await session.until_stopped()
        assert stopped is not None
        assert stopped.reason is Reason.DOCUMENT_EXPIRED
        lost = await heard(session, events.SeatLost)
        assert "borrowed until" in str(lost)
    with pytest.raises(errors.DocumentExpired, match="borrow one again"):
        await opening(clock)


async def test_a_clock_that_is_set_back_does_not_lengthen_it(borrow, clock):
    borrow(days=1)
    async with opening(clock) as session, session.seat():
        await passes(clock, 120)
        clock.step_wall(-300 * DAY)
        await passes(clock, 86_400 - 120 - 30)
        assert session.may_run
        await passes(clock, 60)
        assert not session.may_run
    with pytest.raises(errors.DocumentExpired):
        await opening(clock)


async def test_a_clock_that_is_set_back_while_no_app_runs_gains_only_what_was_not_used(
    borrow, clock
):
    borrow(days=1)
    async with opening(clock):
        await passes(clock, 43_200)
    clock.step_wall(-300 * DAY)
    async with opening(clock) as session, session.seat():
        await passes(clock, 43_000)
        assert session.may_run
        await passes(clock, 400)
        assert not session.may_run


async def test_a_clock_that_was_wrong_when_it_was_borrowed_does_not_lengthen_it(
    shelf, borrow, clock
):
    # The computer's clock is a year slow; the server's is right, and dates the document.
    right = clock.wall()
    kept = borrow(days=1)
    assert shelf.memory().latest == right
    clock.step_wall(-365 * DAY)
    async with opening(clock) as session:
        assert session.borrowed_until == right + DAY
        assert session.time_left <= timedelta(hours=1)
        await passes(clock, 90_000)
        assert not session.may_run
    assert kept.name in shelf.memory().borrows


async def test_a_renewed_borrow_goes_on_without_a_break(shelf, borrow, clock):
    kept = borrow(days=1)
    async with opening(clock) as session, session.seat():
        await passes(clock, 80_000)
        now = clock.wall()
        proof = PUBLISHER.borrow_proof(
            "demo", DEVICE, kept.document.return_key, now, until=now + 3 * DAY, serial=2,
            borrow=kept.name,
        )  # fmt: skip
        shelf.keep(kept.directory, proof, now)
        await passes(clock, 20_000)
        assert session.may_run
        assert session.borrowed_until == now + 3 * DAY


async def test_a_borrow_that_is_given_back_stops_the_app_and_its_copy_opens_nothing(
    shelf, borrow, clock
):
    kept = borrow()
    async with opening(clock) as session:
        async with session.seat():
            with pytest.raises(errors.Busy):
                shelf.give_up(kept, clock.wall())
        shelf.give_up(kept, clock.wall())
        with pytest.raises(errors.DocumentOtherDevice, match="given back"):
            await session.seat().acquire()
        await passes(clock, CHECK_TIME + 1)
        assert state_of(session) is State.STOPPED
    with pytest.raises(errors.LicenseMissing):
        await opening(clock)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"device": "another-device"}, Reason.DOCUMENT_OTHER_DEVICE),
        ({"parts": {"machine_id": "another", "disk": "other"}}, Reason.DOCUMENT_OTHER_DEVICE),
        ({"units": 99}, Reason.POOL_TOO_SMALL),
    ],
)
async def test_a_borrow_that_is_not_for_this_computer_is_refused(borrow, clock, wrong, reason):
    borrow(**wrong)
    with pytest.raises(errors.KeypegError) as caught:
        await opening(clock)
    assert caught.value.reason is reason


async def test_a_borrow_of_another_publisher_is_refused(borrow, clock):
    borrow()
    with pytest.raises(errors.SignerUnknown):
        await opening(clock, root=StandInPublisher().root)


async def test_a_borrow_without_its_key_is_refused(borrow, clock):
    (borrow().directory / "key").unlink()
    with pytest.raises(errors.DocumentOtherDevice, match="no key"):
        await opening(clock)


async def test_the_parts_of_the_computer_are_compared(borrow, clock, monkeypatch):
    parts = {"machine_id": "m-1", "board": "b-1", "disk": "d-1"}
    monkeypatch.setattr(hostinfo, "parts", lambda: parts)
    borrow(parts=parts)
    async with opening(clock) as session, session.seat():
        assert session.may_run
        parts.clear()
        await passes(clock, CHECK_TIME + 1)
        assert not session.may_run


async def test_the_one_that_lasts_longest_is_used(borrow, clock):
    borrow("short", days=1)
    borrow("long", days=9)
    borrow("other", product="another", days=30)
    async with opening(clock) as session:
        assert session.borrowed_until == clock.wall() + 9 * DAY


async def test_it_comes_before_the_server_and_the_server_after_it(borrow, clock):
    async with StandInHost("demo", kind="site", publisher=PUBLISHER, clock=clock) as host:
        borrow(days=1)
        async with opening(clock, server=host.target) as session:
            assert session.borrowed_until is not None
            assert host.received == []
        async with opening(clock, server=host.target, locations=["cloud"]) as session:
            assert session.borrowed_until is None
        clock.step_wall(2 * DAY)
        async with opening(clock, server=host.target) as session:
            assert session.borrowed_until is None
            assert host.received
        await host.stop()
        with pytest.raises(errors.DocumentExpired, match="borrowed until"):
            await opening(clock, server=host.target)


async def test_a_borrow_of_another_product_is_not_mentioned(borrow, clock):
    borrow(product="another")
    with pytest.raises(errors.LicenseMissing) as caught:
        await opening(clock)
    assert "borrowed" not in caught.value.sentence

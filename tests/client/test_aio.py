"""Sessions for asyncio, through a real gRPC server in the same process."""

from __future__ import annotations

import asyncio
import gc
import threading
from datetime import timedelta
from functools import partial
from typing import TypeVar

import pytest

import keypeg
from keypeg import aio, errors, events
from keypeg.errors import Reason
from keypeg.event_hub import EventHub
from keypeg.seat import SeatStage
from keypeg.session_state import State
from keypeg.stream_driver import StreamDriver
from keypeg.testing import FakeClock, StandInHost
from tests.client.sdk_fixtures import DEVICE, computer

__all__ = ["computer"]
pytestmark = pytest.mark.usefixtures("computer")

_Event = TypeVar("_Event", bound=events.Event)

TIMEOUT = 10.0  # s; a bound for what takes milliseconds


def opening(host: StandInHost, **options) -> aio.Opening:
    where = {"bridge": host.target} if host.terms.kind in ("key", "host") else {}
    return aio.open_session(
        "demo",
        root=host.root,
        **({"server": host.target, **options} if not where else {**where, **options}),
    )


async def heard(session: aio.Session, kind: type[_Event]) -> _Event:
    async with asyncio.timeout(TIMEOUT):
        async for event in session.events():
            if isinstance(event, kind):
                return event
    raise AssertionError(f"the session stopped without {kind.__name__}")


def state_of(session: aio.Session) -> State:
    """Its state now. A call: type checkers believe that an attribute stays what it was asserted to be."""
    return session.state


def driver_of(session: aio.Session) -> StreamDriver:
    """What a session on a stream has inside."""
    assert isinstance(session._driver, StreamDriver)
    return session._driver


async def settled(host: StandInHost) -> None:
    """Nothing of any session is left at the host."""
    await host.until(lambda: not host.sessions and not host.pool.leases and not host.pool.waiters)


@pytest.fixture
async def cloud():
    async with StandInHost("demo") as host:
        yield host


@pytest.fixture
async def site():
    async with StandInHost("demo", kind="site", seat_count=1, seat_required=True) as host:
        yield host


@pytest.fixture
async def key():
    async with StandInHost("demo", kind="key") as host:
        yield host


async def test_an_app_runs_and_ends_without_a_trace(cloud):
    before = asyncio.all_tasks()
    async with opening(cloud, app_name="editor", app_version="2.1") as session:
        assert session.may_run
        assert state_of(session) is State.RUNNING
        assert timedelta(seconds=50) < session.time_left <= timedelta(seconds=60)
        assert session.name.startswith("sessions/")
        session.require()
        (opened,) = cloud.received
        assert opened.open.device.id == DEVICE
        assert (opened.open.app.name, opened.open.app.version) == ("editor", "2.1")
        assert opened.open.app.sdk.startswith("keypeg-python/")
    assert not session.may_run
    with pytest.raises(errors.SessionClosed):
        session.require()
    assert session.error is None
    await settled(cloud)
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() - before if is_of_the_sdk(task)]


def is_of_the_sdk(task: asyncio.Task) -> bool:
    """Not of the stand-in host, whose server may end its own tasks a moment later."""
    return any(name in repr(task.get_coro()) for name in ("StreamDriver", "AgentLink", "_write"))


async def test_it_can_be_awaited_too(cloud):
    session = await opening(cloud)
    assert session.may_run
    await session.close()
    await session.close()
    assert state_of(session) is State.STOPPED


async def test_a_lost_connection_goes_unnoticed(cloud):
    async with opening(cloud) as session:
        cloud.drop()
        await heard(session, events.ConnectionLost)
        assert session.may_run
        reconnected = await heard(session, events.Reconnected)
        assert reconnected.resumed
        assert state_of(session) is State.RUNNING


async def test_time_is_over_by_the_clock_of_the_app():
    clock = FakeClock()
    async with (
        StandInHost("demo", clock=clock) as host,
        opening(host, clock=clock) as session,
    ):
        clock.advance(59)
        assert session.may_run
        clock.advance(2)
        assert not session.may_run  # at once, whatever the loop has seen
        async with asyncio.timeout(TIMEOUT):
            error = await session.until_stopped()
        assert isinstance(error, errors.GrantExpired)


async def test_a_seat_is_held_no_longer_than_the_clock_of_the_app_allows():
    clock = FakeClock()
    async with (
        StandInHost("demo", kind="site", seat_count=1, seat_required=True, clock=clock) as host,
        opening(host, clock=clock) as session,
        session.seat() as seat,
    ):
        clock.advance(59)
        assert seat.held
        clock.advance(2)
        assert not seat.held  # at once, as when the process was stopped for so long
        with pytest.raises(errors.GrantExpired):
            seat.require()


def has_renewed(host: StandInHost, count: int) -> bool:
    return sum(frame.WhichOneof("frame") == "renew" for frame in host.received) == count


async def test_it_renews_by_itself():
    clock = FakeClock()
    async with StandInHost("demo", clock=clock) as host, opening(host, clock=clock) as session:
        for count in range(1, 6):
            clock.advance(20)
            await host.until(partial(has_renewed, host, count))
            async with asyncio.timeout(TIMEOUT):
                await driver_of(session)._until(lambda: session.time_left > timedelta(seconds=59))
        assert session.may_run


@pytest.mark.behaviour("SEAT-7")
@pytest.mark.parametrize("hours", [-30, 30])
async def test_setting_the_date_changes_nothing_for_an_open_session(hours: int):
    there, here = FakeClock(), FakeClock()
    async with StandInHost("demo", clock=there) as host, opening(host, clock=here) as session:
        here.step_wall(timedelta(hours=hours))
        for count in range(1, 5):  # at least every other renewal brings a signed proof
            here.advance(20)
            await host.until(partial(has_renewed, host, count))
            async with asyncio.timeout(TIMEOUT):
                await driver_of(session)._until(lambda: session.time_left > timedelta(seconds=59))
        assert session.may_run


async def test_a_status_ends_it_with_its_reason(cloud):
    async with opening(cloud) as session:
        cloud.end(errors.CloudSessionMoved("It is open on studio-2 now.", device="studio-2"))
        stopped = await heard(session, events.Stopped)
        assert stopped.error is not None
        assert stopped.error.reason is Reason.CLOUD_SESSION_MOVED
        assert stopped.error.metadata["device"] == "studio-2"
        with pytest.raises(errors.CloudSessionMoved, match="studio-2"):
            session.require()


async def test_a_wrong_root_does_not_run(cloud):
    with pytest.raises(errors.SignerUnknown):
        async with aio.open_session("demo", root=bytes(32), server=cloud.target):
            pass
    await cloud.until(lambda: all(session.out is None for session in cloud.sessions.values()))


async def test_a_key_is_missed_and_comes_back(key):
    async with opening(key) as session:
        key.unplug()
        missing = await heard(session, events.KeyMissing)
        assert missing.may_run_for > timedelta(seconds=29)
        assert state_of(session) is State.MISSING
        key.plug_in()
        await heard(session, events.KeyReturned)
        assert state_of(session) is State.RUNNING


async def test_a_bridge_gets_no_token(key):
    async with opening(key, token="secret"):
        assert key.tokens == [None]


async def test_a_server_gets_the_token(cloud):
    async with opening(cloud, token="secret"):
        assert cloud.tokens == ["Bearer secret"]


async def test_a_server_is_reached_over_tls_with_its_own_certificate(tmp_path):
    async with StandInHost("demo", tls=True) as host:
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(host.ca)
        async with opening(host, ca_file=str(ca_file), token="secret") as session:
            assert session.may_run
            assert host.tokens == ["Bearer secret"]
        with pytest.raises(errors.Unreachable):
            await opening(host)
        port = host.target.rpartition(":")[2]
        several = f"localhost:{port},localhost:1"
        async with opening(host, ca_file=str(ca_file), server=several) as session:
            assert session.may_run


async def test_seats_are_taken_and_given_back(site):
    async with opening(site) as session:
        assert not session.may_run
        with pytest.raises(errors.SeatRequired):
            session.require()
        async with session.seat() as seat:
            assert seat.held
            assert seat.fencing_number == 1
            assert session.may_run
            with pytest.raises(errors.PoolExhausted):
                await session.seat().acquire()
        assert seat.stage is SeatStage.ENDED
        assert site.pool.leases == {}
        with pytest.raises(errors.LeaseExpired):
            seat.require()


async def test_a_waiter_sees_its_place_and_gets_the_seat(site):
    async with opening(site) as holder, opening(site) as waiter:
        seat = await holder.seat().acquire()
        waiting = waiter.seat(wait=True)
        task = asyncio.create_task(waiting.acquire())
        queued = await heard(waiter, events.Queued)
        assert queued.place.position == 1
        assert waiting.place is not None
        assert waiting.place.position == 1
        await seat.release()
        async with asyncio.timeout(TIMEOUT):
            await task
        assert waiting.held


async def test_waiting_too_long_leaves_the_queue(site):
    async with opening(site) as holder, opening(site) as waiter:
        await holder.seat().acquire()
        with pytest.raises(errors.TimedOut, match="place 1 of 1"):
            await waiter.seat(wait=True, timeout=timedelta(milliseconds=200)).acquire()
        await site.until(lambda: not site.pool.waiters)


async def test_a_cancelled_wait_leaves_nothing_behind(site):
    async with opening(site) as holder, opening(site) as waiter:
        seat = await holder.seat().acquire()

        async def work():
            async with waiter.seat(wait=True):
                raise AssertionError("never reached")

        task = asyncio.create_task(work())
        await heard(waiter, events.Queued)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await site.until(lambda: not site.pool.waiters)
        await seat.release()
        assert site.pool.leases == {}


async def test_a_cancelled_app_gives_everything_back(site):
    started = asyncio.Event()

    async def app():
        async with opening(site) as session, session.seat():
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(app())
    async with asyncio.timeout(TIMEOUT):
        await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settled(site)


async def test_a_cancelled_open_leaves_nothing_behind(cloud):
    cloud.tamper = lambda frame: None  # the server never answers
    task = asyncio.create_task(opening(cloud)._open())
    await cloud.until(lambda: cloud.received)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [task for task in asyncio.all_tasks() if is_of_the_sdk(task)]


async def test_closing_the_session_gives_its_seats_back(site):
    session = await opening(site)
    seat = await session.seat().acquire()
    await session.close()
    assert not seat.held
    await settled(site)


async def test_closing_without_a_stream_tells_the_server_by_the_token(site):
    session = await opening(site)
    await session.seat().acquire()
    site.tamper = lambda frame: None
    site.refuse_next_open(*[errors.Unreachable("gone")] * 50)
    site.drop()
    await heard(session, events.ConnectionLost)
    await session.close()
    assert site.closed_from_outside == [session.name]
    await settled(site)


async def test_a_recalled_seat_is_told(site):
    async with opening(site) as session:
        seat = await session.seat().acquire()
        site.recall("It is needed in the lab.")
        recalled = await heard(session, events.SeatRecalled)
        assert recalled.error.reason is Reason.LEASE_RECALLED
        with pytest.raises(errors.LeaseRecalled, match="lab"):
            seat.require()


async def test_a_seat_of_a_forgotten_session_is_lost(site):
    async with opening(site) as session:
        seat = await session.seat().acquire()
        site.forget()
        lost = await heard(session, events.SeatLost)
        assert lost.lease == seat.lease
        assert isinstance(seat.error, errors.LeaseExpired)
        async with session.seat() as again:
            assert again.fencing_number > seat.fencing_number


@pytest.mark.parametrize(
    ("holder", "cloud_policy", "reason"),
    [
        ("", "ask", Reason.CLOUD_SESSION_CLOSED),
        ("", "never", Reason.CLOUD_SESSION_CLOSED),
        ("", "open", None),
        ("", "move", None),
        ("device-b", "open", Reason.CLOUD_SESSION_ELSEWHERE),
        ("device-b", "move", None),
    ],
)
async def test_the_cloud_session_is_opened_as_the_app_says(cloud, holder, cloud_policy, reason):
    cloud.guard_cloud_session()
    cloud.cloud_session_device = holder
    if reason is None:
        async with opening(cloud, cloud=cloud_policy) as session:
            assert session.may_run
        assert cloud.cloud_session_device == DEVICE
    else:
        with pytest.raises(keypeg.KeypegError) as caught:
            await opening(cloud, cloud=cloud_policy)
        assert caught.value.reason is reason
        assert cloud.cloud_session_device == holder


async def test_a_slow_callback_delays_nothing(cloud):
    let_go = threading.Event()
    seen: list[events.Event] = []

    def slow(event: events.Event) -> None:
        let_go.wait(TIMEOUT)
        seen.append(event)

    async with opening(cloud, on_event=slow) as session:
        cloud.drop()
        await heard(session, events.Reconnected)
        assert seen == []
    let_go.set()


async def test_an_async_callback_hears_everything_in_order(cloud):
    seen: list[str] = []
    over = asyncio.Event()

    async def callback(event: events.Event) -> None:
        await asyncio.sleep(0)
        seen.append(type(event).__name__)
        if isinstance(event, events.Stopped):
            over.set()

    async with opening(cloud, on_event=callback) as session:
        cloud.drop()
        await heard(session, events.Reconnected)
    async with asyncio.timeout(TIMEOUT):
        await over.wait()
    assert seen == ["Running", "ConnectionLost", "Reconnected", "Stopped"]


async def test_a_callback_that_fails_is_logged_and_called_again(caplog):
    seen: list[events.Event] = []
    over = threading.Event()

    def callback(event: events.Event) -> None:
        seen.append(event)
        if isinstance(event, events.Stopped):
            over.set()
        raise ValueError("the app's own mistake")

    hub = EventHub(callback)
    hub.publish(events.Changed(events.ChangeKind.OTHER, ""))
    hub.publish(events.Stopped())
    assert await asyncio.to_thread(over.wait, TIMEOUT)
    assert len(seen) == 2
    assert "event callback failed" in caplog.text


async def test_every_iterator_hears_from_the_beginning_to_the_end(cloud):
    async with opening(cloud) as session:
        early = session.events()
        assert isinstance(await anext(early), events.Running)
    late = [type(event).__name__ async for event in session.events()]
    assert late == ["Running", "Stopped"]
    assert [type(event).__name__ async for event in early] == ["Stopped"]


async def test_the_public_surface_tells_no_secret(cloud):
    async with opening(cloud, token="a-very-secret-token") as session:
        driver = driver_of(session)
        machine = driver._machine
        shown = repr([session, machine.held, driver.view, machine._asking])
        assert "secret" not in shown
        assert "token of" not in shown
    gc.collect()

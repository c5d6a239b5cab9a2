"""Several servers through real channels: one is killed, drained, slow, elsewhere, or none is there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import grpc.aio
import pytest

from keypeg import aio, calls, dialing, errors, events, failover, status, stream_calls
from keypeg.agent.closer import close_session
from keypeg.servers import Server
from keypeg.session_state import State
from keypeg.testing import StandInHost
from keypeg.v1 import agent_service_pb2, session_service_pb2, session_service_pb2_grpc
from tests.client.sdk_fixtures import computer
from tests.client.test_aio import heard, settled, state_of

__all__ = ["computer"]
pytestmark = pytest.mark.usefixtures("computer", "in_given_order")


@pytest.fixture
def in_given_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of this process is the one that the test wrote."""
    monkeypatch.setattr(dialing, "in_order", lambda servers, seed: tuple(servers))


@pytest.fixture
async def first() -> AsyncIterator[StandInHost]:
    async with StandInHost("demo") as host:
        yield host


@pytest.fixture
async def second(first: StandInHost) -> AsyncIterator[StandInHost]:
    async with StandInHost(beside=first) as host:
        yield host


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The address of something that takes connections and never says a word."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def closed_port() -> str:
    """An address where nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def opening(host: StandInHost, *servers: str, **options) -> aio.Opening:
    return aio.open_session("demo", root=host.root, server=servers, **options)


async def close_nothing(
    channel: grpc.aio.Channel, session: str = "sessions/none", timeout: float = 10
) -> bool:
    """Any unary call."""
    stub = session_service_pb2_grpc.SessionServiceStub(channel)
    request = session_service_pb2.CloseSessionRequest(session=session)
    return (await stub.CloseSession(request, timeout=timeout)).closed


# Sessions.


async def test_an_app_on_a_killed_server_goes_on_at_the_next_with_its_seat(first, second):
    first.terms.kind = "site"
    async with opening(first, first.target, second.target) as session, session.seat() as seat:
        assert len(first.following) == 1
        await first.stop()
        back = await heard(session, events.Reconnected)
        assert back.resumed
        assert session.may_run
        assert seat.held
        assert len(second.following) == 1
    await settled(second)


async def test_an_app_on_a_draining_server_goes_on_at_the_next(first, second):
    async with opening(first, f"{first.target},{second.target}") as session:
        first.drain()
        assert (await heard(session, events.Reconnected)).resumed
        assert len(second.following) == 1


async def test_the_home_is_followed_to_over_tls_with_the_same_trust(tmp_path):
    async with (
        StandInHost("demo", tls=True) as first,
        StandInHost(beside=first) as home,
    ):
        assert first.ca is not None
        (tmp_path / "ca.pem").write_bytes(first.ca)
        first.home = home.target
        ca_file = str(tmp_path / "ca.pem")
        async with opening(first, first.target, token="t", ca_file=ca_file) as session:
            assert session.may_run
            assert (first.following, home.following) == ([True], [True])
            assert home.tokens == ["Bearer t"]


async def test_a_home_with_a_certificate_of_others_is_not_spoken_to(tmp_path):
    async with (
        StandInHost("demo", tls=True) as first,
        StandInHost("demo", tls=True) as stranger,
    ):
        assert first.ca is not None
        (tmp_path / "ca.pem").write_bytes(first.ca)
        first.home = stranger.target
        ca_file = str(tmp_path / "ca.pem")
        async with opening(first, first.target, token="t", ca_file=ca_file) as session:
            assert session.may_run
            assert first.following == [True, False]
            assert stranger.tokens == []


async def test_a_home_that_is_not_there_is_relayed_to(first):
    first.home = closed_port()
    async with opening(first, first.target) as session:
        assert session.may_run
        assert first.following == [True, False]


async def test_a_slow_server_is_passed_over(first, monkeypatch):
    monkeypatch.setattr(dialing, "CONNECT_TIME", 0.2)
    async with silent() as slow, opening(first, slow, first.target) as session:
        assert session.may_run


async def test_when_all_are_down_the_refusal_names_each(first, second):
    gone = closed_port()
    await first.stop()
    with pytest.raises(errors.Unreachable) as caught:
        await opening(first, first.target, gone)
    assert first.target in caught.value.sentence
    assert f"{gone}: nothing listens there" in caught.value.sentence


def test_a_write_that_found_no_connection_is_a_lost_connection():
    """gRPC says INTERNAL then; a server that fails inside says so in our words."""

    def ended(trailing: grpc.aio.Metadata) -> errors.KeypegError:
        raised = grpc.aio.AioRpcError(
            grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), trailing, "Internal error from Core"
        )
        return stream_calls.what_ended(raised)

    packed = status.to_status(errors.Internal("It failed.", incident="i-1")).SerializeToString()
    assert isinstance(ended(grpc.aio.Metadata()), errors.Unreachable)
    assert isinstance(ended(grpc.aio.Metadata((status.DETAILS_KEY, packed))), errors.Internal)


async def test_while_all_are_away_the_app_has_its_time(first, second):
    first.terms.valid_for = timedelta(seconds=60)
    async with opening(first, first.target, second.target) as session:
        first.go_away()
        second.go_away()
        await heard(session, events.ConnectionLost)
        assert state_of(session) is State.GRACE
        assert session.may_run
        second.come_back()
        assert (await heard(session, events.Reconnected)).resumed


async def test_a_bridge_is_not_told_of_following():
    async with (
        StandInHost("demo", kind="key") as key,
        aio.open_session("demo", root=key.root, bridge=key.target),
    ):
        assert key.following == [False]


# Unary calls.


async def test_a_dead_server_among_several_is_passed_over_and_who_works_is_stayed_with(first):
    gone = closed_port()
    async with calls.connect([gone, first.target]) as channel:
        assert isinstance(channel, failover.Failover)
        for _ in range(3):
            assert not await close_nothing(channel)
        assert len(first.closed_from_outside) == 3
        assert channel._now == Server(first.target)


async def test_calls_go_on_while_one_of_two_is_killed(first, second):
    async with calls.connect([first.target, second.target]) as channel:
        work = [asyncio.create_task(close_nothing(channel)) for _ in range(20)]
        await asyncio.wait(work[:5])
        await first.stop()
        work += [asyncio.create_task(close_nothing(channel)) for _ in range(20)]
        assert await asyncio.gather(*work) == [False] * 40


async def test_a_slow_server_delays_a_call_and_does_not_stop_it(first, monkeypatch):
    monkeypatch.setattr(dialing, "CONNECT_TIME", 0.2)
    async with silent() as slow, calls.connect([slow, first.target]) as channel:
        assert not await close_nothing(channel)


async def test_a_refusal_is_an_answer_and_is_not_asked_elsewhere(first, second):
    async with (
        opening(first, first.target) as session,
        calls.connect([first.target, second.target]) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await close_nothing(channel, session.name)  # without its release token
        assert isinstance(calls.translate(caught.value), errors.NotFound)
        assert session.may_run
    assert second.closed_from_outside == []


async def test_the_agent_closes_a_session_at_whichever_server_is_left(first):
    async with opening(first, first.target) as session:
        watched = agent_service_pb2.WatchSession(
            session=session.name,
            server=f"{closed_port()},{first.target}",
            release_token=first.sessions[session.name].release_token,
        )
        await close_session(watched)
        assert first.closed_from_outside == [session.name]


async def test_a_stream_that_a_dead_server_loses_is_opened_at_the_next(first):
    async with (
        asyncio.timeout(20),
        calls.connect(f"{closed_port()},{first.target}") as channel,
    ):
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        lost = stub.HoldSession()
        with pytest.raises(grpc.aio.AioRpcError):
            await lost.read()
        assert await lost.code() is grpc.StatusCode.UNAVAILABLE
        await asyncio.sleep(0)  # how it ended is looked at in the next turn of the loop
        found = stub.HoldSession()
        await found.wait_for_connection()
        found.cancel()


async def test_a_call_that_nobody_takes_names_each_server():
    one, other = closed_port(), closed_port()
    async with calls.connect(f"{one},{other}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await close_nothing(channel)
    error = calls.translate(caught.value)
    assert isinstance(error, errors.Unreachable)
    assert f"{one}: nothing listens there" in error.sentence
    assert f"{other}: nothing listens there" in error.sentence


# Names.


async def test_a_name_with_several_addresses_is_several_servers(monkeypatch):
    numbers = ["10.0.0.2", "10.0.0.1", "::1"]

    async def getaddrinfo(host: str, port: int, **_options: object) -> list:
        assert host == "servers.example"
        return [(0, 0, 0, "", (number, port)) for number in numbers]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    asked = (Server("servers.example:7"), Server("127.0.0.1:8"))
    found = await dialing.look_up(asked)
    assert [str(server) for server in found] == [
        "servers.example:7 (10.0.0.1)",
        "servers.example:7 (10.0.0.2)",
        "servers.example:7 (::1)",
        "127.0.0.1:8",
    ]
    numbers[:] = ["10.0.0.2", "::1"]  # one computer with both kinds
    assert await dialing.look_up(asked) == asked


async def test_a_name_that_can_not_be_looked_up_is_left_to_the_call(monkeypatch):
    async def getaddrinfo(*_arguments: object, **_options: object) -> list:
        raise OSError("no such name")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    asked = (Server("servers.example:7"),)
    assert await dialing.look_up(asked) == asked


async def test_each_address_of_a_name_is_verified_by_the_name():
    async with StandInHost(tls=True) as host:
        port = host.target.rpartition(":")[2]
        right = Server(f"localhost:{port}", "127.0.0.1")
        wrong = Server(f"elsewhere.example:{port}", "127.0.0.1")
        dialer = dialing.Dialer(host.ca, "secret")
        async with dialer.channel(right) as channel:
            assert not await close_nothing(channel)
        async with dialer.channel(wrong) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await close_nothing(channel, timeout=5)
        assert "certificate is for another name" in calls.why(caught.value.details() or "")

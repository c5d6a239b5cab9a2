"""From the app through the agent to the server: whoever is killed has given back a moment later."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from keypeg import aio, errors, events
from keypeg.agent import Agent
from keypeg.agent.closer import close_session
from keypeg.testing import StandInHost
from keypeg.v1.agent_service_pb2 import WatchSession
from tests.client.sdk_fixtures import computer

__all__ = ["computer"]
pytestmark = pytest.mark.usefixtures("computer")

APP = Path(__file__).parents[3] / "examples" / "protected_app.py"


@pytest.fixture
async def host():
    async with StandInHost("demo", kind="site", tls=True, seat_count=1) as host:
        yield host


@pytest.fixture
async def agent(tmp_path, monkeypatch):
    async with Agent(tmp_path / "agent.sock", settle_time=1) as agent:
        monkeypatch.setenv("KEYPEG_AGENT", agent.target)
        yield agent


@pytest.fixture
def ca_file(host, tmp_path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(host.ca)
    return str(path)


class Heard:
    """Notices every frame that an agent takes."""

    def __init__(self, agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
        self._frame = asyncio.Event()
        self._take = agent.service._take
        monkeypatch.setattr(agent.service, "_take", self._taken)

    def _taken(self, watched, request):
        answer = self._take(watched, request)
        self._frame.set()
        return answer

    async def of(self, holds) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self._frame.clear()
                await self._frame.wait()


async def start_app(host: StandInHost, ca_file: str, *more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(APP),
        *("--product", "demo", "--root", host.root.hex(), "--seat", *more),
        env={**os.environ, "KEYPEG_SERVER": host.target, "KEYPEG_CA_FILE": ca_file},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )


async def test_the_seat_of_a_killed_app_goes_to_the_next_at_once(host, agent, ca_file):
    holder = await start_app(host, ca_file)
    await host.until(lambda: host.pool.leases)
    (first,) = host.pool.leases
    waiter = await start_app(host, ca_file, "--wait")
    await host.until(lambda: host.pool.waiters)
    before = asyncio.get_running_loop().time()
    holder.send_signal(signal.SIGKILL)
    await host.until(lambda: host.pool.leases and first not in host.pool.leases)
    assert asyncio.get_running_loop().time() - before < 2
    assert len(host.closed_from_outside) == 1
    waiter.send_signal(signal.SIGTERM)
    for app in (holder, waiter):
        await app.communicate()
    assert waiter.returncode == 0
    assert host.pool.leases == {}
    assert await agent.service.settle(5)
    assert len(host.closed_from_outside) == 1  # the clean end was taken off the list


async def test_the_agent_hears_of_a_session_before_the_app_goes_on(
    host, agent, ca_file, monkeypatch
):
    async with aio.open_session(
        "demo", root=host.root, server=host.target, ca_file=ca_file
    ) as session:
        (watched,) = agent.service._processes.values()
        heard = Heard(agent, monkeypatch)
        assert watched.peer.process_id == os.getpid()
        assert set(watched.sessions) == {session.name}
        host.forget()
        async for event in session.events():
            if isinstance(event, events.Reconnected):
                break
        await heard.of(lambda: set(watched.sessions) == {session.name})
    assert watched.sessions == {}


async def test_an_agent_that_is_not_there_keeps_nobody_from_running(
    host, ca_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("KEYPEG_AGENT", f"unix:{tmp_path}/nobody")
    async with aio.open_session(
        "demo", root=host.root, server=host.target, ca_file=ca_file
    ) as session:
        assert session.name


async def test_an_agent_that_restarts_is_told_again(host, ca_file, tmp_path, monkeypatch):
    path = tmp_path / "agent.sock"
    monkeypatch.setenv("KEYPEG_AGENT", f"unix:{path}")
    first = Agent(path)
    await first.start()
    async with aio.open_session(
        "demo", root=host.root, server=host.target, ca_file=ca_file
    ) as session:
        await first.stop()
        async with Agent(path) as second:
            sessions = Heard(second, monkeypatch)
            await sessions.of(
                lambda: any(session.name in w.sessions for w in second.service._processes.values())
            )


def watched(host: StandInHost, token: bytes) -> WatchSession:
    assert host.ca is not None
    return WatchSession(
        session=next(iter(host.sessions)),
        server=host.target,
        ca_certificates=host.ca,
        release_token=token,
    )


async def test_a_wrong_token_closes_nothing_and_is_not_tried_again(host, ca_file):
    async with aio.open_session("demo", root=host.root, server=host.target, ca_file=ca_file):
        async with asyncio.timeout(10):
            await close_session(watched(host, b"wrong"))
        assert host.closed_from_outside == []


async def test_a_server_that_is_away_is_told_when_it_is_back(host, ca_file, monkeypatch):
    monkeypatch.setattr("keypeg.agent.closer.FIRST_PAUSE", 0.01)
    tries = []

    async def away_at_first(session: WatchSession) -> None:
        tries.append(session.session)
        if len(tries) < 4:
            raise errors.Unreachable("away")
        await call(session)

    from keypeg.agent import closer

    call = closer._call
    monkeypatch.setattr(closer, "_call", away_at_first)
    async with aio.open_session(
        "demo", root=host.root, server=host.target, ca_file=ca_file
    ) as session:
        token = host.sessions[session.name].release_token
        async with asyncio.timeout(10):
            await close_session(watched(host, token))
        assert host.closed_from_outside == [session.name]
        assert isinstance(await session.until_stopped(), errors.SessionClosed)
    assert len(tries) == 4


async def test_closing_is_given_up_after_a_bounded_time(monkeypatch, caplog):
    from keypeg.agent import closer

    monkeypatch.setattr(closer, "FIRST_PAUSE", 0.0001)
    monkeypatch.setattr(closer, "TRIES", 5)
    tries = []

    async def away(session: WatchSession) -> None:
        tries.append(session)
        raise errors.Unreachable("away")

    monkeypatch.setattr(closer, "_call", away)
    await close_session(WatchSession(session="sessions/one", release_token=b"secret-token"))
    assert len(tries) == 5
    assert "not reached in time" in caplog.text
    assert "secret-token" not in caplog.text

"""The agent with real processes: whoever dies gives back, whoever lives keeps."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import stat
import sys
from pathlib import Path

import grpc.aio
import pytest

from keypeg import calls, errors
from keypeg.agent import Agent, AgentService, LocalPort
from keypeg.agent.peercred import has_exited, start_ticks
from keypeg.agent.watcher import ProcessWatch
from keypeg.serving import ErrorInterceptor
from keypeg.v1 import agent_service_pb2, agent_service_pb2_grpc

TIMEOUT = 10.0  # s; a bound for what takes milliseconds

APP = """
import sys, grpc
from keypeg.v1 import agent_service_pb2 as pb, agent_service_pb2_grpc as rpc
target, *sessions = sys.argv[1:]
stub = rpc.AgentServiceStub(grpc.insecure_channel(target))
frames = [pb.WatchProcessRequest(watch=pb.WatchSession(session=name, server="localhost:1", release_token=b"t"))
          for name in sessions]
import queue; more = queue.SimpleQueue()
def requests():
    yield from frames
    while (frame := more.get()) is not None:
        yield frame
answers = stub.WatchProcess(requests())
for _ in sessions:
    print(next(answers).watching.process_id, flush=True)
for line in sys.stdin:
    command, _, name = line.strip().partition(" ")
    if command == "unwatch":
        more.put(pb.WatchProcessRequest(unwatch=pb.UnwatchSession(session=name)))
        more.put(frames[0])
        next(answers)
        print("unwatched", flush=True)
    elif command == "hangup":
        more.put(None)
        list(answers)
        print("hung up", flush=True)
"""


class RecordingCloser:
    """Keeps what it was asked to close."""

    def __init__(self) -> None:
        self.closed: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, watched: agent_service_pb2.WatchSession) -> None:
        await self.closed.put(watched.session)

    async def next(self) -> str:
        return await asyncio.wait_for(self.closed.get(), TIMEOUT)


@pytest.fixture
def closer():
    return RecordingCloser()


@pytest.fixture
async def agent(tmp_path, closer):
    async with Agent(tmp_path / "a.sock", closer=closer) as agent:
        yield agent


async def start_app(agent: Agent, *sessions: str) -> asyncio.subprocess.Process:
    app = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        APP,
        agent.target,
        *sessions,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    for _ in sessions:
        assert await line(app) == str(app.pid)
    return app


async def line(app: asyncio.subprocess.Process) -> str:
    assert app.stdout is not None
    return (await asyncio.wait_for(app.stdout.readline(), TIMEOUT)).decode().strip()


async def tell(app: asyncio.subprocess.Process, command: str) -> str:
    assert app.stdin is not None
    app.stdin.write(f"{command}\n".encode())
    return await line(app)


async def kill(app: asyncio.subprocess.Process) -> None:
    app.send_signal(signal.SIGKILL)
    await app.wait()


async def test_a_killed_process_has_all_its_sessions_closed(agent, closer):
    app = await start_app(agent, "sessions/one", "sessions/two")
    await kill(app)
    assert {await closer.next(), await closer.next()} == {"sessions/one", "sessions/two"}


async def test_a_session_that_ended_by_itself_is_not_closed_again(agent, closer):
    app = await start_app(agent, "sessions/one", "sessions/two")
    assert await tell(app, "unwatch sessions/two") == "unwatched"
    await kill(app)
    assert await closer.next() == "sessions/one"
    assert await agent.service.settle(TIMEOUT)
    assert closer.closed.empty()


async def test_the_end_of_the_stream_changes_nothing_while_the_process_lives(agent, closer):
    app = await start_app(agent, "sessions/one")
    assert await tell(app, "hangup") == "hung up"
    assert await agent.service.settle(TIMEOUT)
    assert closer.closed.empty()
    await kill(app)
    assert await closer.next() == "sessions/one"


async def test_a_call_past_the_public_socket_is_refused(agent, tmp_path):
    other = grpc.aio.server(interceptors=(ErrorInterceptor(),))
    service = AgentService(lambda _: None)
    service.add_to(other)
    other.add_insecure_port(f"unix:{tmp_path}/bare.sock")
    await other.start()
    try:
        async with calls.connect(f"unix:{tmp_path}/bare.sock") as channel:
            stub = agent_service_pb2_grpc.AgentServiceStub(channel)
            call = stub.WatchProcess()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
        assert isinstance(calls.translate(caught.value), errors.PermissionDenied)
    finally:
        await other.stop(0)


@pytest.mark.parametrize(
    "frame",
    [
        agent_service_pb2.WatchProcessRequest(),
        agent_service_pb2.WatchProcessRequest(
            watch=agent_service_pb2.WatchSession(
                session="nonsense", server="h:1", release_token=b"t"
            )
        ),
        agent_service_pb2.WatchProcessRequest(
            watch=agent_service_pb2.WatchSession(
                session="sessions/a", server="x" * 4_097, release_token=b"t"
            )
        ),
        agent_service_pb2.WatchProcessRequest(
            watch=agent_service_pb2.WatchSession(session="sessions/a", server="h:1")
        ),
        agent_service_pb2.WatchProcessRequest(
            watch=agent_service_pb2.WatchSession(
                session="sessions/a",
                server="h:1",
                release_token=b"t",
                ca_certificates=b"x" * 70_000,
            )
        ),
    ],
    ids=["empty", "no session name", "long target", "no token", "long certificates"],
)
async def test_a_wrong_frame_is_refused_by_its_field(agent, frame):
    async with calls.connect(agent.target) as channel:
        call = agent_service_pb2_grpc.AgentServiceStub(channel).WatchProcess()
        await call.write(frame)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert isinstance(calls.translate(caught.value), errors.FieldInvalid)


async def test_the_socket_is_its_owners_only_and_goes_with_the_agent(tmp_path, closer):
    path = tmp_path / "new" / "a.sock"
    async with Agent(path, closer=closer):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_second_agent_on_the_same_socket_refuses_with_a_sentence(agent, closer):
    with pytest.raises(OSError, match="Another program listens"):
        async with Agent(Path(agent.target.removeprefix("unix:")), closer=closer):
            pass


async def test_the_socket_of_a_dead_agent_is_replaced(tmp_path, closer):
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with Agent(path, closer=closer) as agent:
        app = await start_app(agent, "sessions/one")
        await kill(app)
        assert await closer.next() == "sessions/one"


async def test_stopping_closes_the_sessions_of_the_dead_first(tmp_path, closer):
    agent = Agent(tmp_path / "a.sock", closer=closer)
    await agent.start()
    app = await start_app(agent, "sessions/one")
    pidfd = os.pidfd_open(app.pid)
    os.kill(app.pid, signal.SIGKILL)
    # Blocks the loop on purpose: the agent can not have noticed before it is stopped.
    assert select.select([pidfd], [], [], TIMEOUT)[0]
    os.close(pidfd)
    await agent.stop()
    assert await closer.next() == "sessions/one"
    await app.wait()


async def test_nothing_is_left_of_connections_that_ended(agent):
    port: LocalPort = agent._port
    app = await start_app(agent, "sessions/one")
    assert len(port._peers) == 1
    await kill(app)
    while port._tasks:
        await asyncio.wait_for(asyncio.gather(*port._tasks, return_exceptions=True), TIMEOUT)
    assert port._peers == {}
    assert [p.name for p in port._private.iterdir()] == ["s"]


async def test_a_process_that_was_dead_before_is_noticed_at_once():
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    pidfd = os.pidfd_open(child.pid)
    await child.wait()
    noticed = asyncio.Event()
    ProcessWatch(pidfd, noticed.set)
    await asyncio.wait_for(noticed.wait(), TIMEOUT)
    assert has_exited(pidfd)
    os.close(pidfd)
    gone = asyncio.Event()
    ProcessWatch(-1, gone.set)
    await asyncio.wait_for(gone.wait(), TIMEOUT)


async def test_a_watch_that_was_stopped_stays_silent():
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE
    )
    pidfd = os.pidfd_open(child.pid)
    silent = ProcessWatch(pidfd, lambda: pytest.fail("called back after stop"))
    heard = asyncio.Event()
    ProcessWatch(pidfd, heard.set)
    silent.stop()
    await kill(child)
    await asyncio.wait_for(heard.wait(), TIMEOUT)
    os.close(pidfd)


def test_a_process_is_told_apart_by_its_start():
    assert start_ticks(os.getpid()) > 0
    assert start_ticks(2**22 + 1) == 0

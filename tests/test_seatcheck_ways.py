"""What lies between the checker's clients and its servers, and how it fails: proxy, relay, network, disk."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from keypeg.v1 import session_service_pb2
from keypeg_server.tls import development_identity
from lab.processes import ROOT, Lab
from seatchecker.disk import Disk, NoCompiler, library
from seatchecker.proxy import Proxy
from seatchecker.relay import Relay

# the proxy


class _Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        heard.append(data)
        self._transport.write(data)


heard: list[bytes] = []


@pytest.fixture
async def line() -> Any:
    """A line through a proxy to an echo: the proxy and a connection."""
    heard.clear()
    server = await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", 0)
    proxy = Proxy(server.sockets[0].getsockname()[:2])
    host, _, port = (await asyncio.to_thread(proxy.line, "a")).rpartition(":")
    yield proxy, host, int(port)
    await asyncio.to_thread(proxy.close)
    server.close()


async def test_a_stalled_line_delivers_later(line: tuple[Proxy, str, int]) -> None:
    proxy, host, port = line
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    await asyncio.to_thread(proxy.stall, "a")
    writer.write(b"two")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(3), 0.1)
    await asyncio.to_thread(proxy.heal, "a")
    assert await reader.readexactly(3) == b"two"
    writer.close()


async def test_a_muted_line_carries_requests_but_no_answers_and_is_cut_when_healed(
    line: tuple[Proxy, str, int],
) -> None:
    proxy, host, port = line
    reader, writer = await asyncio.open_connection(host, port)
    await asyncio.to_thread(proxy.mute, "a")
    writer.write(b"one")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.readexactly(3), 0.1)
    assert heard == [b"one"]
    await asyncio.to_thread(proxy.heal, "a")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(3)
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"two")
    assert await reader.readexactly(3) == b"two"
    writer.close()


async def test_what_was_sent_on_a_line_that_is_cut_is_not_delivered_later(
    line: tuple[Proxy, str, int],
) -> None:
    proxy, host, port = line
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    await asyncio.to_thread(proxy.stall, "a")
    writer.write(b"two")
    await asyncio.to_thread(proxy.cut, "a")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(3)
    await asyncio.to_thread(proxy.heal, "a")
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"end")
    assert await reader.readexactly(3) == b"end"
    assert heard == [b"one", b"end"]
    writer.close()


# the relay


class Answers(grpc.GenericRpcHandler):
    """Answers each message of a stream with a place in a queue, and each call with what it brought."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        if details.method == "/test/Call":
            return grpc.unary_unary_rpc_method_handler(self._call)
        if details.method == "/test/Refuse":
            return grpc.unary_unary_rpc_method_handler(self._refuse)
        return grpc.stream_stream_rpc_method_handler(self._stream)

    async def _call(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        self.heard.append(request)
        seen = dict(context.invocation_metadata() or ())
        return request + str(seen.get("kept", "")).encode()

    async def _refuse(self, request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        details = (("kept-bin", b"details"),)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no seat", details)

    async def _stream(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        frame = session_service_pb2.HoldSessionResponse()
        async for request in requests:
            self.heard.append(request)
            frame.queued.request_id = request.decode()
            await context.write(frame.SerializeToString())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("ways")) as made:
        yield made


@pytest.fixture(scope="module")
async def relayed(lab: Lab) -> AsyncIterator[tuple[Answers, Relay, grpc.aio.Channel]]:
    """A server, a relay before it, and a channel through a line of it."""
    folder = lab.folder / "tls"
    development_identity(folder, (), datetime.now(UTC))
    chain, key, trust = (folder / name for name in ("server.pem", "server.key", "ca.pem"))
    answers = Answers()
    server = grpc.aio.server(handlers=[answers])
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(key.read_bytes(), chain.read_bytes())])
    )
    await server.start()
    relay = Relay(lab, "1", [f"127.0.0.1:{port}"], chain, key, trust)
    address = await asyncio.to_thread(relay.line, "a")
    credentials = grpc.ssl_channel_credentials(trust.read_bytes())
    async with grpc.aio.secure_channel(address, credentials) as channel:
        yield answers, relay, channel
    await server.stop(0)
    await asyncio.to_thread(relay.close)


Relayed = tuple[Answers, Relay, grpc.aio.Channel]


async def numbers(count: int) -> AsyncIterator[bytes]:
    """Requests."""
    for number in range(count):
        yield f"{number}".encode()


async def read_all(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> list[bytes]:
    """Every answer."""
    return [answer async for answer in call]


async def called(channel: grpc.aio.Channel, method: str, request: bytes) -> bytes | None:
    """The answer; None when the relay lost it."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    try:
        return await call(request, metadata=grpc.aio.Metadata(("kept", "!")), timeout=10)
    except grpc.aio.AioRpcError as error:
        if error.details() != "the answer was lost":
            raise
        return None


async def test_a_relay_carries_requests_metadata_answers_and_errors(relayed: Relayed) -> None:
    _, _, channel = relayed
    assert await called(channel, "/test/Call", b"one") == b"one!"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await called(channel, "/test/Refuse", b"one")
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == "no seat"
    assert ("kept-bin", b"details") in tuple(refused.value.trailing_metadata())


async def test_a_lost_answer_is_that_of_a_request_which_was_heard(relayed: Relayed) -> None:
    answers, relay, channel = relayed
    await asyncio.to_thread(relay.fail, "a", "drop")
    answers.heard.clear()
    requests = [f"{number}".encode() for number in range(40)]
    got = [await called(channel, "/test/Call", request) for request in requests]
    await asyncio.to_thread(relay.heal, "a")
    assert answers.heard == requests
    lost = got.count(None)
    assert 0 < lost < 40
    assert [one for one in got if one] == [
        request + b"!" for request, one in zip(requests, got, strict=True) if one
    ]
    assert await called(channel, "/test/Call", b"on") == b"on!"


async def test_a_doubled_request_is_heard_twice_and_answered_once(relayed: Relayed) -> None:
    answers, relay, channel = relayed
    await asyncio.to_thread(relay.fail, "a", "double")
    answers.heard.clear()
    requests = [f"{number}".encode() for number in range(40)]
    got = [await called(channel, "/test/Call", request) for request in requests]
    await asyncio.to_thread(relay.heal, "a")
    assert got == [request + b"!" for request in requests]
    assert 40 < len(answers.heard) < 80
    assert set(answers.heard) == set(requests)


async def test_answers_on_a_stream_come_twice_or_end_it(relayed: Relayed) -> None:
    answers, relay, channel = relayed
    make: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
    make = channel.stream_stream("/keypeg.v1.SessionService/HoldSession")
    answers.heard.clear()
    await asyncio.to_thread(relay.fail, "a", "double")
    frames = [
        session_service_pb2.HoldSessionResponse.FromString(one).queued.request_id
        async for one in make(numbers(40), timeout=10)
    ]
    assert 40 < len(frames) < 80
    assert list(dict.fromkeys(frames)) == [str(number) for number in range(40)]
    assert len(answers.heard) == 40, "only the answers are doubled"
    await asyncio.to_thread(relay.fail, "a", "drop")
    call = make(numbers(40), timeout=10)
    # grpc.aio says the other where it was about to write.
    with pytest.raises(grpc.aio.AioRpcError, match=r"the answer was lost|Internal error from Core"):
        await read_all(call)
    await asyncio.to_thread(relay.heal, "a")


# networks

CUT = """
import socket, subprocess, sys, threading, time
from seatchecker.namespaces import HUB, Namespaces, restart_inside

if why := restart_inside():
    print("not allowed:", why)
    sys.exit()
networks = Namespaces()
address = networks.add("a")
listening = socket.create_server((HUB, 0))
client = subprocess.Popen(
    [*networks.under("a"), sys.executable, "-c", "import socket\\nc = socket.create_connection("
     f"('{HUB}', {listening.getsockname()[1]}))\\nwhile c.recv(9): c.sendall(b'heard')"],
)
talking, peer = listening.accept()
assert peer[0] == address
def heard():
    talking.sendall(b"said")
    try:
        return talking.recv(9)
    except TimeoutError:
        return b""
talking.settimeout(20)
assert heard() == b"heard"
networks.cut("a")
talking.settimeout(0.3)
assert heard() == b""
networks.heal("a")
talking.settimeout(20)
assert talking.recv(9) == b"heard", "it was sent again by the kernel"
networks.remove("a")
talking.settimeout(0.3)
assert heard() == b""
talking.close()
client.terminate()
client.wait(10)
networks.close()
print("cut and healed")
"""


def test_a_network_loses_everything_while_it_is_cut_and_nobody_is_told(tmp_path: Path) -> None:
    script = tmp_path / "cut.py"
    script.write_text(CUT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    allowed = os.geteuid() == 0 and Path("/usr/sbin/ip").exists()
    assert done.stdout.startswith(
        "cut and healed" if allowed else ("cut and healed", "not allowed:")
    )


def test_where_no_network_can_be_made_the_reason_is_told(tmp_path: Path) -> None:
    script = tmp_path / "no.py"
    script.write_text("from seatchecker.namespaces import restart_inside\nprint(restart_inside())")
    environment = {"PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "tools")}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    assert "there is no program `unshare` here" in done.stdout


# the disk

SYNC = """
import os, sys, time
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
for sync in (os.fsync, os.fdatasync):
    begun = time.monotonic()
    sync(file)
    print(time.monotonic() - begun)
"""


def test_a_slow_disk_delays_every_sync_of_the_program_itself(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "delay")

    def syncs() -> list[float]:
        command = [sys.executable, "-c", SYNC, str(tmp_path / "file")]
        environment = {**os.environ, **disk.env}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [float(line) for line in done.stdout.split()]

    disk.slow(300)
    assert min(syncs()) >= 0.3
    disk.slow(0)
    assert min(syncs()) < 0.3


def test_without_a_compiler_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoCompiler, match="no C compiler `no-such-compiler` here"):
        library()

"""A relay for gRPC calls that loses and doubles what passes, on command: the program behind `relay`.

Promises: everything else passes as it came: bytes, metadata, errors, ends, cancelled calls. What it does is what
networks and other relays do: the answer of a call is lost, after the server has done its work, and the call fails
with UNAVAILABLE; a stream ends with an answer that does not arrive; a request arrives twice, and the first answer counts;
an answer on a stream that is no answer to a renewal arrives twice. The rest of a doubled thing happens to nobody.

Leaves to others: when (playing).

    python -m seatchecker.relaying --seed 7 --chain PEM --key PEM --trust PEM HOST:PORT ...
Standard input takes `add NAME`, `drop NAME`, `double NAME`, `heal NAME`; standard output says when each is done.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

from keypeg.v1 import session_service_pb2

CHANCE: Final = 0.3  # of an answer to be lost or doubled while that is on
STREAM: Final = "/keypeg.v1.SessionService/HoldSession"
REPEATS: Final = frozenset({"acquired", "queued", "released", "denied", "changed"})
"""Frames that may come twice. An `opened` or `renewed` that nobody asked for is an attack, and ends the session."""
# Metadata of one connection alone, and the wish to be told of another server, which would lead past the relay.
OWN: Final = frozenset(
    {"user-agent", "te", "content-type", "grpc-accept-encoding", "grpc-encoding", "keypeg-follow"}
)


class Line:
    """One client's way: a port for each server, and what goes wrong now."""

    def __init__(self, rng: random.Random) -> None:
        self.fault = ""
        self._rng = rng

    def strikes(self, fault: str) -> bool:
        """Whether this goes wrong here and now."""
        return self.fault == fault and self._rng.random() < CHANCE


class Relaying(grpc.GenericRpcHandler):
    """All calls of one line to one server."""

    def __init__(self, line: Line, channel: grpc.aio.Channel) -> None:
        self._line = line
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        """Every method is carried in the same way: on the wire a unary call is a stream of one message."""
        method = details.method
        if isinstance(method, bytes):
            method = method.decode()

        async def carry(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> None:
            await self._carry(method, requests, context)

        return grpc.stream_stream_rpc_method_handler(carry)

    async def _carry(
        self,
        method: str,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
    ) -> None:
        call = self._call(method, context)
        twice = method != STREAM and self._line.strikes("double")
        sending = asyncio.ensure_future(self._send(method, requests, context, call, twice))
        try:
            while isinstance(answer := await call.read(), bytes):
                if self._line.strikes("drop"):
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
                await context.write(answer)
                if method == STREAM and _may_repeat(answer) and self._line.strikes("double"):
                    await context.write(answer)
            trailing = _passed(await call.trailing_metadata())
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                await context.abort(code, await call.details() or "", trailing)
            context.set_trailing_metadata(trailing)
        except grpc.aio.AioRpcError as error:
            trailing = _passed(error.trailing_metadata())
            await context.abort(error.code(), error.details() or "", trailing)
        finally:
            sending.cancel()
            call.cancel()

    def _call(
        self, method: str, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> grpc.aio.StreamStreamCall[bytes, bytes]:
        make: grpc.aio.StreamStreamMultiCallable[bytes, bytes]
        make = self._channel.stream_stream(method)
        left = context.time_remaining()
        metadata = _passed(context.invocation_metadata())
        return make(metadata=grpc.aio.Metadata(*metadata), timeout=left if left else None)

    async def _send(
        self,
        method: str,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext[bytes, bytes],
        call: grpc.aio.StreamStreamCall[bytes, bytes],
        twice: bool,
    ) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async for request in requests:
                await call.write(request)
                if twice:
                    again = self._call(method, context)
                    await again.write(request)
                    await again.done_writing()
                    _heard.add(task := asyncio.ensure_future(_ended(again)))
                    task.add_done_callback(_heard.discard)
            await call.done_writing()


_heard: set[asyncio.Future[None]] = set()


async def _ended(call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        while isinstance(await call.read(), bytes):
            pass


def _may_repeat(answer: bytes) -> bool:
    frame = session_service_pb2.HoldSessionResponse.FromString(answer)
    return str(frame.WhichOneof("frame")) in REPEATS


def _passed(metadata: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((key, value) for key, value in metadata or () if key not in OWN)


async def serve(options: argparse.Namespace) -> None:
    """Until the end of standard input."""
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    pair = options.key.read_bytes(), options.chain.read_bytes()
    identity = grpc.ssl_server_credentials([pair])
    trust = grpc.ssl_channel_credentials(options.trust.read_bytes())
    quick = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    quick += [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
    lines: dict[str, Line] = {}
    servers = []
    while command := await commands.readline():
        what, _, name = command.decode().strip().partition(" ")
        said: dict[str, object] = {"event": what, "name": name}
        if what == "add":
            line = lines[name] = Line(random.Random(f"relay {options.seed} {name}"))
            ports = []
            for target in options.targets:
                channel = grpc.aio.secure_channel(target, trust, options=quick)
                server = grpc.aio.server(handlers=[Relaying(line, channel)])
                ports.append(server.add_secure_port("127.0.0.1:0", identity))
                await server.start()
                servers.append((server, channel))
            said["ports"] = ports
        else:
            lines[name].fault = "" if what == "heal" else what
        print(json.dumps(said), flush=True)
    for server, channel in servers:
        await server.stop(0)
        await channel.close()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="A relay that loses and doubles what passes.")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--chain", type=Path, required=True, help="its certificate")
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--trust", type=Path, required=True, help="of the servers")
    parser.add_argument("targets", nargs="+", metavar="HOST:PORT")
    asyncio.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

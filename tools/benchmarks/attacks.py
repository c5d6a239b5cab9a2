"""Attacks on a keypegd, begun and ended on command: what callers do who mean harm.

Promises: an attack goes on as hard as it can, from one process, until it is told to rest; then it lets go of everything,
and says what it tried and what came of that. It takes no time from others on its core, so that what they measure is the
server (SCHED_IDLE).

Leaves to others: what it does to honest users (hostile.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import resource
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.python_session import Place, WrongAnswer, open_session
from keypeg.rpc_errors import translate
from keypeg.v1 import account_service_pb2
from keypeg.v1.account_service_pb2_grpc import AccountServiceStub
from keypeg.v1.session_pb2 import Renew
from keypeg.v1.session_service_pb2 import HoldSessionRequest

HALF_OPEN: Final = 10_000
SLOW_READERS: Final = 200
CONNECTIONS: Final = 8
OPENING_AT_ONCE: Final = 256
ANSWER_SECONDS: Final = 30.0
HEADER: Final = (
    ("x-large", "x" * 256_000),
)  # more at once would keep the load's core in the kernel
MESSAGE: Final = bytes(8 << 20)
LOGINS: Final = 1_000
HELLO: Final = b"\x16\x03\x01"  # the beginning of a handshake
GET_CALLER: Final = "/keypeg.v1.AccountService/GetCaller"

Once = Callable[[int], Awaitable[None]]


class Attack:
    """What is tried again and again, by so many at once; each try is counted by what came of it."""

    def __init__(self, kind: str, places: list[Place]) -> None:
        self.places = places
        self.tally: Counter[str] = Counter()
        self.going = False
        self._numbers = itertools.count()
        self._held: set[Any] = set()
        attempts: dict[str, tuple[Once, int]] = {
            "slow-readers": (self._read_nothing, SLOW_READERS),
            "header-bombs": (self._large_header, 16),
            "message-bombs": (self._large_message, 16),
            "sign-ins": (self._guess, 64),
            "streams": (self._session, 64),
            "calls": (self._unknown_call, 128),
        }
        self._once, self.at_once = attempts[kind]
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """It is under way when this returns."""
        self.going = True
        self._tasks = [asyncio.create_task(self._again()) for _ in range(self.at_once)]

    async def rest(self) -> None:
        """Nothing of it is left when this returns."""
        self.going = False
        for call in self._held:
            call.cancel()
        self._held.clear()
        _, late = await asyncio.wait(self._tasks, timeout=1.0)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _again(self) -> None:
        while self.going:
            try:
                await self._once(next(self._numbers))
                self.tally["OK"] += 1
            except grpc.aio.AioRpcError as error:
                self.tally[translate(error).reason.name] += 1
            except (WrongAnswer, asyncio.InvalidStateError, grpc.aio.UsageError):
                self.tally["streams ended"] += 1

    def _place(self, number: int) -> Place:
        return self.places[number % len(self.places)]

    async def _read_nothing(self, number: int) -> None:
        """A session that asks without end and reads no answer."""
        place = self._place(number)
        call, codes, sequences = await open_session(place, number)
        self._held.add(call)
        try:
            while self.going:
                sequence = next(sequences)
                frame = Renew(sequence=sequence, mac=codes.renew(sequence, b""))
                await call.write(HoldSessionRequest(renew=frame))
        finally:
            self._held.discard(call)
            call.cancel()

    async def _large_header(self, number: int) -> None:
        await self._raw(number, b"", HEADER)

    async def _large_message(self, number: int) -> None:
        await self._raw(number, MESSAGE, self._place(number).metadata)

    async def _unknown_call(self, number: int) -> None:
        await self._raw(number, b"", (("authorization", f"Bearer {number:043}"),))

    async def _raw(self, number: int, body: bytes, metadata: Any) -> None:
        ask: Any = self._place(number).channel.unary_unary(GET_CALLER)
        await ask(body, metadata=metadata, timeout=ANSWER_SECONDS)

    async def _guess(self, number: int) -> None:
        login, password = f"nobody-{number % LOGINS}", f"a longer guess {number}"
        request = account_service_pb2.SignInRequest(login=login, password=password)
        accounts = AccountServiceStub(self._place(number).channel)
        await accounts.SignIn(request, timeout=ANSWER_SECONDS)

    async def _session(self, number: int) -> None:
        """One stream more, with a session on it, which stays."""
        call, _, _ = await open_session(self._place(number), number)
        self._held.add(call)


class _Silent(asyncio.Protocol):
    """A connection that does not go on."""

    def __init__(self, attack: HalfOpen, says: bytes) -> None:
        self._attack = attack
        self._says = says
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        if self._says:
            assert isinstance(transport, asyncio.WriteTransport)
            transport.write(self._says)

    def connection_lost(self, exc: Exception | None) -> None:
        self._attack.lost(self)


class HalfOpen:
    """Connections that never get to TLS, half of them with its first bytes; who is hung up on comes again."""

    def __init__(self, address: str, count: int) -> None:
        self.tally: Counter[str] = Counter()
        self.at_once = count
        self.going = False
        host, _, port = address.rpartition(":")
        self._where = (host.strip("[]"), int(port))
        self._open: set[_Silent] = set()
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self._again: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """All are open when this returns."""
        self.going = True
        await asyncio.gather(*(self._connect() for _ in range(self.at_once)))

    async def rest(self) -> None:
        """None is open when this returns."""
        self.going = False
        for one in tuple(self._open):
            if one.transport is not None:
                one.transport.close()
        await asyncio.gather(*self._again, return_exceptions=True)

    def lost(self, one: _Silent) -> None:
        """The server has hung up, or this has."""
        self._open.discard(one)
        if self.going:
            self.tally["hung up on"] += 1
            task = asyncio.create_task(self._connect())
            self._again.add(task)
            task.add_done_callback(self._again.discard)

    async def _connect(self) -> None:
        async with self._opening:
            if not self.going:
                return
            says = HELLO if len(self._open) % 2 else b""
            try:
                _, one = await asyncio.get_running_loop().create_connection(
                    lambda: _Silent(self, says), *self._where
                )
            except OSError as error:
                self.tally[error.strerror or str(error)] += 1
                return
            self.tally["connected"] += 1
            self._open.add(one)


def say(**fields: object) -> None:
    """One line for who gave the command."""
    print(json.dumps(fields), flush=True)


async def main() -> None:
    """Obey standard input until it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("target", "attack", "product"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--count", type=int, default=HALF_OPEN, help="of half-open connections")
    arguments = parser.parse_args()
    arguments.pool = "-"
    credentials = grpc.ssl_channel_credentials(arguments.ca.read_bytes())
    attack: Attack | HalfOpen
    if arguments.attack == "half-open":
        attack = HalfOpen(arguments.target, arguments.count)
    else:
        options = [("grpc.use_local_subchannel_pool", 1)]
        places = [
            Place(
                grpc.aio.secure_channel(
                    arguments.target, credentials, [*options, ("keypeg.bench.number", number)]
                ),
                arguments,
            )
            for number in range(CONNECTIONS)
        ]
        attack = Attack(arguments.attack, places)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    say(event="ready")
    while command := (await reader.readline()).strip():
        if command == b"begin":
            attack.tally.clear()
            await attack.begin()
            say(event="under way", at_once=attack.at_once)
        else:
            tally = dict(attack.tally)
            await attack.rest()
            say(event="rested", tally=tally)


def give_way() -> None:
    """Run only when nobody else wants the core; open as many files as may be."""
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    give_way()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())

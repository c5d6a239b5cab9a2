"""Load for machines without a compiler: the work of keypegd and the floor, and `run`, as load/load.cc, on grpc.aio.

Promises: what load.cc promises; a wrong, denied or missing answer is an error of the result.

Leaves to others: more than one core; loads.py starts several. It costs more than the server that it loads,
so rates are bounds from below and only CPU per operation says how fast the server is.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.python_run import Operate, run, say
from benchmarks.python_session import (
    Place,
    app,
    ask,
    device,
    open_session,
    require,
)
from keypeg import sessionkey
from keypeg.randomness import SystemRandomness
from keypeg.v1 import seat_service_pb2, session_pb2
from keypeg.v1.seat_service_pb2_grpc import SeatServiceStub
from keypeg.v1.session_service_pb2 import HoldSessionRequest

ECHO: Final = "/keypeg.bench.Floor/Echo"
NOTHING: Final = "/keypeg.bench.Floor/Nothing"
OPENING_AT_ONCE: Final = 64


async def echo(place: Place, number: int, *, acquire: bool) -> Operate:
    """A stream of the floor; see load/echo_stream.cc."""
    method = place.channel.stream_stream(
        ECHO,
        request_serializer=HoldSessionRequest.SerializeToString,
        response_deserializer=HoldSessionRequest.FromString,
    )
    call: Any = method()
    sequences = itertools.count(1)
    code = os.urandom(sessionkey.MAC_BYTES)

    async def operate() -> None:
        sequence = next(sequences)
        if acquire:
            frame = HoldSessionRequest(acquire=_acquire(place, sequence, number))
        else:
            frame = HoldSessionRequest(renew=session_pb2.Renew(sequence=sequence, mac=code))
        await call.write(frame)
        require(await call.read() == frame, "the echo is another frame's")

    await operate()
    return operate


async def session(place: Place, number: int, *, kind: str) -> Operate:
    """A session of keypegd; see load/session_stream.cc."""
    call, codes, sequences = await open_session(place, number)

    async def renew() -> None:
        sequence = next(sequences)
        nonce = os.urandom(32) if kind == "renew-signed" else b""
        frame = session_pb2.Renew(sequence=sequence, nonce=nonce, mac=codes.renew(sequence, nonce))
        answer = await ask(call, HoldSessionRequest(renew=frame))
        time_left = sessionkey.microseconds(answer.renewed.valid_for)
        require(answer.renewed.mac == codes.renewed(sequence, time_left), answer)
        require(answer.renewed.HasField("proof") == bool(nonce), answer)

    lease = ""

    async def seat() -> None:
        nonlocal lease
        sequence = next(sequences)
        if lease:
            release = session_pb2.Release(sequence=sequence, name=lease)
            answer = await ask(call, HoldSessionRequest(release=release))
            require(answer.released.name == lease, answer)
            lease = ""
            return
        frame = _acquire(place, sequence, number)
        answer = await ask(call, HoldSessionRequest(acquire=frame))
        given = answer.acquired
        require(given.mac == codes.acquired(sequence, frame.request_id, given.lease), answer)
        lease = given.lease.name

    return seat if kind == "seat-stream" else renew


async def seat_caller(place: Place, number: int) -> Operate:
    """AcquireSeat and ReleaseSeat in turn; see load/unary_caller.cc."""
    seats = SeatServiceStub(place.channel)
    held: list[Any] = []

    async def operate() -> None:
        if held:
            lease = held.pop()
            release = seat_service_pb2.ReleaseSeatRequest(
                name=lease.name, fencing_number=lease.fencing_number
            )
            answer: Any = await seats.ReleaseSeat(release, metadata=place.metadata)
            require(answer.released, "ReleaseSeat found no lease to release")
        else:
            answer = await seats.AcquireSeat(_acquire_seat(place, number), metadata=place.metadata)
            held.append(answer.lease)

    return operate


async def nothing(place: Place, number: int) -> Operate:
    """The unary call that does nothing."""
    method: Any = place.channel.unary_unary(
        NOTHING,
        request_serializer=seat_service_pb2.AcquireSeatRequest.SerializeToString,
        response_deserializer=seat_service_pb2.AcquireSeatRequest.FromString,
    )

    async def operate() -> None:
        request = _acquire_seat(place, number)
        require(await method(request) == request, "something else came back")

    return operate


async def make_worker(kind: str, place: Place, number: int) -> Operate:
    """An open worker for this kind of work."""
    match kind:
        case "renew" | "renew-signed" | "seat-stream":
            return await session(place, number, kind=kind)
        case "seat-unary":
            return await seat_caller(place, number)
        case "echo-renew" | "echo-acquire":
            return await echo(place, number, acquire=kind == "echo-acquire")
        case "nothing":
            return await nothing(place, number)
    raise SystemExit(f"load: there is no work {kind}.")


def _request_id() -> str:
    return SystemRandomness().request_id()


def _priority(number: int) -> int:
    return number % 3  # as in load.cc


def _acquire(place: Place, sequence: int, number: int) -> session_pb2.Acquire:
    return session_pb2.Acquire(
        sequence=sequence,
        request_id=_request_id(),
        pool=place.pool,
        units=1,
        priority=_priority(number),
    )


def _acquire_seat(place: Place, number: int) -> seat_service_pb2.AcquireSeatRequest:
    return seat_service_pb2.AcquireSeatRequest(
        request_id=_request_id(),
        pool=place.pool,
        units=1,
        priority=_priority(number),
        device=device(number),
        app=app(),
    )


async def main() -> None:
    """Open the workers, then obey standard input until it ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("target", "work", "product", "pool"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--ca", type=Path, required=True)
    for name in ("connections", "workers", "opened", "outstanding"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    credentials = grpc.ssl_channel_credentials(arguments.ca.read_bytes())
    places = [
        Place(
            grpc.aio.secure_channel(
                arguments.target,
                credentials,
                options=[("grpc.use_local_subchannel_pool", 1), ("keypeg.bench.number", number)],
            ),
            arguments,
        )
        for number in range(arguments.connections)
    ]
    begun = time.monotonic()
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def opened(number: int) -> Operate:
        async with gate:
            return await make_worker(arguments.work, places[number % len(places)], number)

    made = await asyncio.gather(
        *(opened(number) for number in range(arguments.workers)), return_exceptions=True
    )
    workers = deque(worker for worker in made if not isinstance(worker, BaseException))
    errors = [str(error)[:300] for error in made if isinstance(error, BaseException)]
    say(
        event="ready",
        workers=len(workers),
        connections=len(places),
        seconds=time.monotonic() - begun,
        errors=len(errors),
        first_error=(errors or [""])[0],
    )
    if errors:
        return
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while command := (await reader.readline()).split():
        if command[0] != b"run":
            break
        await run(workers, arguments.outstanding, float(command[1]), float(command[2]))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())

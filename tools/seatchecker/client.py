"""A client of keypegd that journals what it believes: seats on a session's stream, or by unary calls.

Promises: whenever it believes that it holds a seat, it says so about every 50 ms with the time until which it may;
the time of such a line is read before the belief is asked for, so that the line is true whenever the process was
stopped. It says that it gives a seat back before it begins to. It ends with SIGTERM, or with who started it.

    python -m seatchecker.client --kind stream --journal FILE --seed 7 --product P --root HEX --pool POOL
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

import keypeg.aio
from keypeg import calls, clock, events
from keypeg.errors import KeypegError, Reason
from keypeg.seat import SeatStage
from seatchecker.history import Entry, write_entry

BEAT: Final = 0.05  # seconds between two uses of a seat
PASSING: Final = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.TIMED_OUT,
        Reason.SERVER_DRAINING,
        Reason.ELSEWHERE,
        Reason.STORAGE_UNAVAILABLE,
        Reason.BUSY,
        Reason.INTERNAL,
    }
)
POLL: Final = 800  # milliseconds that one call without a stream waits in the queue
PATIENCE: Final = 3.0  # seconds to settle what is open when it is told to end


class Journal:
    """Lines to a file, each written at once by one write."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, what: str, at: float | None = None, **facts: Any) -> None:
        """One entry."""
        moment = clock.monotonic() if at is None else at
        self._file.write(write_entry(Entry(moment, "", what, facts)) + "\n")


class Ending:
    """Set by SIGTERM, or when the process that started this one is gone."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._parent = os.getppid()

    def listen(self) -> None:
        """From now on."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._event.set)

    def __bool__(self) -> bool:
        return self._event.is_set() or os.getppid() != self._parent

    async def wait(self, seconds: float) -> None:
        """So long, or until the end."""
        until = clock.monotonic() + seconds
        while not self and (left := until - clock.monotonic()) > 0:
            try:
                await asyncio.wait_for(self._event.wait(), min(left, 0.5))
            except TimeoutError:
                continue


class StreamClient:
    """Opens sessions, takes seats in them, waits in the queue."""

    def __init__(self, options: argparse.Namespace, journal: Journal, ending: Ending) -> None:
        self._options = options
        self._journal = journal
        self._ending = ending
        self._rng = random.Random(f"stream {options.seed}")
        self._asks = 0
        self._asks_the_seat = self._rng.random() < 0.5  # whether it may go on; else the session
        self._queued = False  # told, for the seat that is waited for

    async def run(self) -> None:
        """Until the end."""
        while not self._ending:
            try:
                session = await keypeg.aio.open_session(
                    self._options.product,
                    root=self._options.root,
                    app_name="seatcheck",
                    locations=["site"],
                )
            except KeypegError as error:
                self._journal.write("not_open", reason=error.reason.name, sentence=error.sentence)
                await self._ending.wait(0.3)
                continue
            hearing = asyncio.create_task(self._hear(session))
            try:
                for _ in range(self._rng.randint(1, 6)):
                    if self._ending or not session.time_left:
                        break
                    if not await self._take(session):
                        break
                    await self._ending.wait(self._rng.uniform(0.0, 0.5))
            finally:
                await session.close()
                hearing.cancel()

    async def _hear(self, session: keypeg.aio.Session) -> None:
        async for event in session.events():
            match event:
                case events.Reconnected(resumed=False):
                    self._queued = False
                    self._journal.write("reopened")
                case events.SeatReleased(lease=lease):
                    self._journal.write("given_back", lease=lease.name, held=True)
                case events.SeatLost(lease=lease, error=error):
                    self._journal.write("lost", lease=lease.name, reason=error.reason.name)

    async def _take(self, session: keypeg.aio.Session) -> bool:
        """Whether the session may go on: else what it has is given back by closing it."""
        self._asks += 1
        ask = f"{self._options.name}-{self._asks}"
        wait = self._rng.random() < 0.85
        priority = self._rng.choice((0, 0, 0, 0, 5)) if wait else 0
        patience = clock.monotonic() + self._rng.uniform(0.5, 4.0) * self._options.grant
        seat = session.seat(wait=wait, priority=priority)
        self._queued = False
        self._journal.write("asked", ask=ask, wait=wait, priority=priority)
        taking = asyncio.ensure_future(_outcome(seat.acquire()))
        while not taking.done() and not self._ending and clock.monotonic() < patience:
            if seat.stage is SeatStage.QUEUED and not self._queued and seat.place:
                self._queued = True
                self._journal.write("queued", ask=ask, place=seat.place.name)
            await asyncio.wait({taking}, timeout=BEAT)
        if not taking.done():
            self._journal.write("leaving", ask=ask)
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
            return True
        refusal = taking.result()
        lease = seat.lease
        if refusal is not None or lease is None:
            reason = refusal.reason.name if refusal else ""
            self._journal.write("refused", ask=ask, reason=reason)
            return True
        at, until = clock.monotonic(), _until(session)
        if seat.held and until is not None:
            facts = {"ask": ask, "lease": lease.name, "fence": lease.fencing_number}
            self._journal.write("held", at, **facts, until=until)
            return await self._use(session, seat, lease)
        return True

    async def _use(
        self, session: keypeg.aio.Session, seat: keypeg.aio.Seat, lease: keypeg.Lease
    ) -> bool:
        over = clock.monotonic() + self._rng.expovariate(1 / (0.8 * self._options.grant))
        while not self._ending:
            at = clock.monotonic()
            if not (seat.held if self._asks_the_seat else session.may_run and seat.lease is lease):
                error = seat.error or session.error
                reason = error.reason.name if error else "GRANT_EXPIRED"
                self._journal.write("lost", lease=lease.name, reason=reason)
                return True
            until = _until(session)
            self._journal.write(
                "use", at, lease=lease.name, fence=lease.fencing_number, until=until
            )
            if at >= over:
                break
            await asyncio.sleep(BEAT)
        self._journal.write("giving_back", lease=lease.name)
        if self._rng.random() < 0.8:
            await seat.release()
            return True
        return False


class UnaryClient:
    """Takes seats for a time by plain calls, and repeats what was not answered with the same request id."""

    def __init__(self, options: argparse.Namespace, journal: Journal, ending: Ending) -> None:
        import grpc.aio

        from keypeg.v1 import seat_service_pb2_grpc

        self._options = options
        self._journal = journal
        self._ending = ending
        self._rng = random.Random(f"unary {options.seed}")
        env = os.environ
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(Path(env["KEYPEG_CA_FILE"]).read_bytes()),
            grpc.access_token_call_credentials(env["KEYPEG_TOKEN"]),
        )
        hosts = env["KEYPEG_SERVER"].split(",")
        name = hosts[0].rpartition(":")[0]
        quick = [
            ("grpc.enable_retries", 0),  # it repeats by itself, and counts
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 2_000),  # how long an attempt may take
            ("grpc.max_reconnect_backoff_ms", 500),
            ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
            ("grpc.ssl_target_name_override", name),
            ("grpc.default_authority", name),
        ]
        channel = grpc.aio.secure_channel(f"ipv4:{','.join(hosts)}", credentials, options=quick)
        self._seats = seat_service_pb2_grpc.SeatServiceStub(channel)
        self._lease: Any = None
        self._until = 0.0
        self._told_to_end = 0.0

    async def run(self) -> None:
        """Until the end."""
        while not self._ending:
            if await self._acquire():
                await self._use()
            await self._ending.wait(self._rng.uniform(0.1, 0.6))

    async def _call(self, call: Awaitable[Any]) -> Any:
        """The answer, or the error of its reason."""
        import grpc

        try:
            return await call
        except grpc.RpcError as error:
            return calls.translate(error)

    def _gives_up(self) -> bool:
        if not self._ending:
            return False
        self._told_to_end = self._told_to_end or clock.monotonic()
        return clock.monotonic() > self._told_to_end + PATIENCE

    async def _acquire(self) -> bool:
        from keypeg.v1 import seat_service_pb2, session_pb2

        ask = str(uuid.uuid4())
        request = seat_service_pb2.AcquireSeatRequest(
            request_id=ask,
            pool=self._options.pool,
            device=session_pb2.Device(id=os.environ["KEYPEG_DEVICE"], host_name="unary"),
            app=session_pb2.App(name="seatcheck", process_id=os.getpid()),
        )
        request.ttl.seconds = self._options.ttl
        waits = self._rng.random() < 0.4
        if waits:
            request.wait.FromMilliseconds(POLL)
        patience = clock.monotonic() + self._rng.uniform(0.2, 1.5) * self._options.ttl
        self._journal.write("asked", ask=ask, wait=waits, priority=0)
        twice = self._rng.random() < 0.5
        uncertain = False  # an attempt without an answer may still arrive
        place = ""
        while True:
            sent = clock.monotonic()
            answers = await asyncio.gather(
                *(
                    self._call(self._seats.AcquireSeat(request, timeout=1.5 + POLL / 1000))
                    for _ in range(2 if twice else 1)
                )
            )
            given = [one for one in answers if not isinstance(one, KeypegError)]
            leased = [one for one in given if one.HasField("lease")]
            for one in leased[1:]:
                self._repeated(ask, one)
            if leased:
                self._given(ask, sent, leased[0])
                if self._rng.random() < 0.5:  # as if the answer had been lost
                    again = await self._call(self._seats.AcquireSeat(request, timeout=1.5))
                    if not isinstance(again, KeypegError):
                        self._repeated(ask, again)
                return True
            if given:
                if given[0].place.name != place:
                    place = given[0].place.name
                    self._journal.write("queued", ask=ask, place=place)
                if self._ending or clock.monotonic() > patience:
                    return await self._leave(ask, request, place)
                continue
            passing = [one.reason in PASSING for one in answers]
            uncertain = uncertain or any(passing)
            if not any(passing) or self._gives_up():
                reason = answers[0].reason.name
                self._journal.write("refused", ask=ask, reason=reason, uncertain=uncertain)
                return False
            await asyncio.sleep(0.2)

    def _given(self, ask: str, sent: float, answer: Any) -> None:
        self._lease = answer.lease
        self._until = sent + answer.valid_for.ToTimedelta().total_seconds()
        if clock.monotonic() < self._until:
            self._journal.write("held", ask=ask, **self._facts())

    async def _leave(self, ask: str, request: Any, place: str) -> bool:
        """Leave the queue; whether it was served meanwhile."""
        from keypeg.v1 import seat_service_pb2

        self._journal.write("leaving", ask=ask)
        leaving = seat_service_pb2.LeaveQueueRequest(name=place)
        why = ""
        while not self._gives_up():
            answer = await self._call(self._seats.LeaveQueue(leaving, timeout=1.5))
            if not isinstance(answer, KeypegError) and answer.left:
                self._journal.write("left", ask=ask)
                return False
            if not isinstance(answer, KeypegError):
                request.ClearField("wait")  # the request itself knows what became of it
                sent = clock.monotonic()
                answer = await self._call(self._seats.AcquireSeat(request, timeout=1.5))
            if not isinstance(answer, KeypegError):
                self._given(ask, sent, answer)
                return True
            if answer.reason not in PASSING:
                self._journal.write("left", ask=ask, reason=answer.reason.name)
                return False
            if answer.reason.name != why:
                why = answer.reason.name
                self._journal.write("not_left", ask=ask, reason=why, sentence=answer.sentence)
            await asyncio.sleep(0.2)
        return False

    def _repeated(self, ask: str, answer: Any) -> None:
        facts = {"lease": answer.lease.name, "fence": answer.lease.fencing_number}
        self._journal.write("repeated", ask=ask, **facts)

    def _facts(self) -> dict[str, Any]:
        lease = self._lease
        return {"lease": lease.name, "fence": lease.fencing_number, "until": self._until}

    async def _use(self) -> None:
        from keypeg.v1 import seat_service_pb2

        over = clock.monotonic() + self._rng.expovariate(1 / 2.5)
        name, fence = self._lease.name, self._lease.fencing_number
        renewing: asyncio.Task[Any] | None = None
        sent = renewed = clock.monotonic()
        while not self._ending:
            at = clock.monotonic()
            if at >= self._until:
                self._journal.write("lost", lease=name, reason="GRANT_EXPIRED")
                break
            self._journal.write("use", at, **self._facts())
            if at >= over:
                break
            if renewing is None and at >= renewed + self._options.ttl / 4:
                sent = at
                renewal = seat_service_pb2.RenewSeatRequest(name=name, fencing_number=fence)
                renewing = asyncio.ensure_future(
                    self._call(self._seats.RenewSeat(renewal, timeout=1.5))
                )
            elif renewing is not None and renewing.done():
                answer, renewing, renewed = renewing.result(), None, at
                if not isinstance(answer, KeypegError):
                    until = sent + answer.valid_for.ToTimedelta().total_seconds()
                    self._until = max(self._until, until)
                elif answer.reason not in PASSING:
                    self._journal.write("lost", lease=name, reason=answer.reason.name)
                    break
            await asyncio.sleep(BEAT)
        if renewing is not None:
            renewing.cancel()
        await self._release(name, fence)

    async def _release(self, name: str, fence: int) -> None:
        from keypeg.v1 import seat_service_pb2

        self._journal.write("giving_back", lease=name)
        request = seat_service_pb2.ReleaseSeatRequest(name=name, fencing_number=fence)
        tries = 0
        while not self._gives_up():
            tries += 1
            answer = await self._call(self._seats.ReleaseSeat(request, timeout=1.5))
            if not isinstance(answer, KeypegError):
                facts = {"tries": tries, "until": self._until}
                self._journal.write("given_back", lease=name, held=answer.released, **facts)
                return
            if answer.reason not in PASSING:
                return
            await asyncio.sleep(0.2)


async def _outcome(acquiring: Awaitable[Any]) -> KeypegError | None:
    try:
        await acquiring
    except KeypegError as error:
        return error
    return None


def _until(session: keypeg.aio.Session) -> float | None:
    """Until when the session says that it may run; None when it may not."""
    now = clock.monotonic()
    left = session.time_left.total_seconds()
    return now + left if left > 0 else None


async def play(options: argparse.Namespace) -> None:
    """The whole life of the client."""
    journal, ending = Journal(options.journal), Ending()
    ending.listen()
    journal.write("started", kind=options.kind, device=os.environ["KEYPEG_DEVICE"])
    made = (StreamClient if options.kind == "stream" else UnaryClient)(options, journal, ending)
    await made.run()
    journal.write("ended")


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="A client that journals what it believes.")
    parser.add_argument("--kind", choices=["stream", "unary"], required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--product", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--pool", required=True)
    parser.add_argument("--grant", type=float, required=True)
    parser.add_argument("--ttl", type=int, default=10)
    asyncio.run(play(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A client without a session: seats for a time, by plain calls.

Promises: what was not answered is repeated with the same request id; it believes in a seat for no longer than the
answer says, from when it was asked for.

Leaves to others: when it starts and ends (client.py).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import uuid
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, Final

from keypeg import calls, clock
from keypeg.errors import KeypegError, Reason
from seatchecker.journal import BEAT, Ending, Journal

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

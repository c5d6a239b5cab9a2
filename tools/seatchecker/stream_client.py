"""A client that holds sessions: seats on their streams, as apps with the library have them.

Promises: the time of a line of use, and until when it may go on, are read before the belief is asked for, so that a
process that is stopped in between accuses nobody; that it gives a seat back is said before it begins to.

Leaves to others: when it starts and ends (client.py).
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import keypeg.aio
from keypeg import clock, events
from keypeg.errors import KeypegError
from keypeg.seat import SeatStage
from seatchecker.journal import BEAT, Ending, Journal


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
            at, until = clock.monotonic(), _until(session)
            if not (seat.held if self._asks_the_seat else session.may_run and seat.lease is lease):
                error = seat.error or session.error
                reason = error.reason.name if error else "GRANT_EXPIRED"
                self._journal.write("lost", lease=lease.name, reason=reason)
                return True
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

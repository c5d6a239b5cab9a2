"""A seat for asyncio: asked for, waited for, and given back.

Promises: `held` is true to the clock; who is cancelled while waiting, or leaves a block, gives back what was taken or
asked for.

Leaves to others: the session that it is of (aio), and the frames by which it is taken (seat_ledger, stream_driver).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from keypeg.clock import Clock
from keypeg.errors import KeypegError, LeaseExpired, SessionClosed, TimedOut
from keypeg.seat import Lease, Place, SeatRecord, SeatStage, Wish
from keypeg.session_view import View
from keypeg.stream_driver import RELEASE_TIME


class Driver(Protocol):
    """What keeps a session going: a stream, or a license document of this computer."""

    @property
    def view(self) -> View:
        """The session as it stands."""
        ...

    def acquire(self, wish: Wish, changed: Callable[[SeatRecord], None]) -> str:
        """Asks for a seat."""
        ...

    def leave(self, key: str) -> None:
        """Gives it back."""
        ...

    async def until_stopped(self) -> KeypegError | None:
        """Waits for the end."""
        ...

    async def close(self) -> None:
        """Ends it."""
        ...


class Seat:
    """A seat of a session; made by `session.seat()`, taken by `async with` or `acquire`."""

    def __init__(self, driver: Driver, clock: Clock, wish: Wish, timeout: float | None) -> None:
        self._driver = driver
        self._clock = clock
        self._wish = wish
        self._timeout = timeout
        self._key = ""
        self._record: SeatRecord | None = None
        self._step = asyncio.Event()

    @property
    def stage(self) -> SeatStage | None:
        """Where it stands; None before it is asked for."""
        return self._record.stage if self._record else None

    @property
    def held(self) -> bool:
        """Whether it is held now, and its session may run; true to the clock as `may_run` is."""
        return self.stage is SeatStage.HELD and self._refusal() is None

    @property
    def lease(self) -> Lease | None:
        """What is, or was, held."""
        return self._record.lease if self._record else None

    @property
    def fencing_number(self) -> int:
        """Grows with every lease of the pool; 0 when nothing was held yet."""
        return self.lease.fencing_number if self.lease else 0

    @property
    def place(self) -> Place | None:
        """The place in the queue, while there is one."""
        return self._record.place if self._record else None

    @property
    def error(self) -> KeypegError | None:
        """Why it is held no more, unless the app gave it back."""
        return self._record.error if self._record else None

    def require(self) -> None:
        """Raises why the seat is not held; returns when it is."""
        if self.held:
            return
        raise (
            self.error
            or (self._refusal() if self.stage is SeatStage.HELD else self._driver.view.error)
            or LeaseExpired("The seat is not held: it was not acquired, or it was given back.")
        )

    async def acquire(self) -> Self:
        """Takes it; raises why it is not given, TimedOut after `timeout`."""
        if self._key:
            self.require()
            return self
        self._key = self._driver.acquire(self._wish, self._changed)
        try:
            async with asyncio.timeout(self._timeout):
                while self.stage not in (SeatStage.HELD, SeatStage.ENDED):
                    await self._step.wait()
        except TimeoutError:
            place = self.place
            self._driver.leave(self._key)
            where = (
                f", at place {place.position} of {place.waiting_count} in the queue"
                if place
                else ""
            )
            raise TimedOut(
                f"No seat came within {self._timeout:g} s{where}; the queue was left."
            ) from None
        except asyncio.CancelledError:
            self._driver.leave(self._key)
            raise
        if not self.held:
            raise self.error or SessionClosed("The session was closed while a seat was waited for.")
        return self

    async def release(self) -> None:
        """Gives it back, and waits a bounded time until the server says so. Again: nothing."""
        if not self._key or self._is_over():
            return
        self._driver.leave(self._key)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIME):
                while not self._is_over():
                    await self._step.wait()

    async def __aenter__(self) -> Self:
        return await self.acquire()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()

    def _refusal(self) -> KeypegError | None:
        return self._driver.view.refusal(self._clock.monotonic())

    def _is_over(self) -> bool:
        return self.stage is SeatStage.ENDED

    def _changed(self, record: SeatRecord) -> None:
        self._record = record
        step, self._step = self._step, asyncio.Event()
        step.set()

"""A session on a license document of this computer: no connection, the same promises.

Promises: the document is verified again well before its last verification runs out, so that a term that
ends, or a disk that moved to another computer, stops the app. Seats are not counted here and are refused.

Leaves to others: finding the document (offline).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from keypeg import events, offline
from keypeg.clock import Clock
from keypeg.errors import KeypegError, LicenseUnsuitable
from keypeg.event_hub import EventHub
from keypeg.proof import Verified
from keypeg.seat import SeatRecord, Wish
from keypeg.session_guard import Pinned
from keypeg.session_state import Happening, State, next_state
from keypeg.session_view import View
from keypeg.timers import TimerHandle, call_at

CHECKS: Final = 2  # verifications within the time that one holds


class LocalDriver:
    """Keeps a session going on what is on this computer; what that is, its subclass knows."""

    def __init__(self, product: str, clock: Clock, hub: EventHub) -> None:
        self._clock = clock
        self._hub = hub
        self._timer: TimerHandle | None = None
        self._stopped = asyncio.Event()
        self.view = View(product=product)

    def start(self) -> None:
        """The app may run from here on, or the error says why not."""
        verified = self._verify()
        self._extend(verified, Happening.OPENED)
        self._hub.publish(self._running(verified))

    def acquire(self, wish: Wish, changed: Callable[[SeatRecord], None]) -> str:
        """Refused: a license of one computer has no seats."""
        raise LicenseUnsuitable(
            f"The license for {self.view.product} on this computer has no seats to take; it opens the "
            "product as it is.",
            rule="host_has_no_seats",
        )

    def leave(self, key: str) -> None:
        """Gives a seat back, where there are seats."""

    async def until_stopped(self) -> KeypegError | None:
        """Waits for the end."""
        await self._stopped.wait()
        return self.view.error

    async def close(self) -> None:
        """Ends it."""
        self._stop(None)

    # What a subclass says.

    def _verify(self) -> Verified:
        """What the documents allow now; the error of the check that failed."""
        raise NotImplementedError

    def _running(self, verified: Verified) -> events.Running:
        return events.Running(
            session="",
            location=self.view.location,
            may_run_for=verified.valid_for,
            features=verified.features,
            seat_required=verified.seat_required,
        )

    def _pause(self, verified: Verified) -> float:
        """Seconds until the documents are verified again."""
        pause = verified.valid_for / CHECKS
        if verified.license_expire_time is not None:  # looked at again right after its end
            left = verified.license_expire_time - self._clock.wall()
            pause = min(pause, max(left, timedelta(0)) + timedelta(seconds=1))
        return pause.total_seconds()

    # Steps.

    def _check(self) -> None:
        try:
            verified = self._verify()
        except KeypegError as error:
            self._stop(error)
        else:
            self._extend(verified, Happening.PROVEN)

    def _extend(self, verified: Verified, happening: Happening) -> None:
        now = self._clock.monotonic()
        valid_for = verified.valid_for.total_seconds()
        assert verified.license is not None
        self.view = replace(
            self.view,
            state=next_state(self.view.state, happening),
            deadline=now + valid_for,
            location=verified.license.location,
            products=verified.products,
            features=verified.features,
            license_expire_time=verified.license_expire_time,
            seat_required=verified.seat_required,
        )
        self._timer = call_at(self._clock, now + self._pause(verified), self._check)

    def _stop(self, error: KeypegError | None) -> None:
        if self.view.state is State.STOPPED:
            return
        if self._timer is not None:
            self._timer.cancel()
        self.view = replace(
            self.view,
            state=next_state(self.view.state, Happening.ENDED),
            error=error,
            deadline=None,
        )
        self._stopped.set()
        self._hub.publish(events.Stopped(error))


class OfflineDriver(LocalDriver):
    """Keeps the session of one license document going."""

    def __init__(
        self,
        found: offline.HostLicense,
        pinned: Pinned,
        read_parts: Callable[[], Mapping[str, str]],
        clock: Clock,
        hub: EventHub,
    ) -> None:
        super().__init__(pinned.product, clock, hub)
        self._found = found
        self._pinned = pinned
        self._read_parts = read_parts

    def _verify(self) -> Verified:
        pinned = replace(self._pinned, fingerprint=self._read_parts())
        return offline.verify(self._found.proof, pinned, self._clock.wall())

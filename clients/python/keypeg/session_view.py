"""What can be read off a session at one moment: a snapshot, safe to read from any thread.

Promises: frozen; whether the app may run is answered with the caller's own reading of the clock, so that a
snapshot never says yes after its time.

Leaves to others: making snapshots (session_core, offline).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from keypeg.errors import (
    GrantExpired,
    KeypegError,
    LicenseExpired,
    SeatRequired,
    SessionClosed,
    Unreachable,
)
from keypeg.session_state import State


@dataclass(frozen=True)
class View:
    """A session as it stands."""

    product: str
    state: State = State.CONNECTING
    error: KeypegError | None = None  # why it stopped, unless the app closed it
    deadline: float | None = None  # until when the app may run, monotonic; None when it may not
    name: str = ""  # `sessions/{session}`; empty for a license document of this computer
    location: str = ""
    pools: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    license_expire_time: datetime | None = None
    borrowed_until: datetime | None = None  # by a seat that was borrowed for this computer
    seat_required: bool = False
    holds_seat: bool = False
    missing: str = ""
    why_missing: KeypegError | None = field(default=None)

    def refusal(self, now: float) -> KeypegError | None:
        """Why the app may not run at this moment; None when it may."""
        if self.error is not None:
            return self.error
        if self.state is State.CONNECTING:
            return Unreachable("The session is not open yet.")
        if self.deadline is None:
            return SessionClosed("The app has closed this session; open a new one.")
        if now >= self.deadline:
            return time_over(self.product, self.why_missing, self.missing)
        if self.seat_required and not self.holds_seat:
            return SeatRequired(
                f"The product {self.product} takes a seat to run, and none is held; acquire one with "
                "session.seat()."
            )
        return None

    def time_left(self, now: float) -> timedelta:
        """For how long the app may run from now on, if nobody renews."""
        if self.deadline is None or now >= self.deadline:
            return timedelta(0)
        return timedelta(seconds=self.deadline - now)


def time_over(
    product: str,
    why_missing: KeypegError | None,
    missing: str,
    ended: datetime | None = None,
) -> KeypegError:
    """The error when the app may run no more; `ended`: the license's term, where that is why."""
    if why_missing is not None:
        return type(why_missing)(
            f"{why_missing.sentence} The time for which {product} may go on without it is over; a "
            "valid license must be present.",
            resource=missing,
        )
    if ended is not None:
        return LicenseExpired(
            f"The license for {product} ended on {ended:%Y-%m-%d %H:%M} UTC; renew it with its publisher.",
            product=product,
            expire_time=ended.isoformat(),
        )
    return GrantExpired(
        f"The time for which {product} may run without a connection to its license is over; a valid "
        "license must be present.",
        product=product,
    )

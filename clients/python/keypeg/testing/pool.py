"""The seats of a stand-in host, and what it gives: simple rules, first come, first served.

Promises: every lease has a fencing number that only grows; no I/O.

Leaves to others: the sessions that hold them (testing.sessions).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from keypeg import errors
from keypeg.v1 import seat_pb2, session_pb2

if TYPE_CHECKING:
    from keypeg.testing.sessions import StandInSession

POOL: Final = "pools/stand-in"


@dataclass
class Terms:
    """What a stand-in host gives; change it at any time."""

    kind: str = "cloud"  # cloud, site, key or host
    product: str = "stand-in"
    features: tuple[str, ...] = ()
    valid_for: timedelta = timedelta(seconds=60)
    renew_interval: timedelta = timedelta(seconds=20)
    unplug_grace: timedelta = timedelta(seconds=30)
    seat_count: int = 3  # of a site
    seat_required: bool = False
    license_expire_time: datetime | None = None
    parts: dict[str, str] = field(default_factory=dict)  # the computer of a host license


@dataclass
class Waiter:
    """A place in the queue."""

    session: StandInSession
    acquire: session_pb2.Acquire
    name: str


class StandInPool:
    """The seats; first come, first served."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._numbers = itertools.count(1)
        self.leases: dict[str, tuple[StandInSession, seat_pb2.Lease]] = {}
        self.waiters: list[Waiter] = []
        self._answers: dict[str, seat_pb2.Lease] = {}  # by request id

    def acquire(self, session: StandInSession, frame: session_pb2.Acquire) -> None:
        """Gives, queues or refuses."""
        known = self._answers.get(frame.request_id)
        if known is not None and known.name in self.leases:
            session.give(frame.sequence, frame.request_id, known)
        elif any(w.acquire.request_id == frame.request_id for w in self.waiters):
            self._tell_places()
        elif not self.waiters and self._fits(frame):
            self._give(session, frame)
        elif frame.wait:
            name = f"{POOL}/places/{next(self._numbers)}"
            self.waiters.append(Waiter(session, frame, name))
            self._tell_places()
        else:
            session.deny(
                frame.sequence, errors.PoolExhausted("Every seat is held."), frame.request_id
            )

    def release(self, name: str) -> bool:
        """Takes a lease or place away; False when there is none."""
        waiting = [w for w in self.waiters if w.name != name]
        found = len(waiting) < len(self.waiters) or self.leases.pop(name, None) is not None
        self.waiters = waiting
        self.serve()
        return found

    def release_all(self, session: StandInSession) -> None:
        """Takes everything of a session away."""
        self.leases = {n: (s, v) for n, (s, v) in self.leases.items() if s is not session}
        self.waiters = [w for w in self.waiters if w.session is not session]
        self.serve()

    def serve(self) -> None:
        """Gives what is free to those who wait."""
        served = False
        while self.waiters and self._fits(self.waiters[0].acquire):
            waiter = self.waiters.pop(0)
            self._give(waiter.session, waiter.acquire)
            served = True
        if served:
            self._tell_places()

    def of(self, session: StandInSession) -> list[seat_pb2.Lease]:
        """The leases of a session."""
        return [lease for holder, lease in self.leases.values() if holder is session]

    def places_of(self, session: StandInSession) -> list[seat_pb2.QueuePlace]:
        """The places of a session."""
        return [self._place(i) for i, w in enumerate(self.waiters) if w.session is session]

    def _fits(self, frame: session_pb2.Acquire) -> bool:
        held = sum(lease.units for _, lease in self.leases.values())
        return held + (frame.units or 1) <= self._terms.seat_count

    def _give(self, session: StandInSession, frame: session_pb2.Acquire) -> None:
        number = next(self._numbers)
        lease = seat_pb2.Lease(
            name=f"{POOL}/leases/{number}",
            session=session.name,
            units=frame.units or 1,
            features=frame.features,
            fencing_number=number,
        )
        self.leases[lease.name] = (session, lease)
        self._answers[frame.request_id] = lease
        session.give(frame.sequence, frame.request_id, lease)

    def _place(self, index: int) -> seat_pb2.QueuePlace:
        waiter = self.waiters[index]
        return seat_pb2.QueuePlace(
            name=waiter.name,
            session=waiter.session.name,
            position=index + 1,
            waiting_count=len(self.waiters),
            units=waiter.acquire.units,
        )

    def _tell_places(self) -> None:
        for index, waiter in enumerate(self.waiters):
            waiter.session.say(
                queued=session_pb2.Queued(
                    sequence=waiter.acquire.sequence,
                    request_id=waiter.acquire.request_id,
                    place=self._place(index),
                )
            )

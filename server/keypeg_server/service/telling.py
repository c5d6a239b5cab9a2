"""Telling sessions of their seats: what they got, where they stand, what is taken back.

Promises: told to the stream that a session is on then; whoever is on none finds it when it resumes.

Leaves to others: when, and what is on disk by then (the operations and their aftermath), the frames (frames.py).
"""

from __future__ import annotations

from typing import Final

from keypeg.errors import KeypegError, LeaseRecalled
from keypeg.v1 import session_pb2
from keypeg.v1.seat_pb2 import QueuePlace
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.domain import explain
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service import frames
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import Clock
from keypeg_server.service.presence import Presence, Session, Waiting


class Telling:
    """`Audience`, for sessions."""

    def __init__(self, engine: Engine, presence: Presence, clock: Clock) -> None:
        self._engine: Final = engine
        self._clock: Final = clock
        self._presence: Final = presence

    def ends_at(self, session: str) -> float | None:
        """When a session's time runs out unless it renews."""
        found = self._presence.get(session)
        return None if found is None else found.deadline

    def seen_at(self, session: str) -> float | None:
        """When a session was last granted time; None for one that has not come back since the start."""
        found = self._presence.get(session)
        if found is None or found.caller is None:
            return None
        return min(self._clock.monotonic(), found.deadline - found.extent)

    def served(self, pool: Pool, lease: Lease) -> None:
        """A session that waited holds a seat now."""
        session = self._presence.get(lease.holder.session)
        if session is not None:
            waiting = session.waiting.get(lease.id) if session.waiting else None
            sequence, request_id = (waiting.sequence, waiting.request_id) if waiting else (0, "")
            tell_acquired(session, session.link, pool, lease, sequence, request_id)

    def recalled(self, pool: Pool, lease: Lease, error: LeaseRecalled) -> None:
        """A session has to stop using a seat, now."""
        session = self._presence.get(lease.holder.session)
        if session is not None and session.link is not None:
            session.link.outbox.push(frames.recalled(pool.lease_prefix + lease.id, error))

    def refused(self, pool: Pool, place: Place, error: KeypegError) -> None:
        """A session that waited does so no more."""
        session = self._presence.get(place.holder.session)
        waiting = session.waiting.pop(place.id, None) if session and session.waiting else None
        if session is not None and session.link is not None and waiting is not None:
            session.link.outbox.push(frames.denied(waiting.sequence, waiting.request_id, error))

    def moved(self, pool: Pool, place: Place, position: int, *, again: bool) -> None:
        """Where a session stands in a queue that has moved."""
        session = self._presence.get(place.holder.session)
        if session is not None and session.waiting is not None:
            waiting = session.waiting.get(place.id)
            if waiting is not None and (again or waiting.position != position):
                waiting.position = position
                tell_queued(session, pool, place, self._engine)


def tell_acquired(
    session: Session,
    asked_on: object,
    pool: Pool,
    lease: Lease,
    sequence: int,
    request_id: str,
) -> None:
    """Say that seats are held, on whichever stream the session is on."""
    link, authenticator = session.link, session.authenticator
    if session.waiting is not None:
        session.waiting.pop(lease.id, None)
    if link is None or authenticator is None:
        return  # it finds the lease when it resumes
    if link is not asked_on:
        sequence = 0
    answer = HoldSessionResponse()
    acquired = answer.acquired
    acquired.sequence = sequence
    acquired.request_id = request_id
    frames.show_lease(acquired.lease, pool.lease_prefix + lease.id, session.name, lease)
    acquired.mac = authenticator.acquired(sequence, request_id, acquired.lease)
    link.outbox.push(answer)


def tell_queued(session: Session, pool: Pool, place: Place, engine: Engine) -> None:
    """Say where a session stands."""
    link = session.link
    waiting = session.waiting.get(place.id) if session.waiting else None
    if link is None or waiting is None or session.caller is None:
        return
    why = explain.why_not(pool, place, engine.sight(session.caller), position=waiting.position)
    estimate = explain.estimated_wait(pool, place, waiting.position)
    shown = frames.queue_place(place, waiting.position, pool.waiting, session.name, why, estimate)
    link.outbox.push(
        HoldSessionResponse(
            queued=session_pb2.Queued(
                sequence=waiting.sequence, request_id=waiting.request_id, place=shown
            )
        )
    )


def show_again(session: Session, place: Place, engine: Engine) -> QueuePlace:
    """A place that a session has from an earlier stream, to be told of on this one."""
    pool = engine.by_id(place.pool)
    still_there = pool is not None and pool.place(place.id) is not None
    position = pool.position(place) if pool is not None and still_there else 1
    if session.waiting is None:
        session.waiting = {}
    waiting = session.waiting.setdefault(place.id, Waiting(0, place.request_id, position))
    waiting.sequence, waiting.position = 0, position
    if pool is None or not still_there or session.caller is None:
        return frames.queue_place(place, position, 1, session.name)
    why = explain.why_not(pool, place, engine.sight(session.caller), position=position)
    estimate = explain.estimated_wait(pool, place, position)
    return frames.queue_place(place, position, pool.waiting, session.name, why, estimate)

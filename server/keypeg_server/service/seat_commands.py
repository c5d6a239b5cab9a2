"""The commands of a stream that ask for seats and give them back.

Promises: what can not even be asked is denied at once; everything else is answered when it is on disk, on the
stream that the session is on then.

Leaves to others: the order of frames (conversation.py), the decision (pools.py), other answers (telling.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keypeg.errors import KeypegError, LimitExceeded, NotFound
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.service import frames
from keypeg_server.service.commits import RequestKey
from keypeg_server.service.pools import Engine
from keypeg_server.service.presence import Session, Waiting
from keypeg_server.service.refusals import no_pool
from keypeg_server.service.telling import tell_acquired, tell_queued

if TYPE_CHECKING:
    from keypeg_server.service.conversation import Conversation


def acquire(
    engine: Engine,
    conversation: Conversation,
    session: Session,
    acquire: session_pb2.Acquire,
    limit: int,
) -> HoldSessionResponse | None:
    """Ask for a seat, or a place; a session has at most `limit` of both. What denies it at once, if anything."""
    sequence = acquire.sequence
    try:
        pool = _pool(engine, session, acquire.pool)
        if engine.holdings.count(session.id) >= limit:
            raise LimitExceeded(
                f"This session has {limit} leases and places already; release some.",
                limit="session.holdings",
                value=str(limit),
                rule="session_holdings",
                pool=pool.name,
            )
    except KeypegError as error:
        return frames.denied(sequence, acquire.request_id, error)
    request_id = acquire.request_id.lower()
    units, features = acquire.units or 1, frames.wanted(acquire.features)
    wait, priority = acquire.wait, acquire.priority
    caller = session.caller
    assert caller is not None

    def done(outcome: Lease | Place | KeypegError) -> None:
        if type(outcome) is Lease:
            tell_acquired(session, conversation, pool, outcome, sequence, request_id)
        elif isinstance(outcome, KeypegError):
            conversation.outbox.push(frames.denied(sequence, request_id, outcome))
        elif isinstance(outcome, Place) and pool.place(outcome.id) is not None:
            # else it was served or left meanwhile, and the answer to that comes next
            if session.waiting is None:
                session.waiting = {}
            position = pool.position(outcome)
            session.waiting[outcome.id] = Waiting(sequence, request_id, position)
            tell_queued(session, pool, outcome, engine)

    engine.acquire(
        pool,
        session.holder,
        caller,
        units,
        features,
        wait=wait,
        priority=priority,
        valid_for_us=session.valid_for_us,
        request=RequestKey(
            session.name,
            request_id,
            frames.acquire_digest(pool.id, units, features, wait, priority),
        ),
        done=done,
    )
    return None


def release(
    engine: Engine, conversation: Conversation, session: Session, release: session_pb2.Release
) -> HoldSessionResponse | None:
    """Give back a lease, or a place. What denies it at once, if anything."""
    sequence, name = release.sequence, release.name
    try:
        pool_id, id = frames.parse_holding(name)
        pool = engine.by_id(pool_id)
        if pool is None or pool.account != session.admitted.account:
            raise _not_yours(name)
        found = pool.lease(id) or pool.place(id)
        if found is not None and found.holder.session != session.id:
            raise _not_yours(name)
    except KeypegError as error:
        return frames.denied(sequence, "", error)

    def done(released: Lease | Place | KeypegError | None) -> None:
        if isinstance(released, KeypegError):
            conversation.outbox.push(frames.denied(sequence, "", released))
            return
        if session.waiting is not None:
            session.waiting.pop(id, None)
        # A place that was served meanwhile is a lease now; that is what was released.
        ended = pool.lease_prefix + id if type(released) is Lease else name
        answer = HoldSessionResponse()
        answer.released.sequence = sequence
        answer.released.name = ended
        conversation.outbox.push(answer)

    engine.release(pool, id, done)
    return None


def _pool(engine: Engine, session: Session, name: str) -> Pool:
    allowed = session.admitted.pools
    if not name:
        if not allowed:
            raise NotFound(
                f"The license of {session.name} has no pool of seats; it needs none to run.",
                resource=session.name,
            )
        name = allowed[0]
    pool = engine.pool(name) if name in allowed else None
    if pool is None:
        raise no_pool(name)
    return pool


def _not_yours(name: str) -> NotFound:
    return NotFound(f"This session holds no {name}; see what it holds.", resource=name)

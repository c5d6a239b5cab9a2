"""Seats that are taken back from holders who may still believe in them.

Promises: the holder is told at once, and gets no more time for what is recalled; the seat is free only when
its holder has given it back, or when the time that it had been given before is over: whoever is given more
time for its session afterwards has been told before, on the same stream.

Leaves to others: who is recalled and why (domain/pool_effects.py, domain/freed.py), telling (the Audience).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from keypeg.errors import KeypegError, LeaseRecalled
from keypeg.v1 import error_pb2, explanation_pb2
from keypeg_server.domain.explain import CHANGE_RULES
from keypeg_server.domain.lease import Lease
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_rules import Deny
from keypeg_server.service.deadlines import RETRY_PAUSE, Deadlines
from keypeg_server.service.ports import Clock

Release = Callable[[Pool, str, Callable[[KeypegError | None], None]], None]


class Recall:
    """A seat on its way back."""

    __slots__ = ("error", "id", "pool")

    def __init__(self, pool: Pool, id: str, error: LeaseRecalled) -> None:
        self.pool = pool
        self.id = id
        self.error = error


class Recalls:
    """All seats that are recalled and not free yet."""

    def __init__(self, clock: Clock, release: Release) -> None:
        self._clock = clock
        self._release = release
        self._recalls: dict[str, Recall] = {}  # by lease
        self._deadlines: Deadlines[Recall] = Deadlines(clock, self._due)

    def __bool__(self) -> bool:
        return bool(self._recalls)

    def get(self, id: str) -> LeaseRecalled | None:
        """Why a lease is recalled; None when it is not."""
        recall = self._recalls.get(id)
        return None if recall is None else recall.error

    def of_session(self, session: str) -> list[tuple[Pool, str, LeaseRecalled]]:
        """What a session has to give back, and why."""
        found: list[tuple[Pool, str, LeaseRecalled]] = []
        for one in self._recalls.values():
            lease = one.pool.lease(one.id)
            if lease is not None and lease.holder.session == session:
                found.append((one.pool, one.id, one.error))
        return found

    def add(
        self, pool: Pool, lease: Lease, error: LeaseRecalled, deadline: float
    ) -> LeaseRecalled | None:
        """A lease is recalled, and free at `deadline` at the latest; None when it was before."""
        if lease.id in self._recalls:
            return None
        recall = Recall(pool, lease.id, error)
        self._recalls[lease.id] = recall
        self._deadlines.watch(recall, deadline)
        return recall.error

    def ended(self, id: str) -> None:
        """A lease has ended."""
        if self._recalls:
            self._recalls.pop(id, None)

    def drop(self, pools: Iterable[Pool]) -> None:
        """These pools are here no more: take nothing back from them."""
        gone = set(pools)
        for id in [id for id, recall in self._recalls.items() if recall.pool in gone]:
            del self._recalls[id]

    def tick(self) -> None:
        """Look at deadlines now; the timer does so by itself."""
        self._deadlines.tick()

    def stop(self) -> None:
        """End nothing any more."""
        self._deadlines.stop()

    def _due(self, recall: Recall, now: float) -> float | None:
        if self._recalls.get(recall.id) is not recall:
            return None

        def done(error: KeypegError | None) -> None:
            if error is None:
                self._recalls.pop(recall.id, None)
            else:
                self._deadlines.watch(recall, self._clock.monotonic() + RETRY_PAUSE)

        self._release(recall.pool, recall.id, done)
        return None


def denied(pool: Pool, lease: Lease, deny: Deny) -> LeaseRecalled:
    """What a holder hears whom the rules deny the pool from now on."""
    sentence = (
        f"An administrator took back {pool.lease_prefix}{lease.id}: the rules of {pool.name} deny it to"
        f" {deny.who}. Ask an administrator of the account to allow it."
    )
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_LEASE_RECALLED,
        sentence=sentence,
        metadata={"pool": pool.name, "rule": "deny", "who": str(deny.who)},
    )
    explanation.remedies.add(
        action=CHANGE_RULES,
        resource=pool.name,
        sentence="Ask an administrator of the account to change who may use it.",
    )
    error = LeaseRecalled(sentence, explanation=explanation)
    error.metadata.update(explanation.metadata)
    return error

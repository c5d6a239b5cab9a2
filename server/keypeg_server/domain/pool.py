"""The rules of a pool of seats: requests in, decisions out.

Promises: never more units or feature units held than the pool has; all that a request names or nothing;
first come, first served within a priority; fencing numbers only grow. With rules (pool_rules.py): what they
say. A decision lists its changes, and can be undone (pool_state.py).

Leaves to others: who is served next (pool_serving.py; pool_ruled.py where there are rules), when a holder is gone
(deadlines), the disk, telling anyone. No clock: the time comes in, in microseconds since 1970, for the records
only.
"""

from __future__ import annotations

from keypeg_server.domain import pool_ruled, pool_serving
from keypeg_server.domain.decision import (
    Ask,
    Change,
    Decision,
    DropLease,
    DropLinger,
    DropPlace,
    Obstacle,
    PutFreed,
    PutLease,
    PutRules,
)
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Place
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.domain.pool_state import PoolState
from keypeg_server.domain.pool_view import QUEUE_LIMIT

__all__ = ["QUEUE_LIMIT", "Pool"]


class Pool(PoolState):
    """The seats of one activation and product."""

    __slots__ = ()

    def acquire(self, ask: Ask, now_us: int) -> Decision:
        """Seats now, or a place when it may wait; else the refusal that says which rule."""
        pool_serving.check(self, ask.units, ask.features)
        if self.freed:
            pool_serving.check_hold_off(self, ask.holder.user, now_us)
        if self.book is not None:
            return pool_ruled.acquire(self, self.book, ask, now_us)
        return pool_serving.acquire(self, ask, now_us)

    def release(self, id: str, now_us: int, *, linger: bool = False) -> Decision:
        """The end of a lease or of a queue place; what becomes free is given to those who wait.

        With `linger` it was given back in order: it may stay with its user, if the rules say so.
        """
        lease = self._leases.get(id)
        if lease is not None:
            freed = self.drop_lease(lease)
            decision = Decision(lease, [DropLease(lease)], [], False)
            self.usual.over(lease, now_us)
            if linger and self.rules.linger_us and self.freed_of(id) is None:
                pool_ruled.linger(self, decision, lease, freed)
        else:
            place = self._places.get(id)
            if place is None:
                return Decision(None, [], [], False)
            self.drop_place(place)
            decision = Decision(place, [DropPlace(place)], [], bool(self.line))
        if self.line:
            self.serve(decision, now_us)
        return decision

    def gone(self, session: str, now_us: int, *, linger: bool = False) -> Decision:
        """The end of all that a session holds and waits for; `linger` as for `release`."""
        leases, places = self.of_session(session)
        changes: list[Change] = []
        for place in places:
            self.drop_place(place)
            changes.append(DropPlace(place))
        decision = Decision(None, changes, [], bool(places and self.line))
        for lease in leases:
            freed = self.drop_lease(lease)
            changes.append(DropLease(lease))
            self.usual.over(lease, now_us)
            if linger and self.rules.linger_us and self.freed_of(lease.id) is None:
                pool_ruled.linger(self, decision, lease, freed)
        if changes and self.line:
            self.serve(decision, now_us)
        return decision

    def free(self, freed: Freed, now_us: int) -> Decision:
        """A lease is to be given back, as an administrator says; it stays until its holder did, or is gone.

        When its user has to stay away for a time, it waits here no more either.
        """
        lease = self._leases[freed.lease]
        kept = tuple(
            one for one in self.freed if one.lease in self._leases or one.until_us > now_us
        )
        decision = Decision(lease, [PutFreed(self.id, (*kept, freed), self.freed)], [], False)
        self.freed = (*kept, freed)
        if freed.holds_off:
            for place in [one for one in self.line if one.holder.user == freed.user]:
                self.drop_place(place)
                decision.changes.append(DropPlace(place))
                decision.queue_moved = bool(self.line)
            if self.line:
                self.serve(decision, now_us)
        return decision

    def lingered(self, id: str, now_us: int) -> Decision:
        """The end of a seat's lingering; nothing when it was taken again meanwhile."""
        lease = self.lingers.get(id)
        decision = Decision(lease, [], [], False)
        if lease is not None:
            self.drop_linger(lease)
            decision.changes.append(DropLinger(lease))
            if self.line:
                self.serve(decision, now_us)
        return decision

    def set_rules(self, rules: PoolRules, now_us: int) -> Decision:
        """Other rules. Who holds keeps what it holds; who waits may be served now."""
        decision = Decision(None, [], [], bool(self.line))
        if not rules.linger_us:
            for lease in list(self.lingers.values()):
                self.drop_linger(lease)
                decision.changes.append(DropLinger(lease))
        decision.changes.append(PutRules(self.id, rules, self.rules))
        self.install(rules)
        if self.line:
            self.serve(decision, now_us)
        return decision

    def tried(self, ask: Ask, now_us: int) -> tuple[Decision, int]:
        """What `acquire` would decide, and the position of a place; nothing has changed afterwards."""
        fence, arrivals, latest = self.fencing_number, self.arrivals, self.latest_us
        decision = self.acquire(ask, now_us)
        outcome = decision.outcome
        position = self.position(outcome) if isinstance(outcome, Place) else 0
        self.undo(decision.changes)
        self.fencing_number, self.arrivals, self.latest_us = fence, arrivals, latest
        return decision, position

    def extend(self, id: str, valid_for_us: int) -> Decision:
        """A lease whose holder may believe in it for longer."""
        before = self._leases[id]
        lease = before._replace(valid_for_us=max(before.valid_for_us, valid_for_us))
        self.replace_lease(lease)
        return Decision(lease, [PutLease(lease, before)], [], False)

    def obstacle(self, ask: Ask | Place) -> Obstacle | None:
        """What keeps a request, or a place of the queue, from being served now."""
        if self.book is not None:
            return pool_ruled.obstacle(self, self.book, ask)
        return pool_serving.obstacle(self, ask)

    def serve(self, decision: Decision, now_us: int) -> None:
        """Give what is free to those who wait."""
        if self.book is not None:
            pool_ruled.serve(self, self.book, decision, now_us)
        else:
            pool_serving.serve(self, decision, now_us)

"""The ways in which a pool of seats comes to another state, and back.

Promises: every change has its opposite, and undoing the changes of all decisions since some moment, the newest
first, brings that moment's state back (but for the fencing number, which never goes back). What is counted
agrees with what is there after each of them.

Leaves to others: whether a change may be made (pool.py, pool_serving.py, pool_ruled.py), what rules count
(pool_book.py).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

from keypeg_server.domain.borrow import Borrow, State
from keypeg_server.domain.decision import (
    Change,
    DropBorrow,
    DropLease,
    DropLinger,
    DropPlace,
    PutBorrow,
    PutCapacity,
    PutFreed,
    PutLease,
    PutLinger,
    PutPlace,
    PutRules,
)
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool_book import Book
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.domain.pool_seat import Delta
from keypeg_server.domain.pool_standing import Register
from keypeg_server.domain.pool_view import PoolView, ranking


class PoolState(PoolView):
    """A pool that can be changed; each change keeps what is counted right, and asks nobody."""

    __slots__ = ()

    def restore(
        self, leases: Iterable[Lease], places: Iterable[Place], borrows: Iterable[Borrow] = ()
    ) -> None:
        """Take what was on disk, into an empty pool; nothing is checked and nobody is served.

        The leases of borrows are made from them.
        """
        borrows = list(borrows)
        for borrow in borrows:
            self.put_borrow(borrow)
        for lease in (*leases, *(borrow.lease() for borrow in borrows if borrow.is_out)):
            if lease.subject and self.book is None:  # of rules that are gone
                self.install(self.rules, shared=True)
            self.put_lease(lease)
            self.fencing_number = max(self.fencing_number, lease.fencing_number)
        for place in places:
            self.put_place(place)
            self.arrivals = max(self.arrivals, place.arrival)
            self.latest_us = max(self.latest_us, place.clock_us)

    def undo(self, changes: Iterable[Change]) -> None:
        """Take back the changes of one decision; those of all later ones are taken back already."""
        for change in reversed(list(changes)):
            match change:
                case PutLease(lease, None):
                    self.drop_lease(lease)
                case PutLease(_, before) if before is not None:
                    self.replace_lease(before)
                case DropLease(lease):
                    self.put_lease(lease)
                case PutPlace(place):
                    self.drop_place(place)
                case DropPlace(place):
                    self.put_place(place)
                case PutLinger(lease):
                    self.drop_linger(lease)
                case DropLinger(lease):
                    self.put_linger(lease)
                case PutRules(_, _, old_rules):
                    self.install(old_rules)
                case PutFreed(_, _, old_freed):
                    self.freed = old_freed
                case PutCapacity(_, _, old_capacity):
                    self.set_capacity(old_capacity)
                case PutBorrow(borrow, None):
                    self.drop_borrow(borrow)
                case PutBorrow(_, old_borrow) if old_borrow is not None:
                    self.replace_borrow(old_borrow)
                case DropBorrow(borrow):
                    self.put_borrow(borrow)

    def set_capacity(self, capacity: int) -> None:
        """So many seats, and counted by it."""
        self.capacity = capacity
        self.install(self.rules)

    def install(self, rules: PoolRules, *, shared: bool = False) -> None:
        """Count by other rules; `shared` when there are leases that share seats, of rules before."""
        self.rules = rules
        self.register = Register(rules)
        self.rank = ranking(rules)
        queue = sorted(self.line, key=self.rank)
        self.line = queue
        self.held = 0
        self.features_held = dict.fromkeys(self.feature_capacity, 0)
        shared = shared or any(lease.subject for lease in self._leases.values())
        self.book = book = None
        if shared or rules.count or self.lingers:
            self.book = book = Book(self.register, self.capacity)
        for lease in (*self._leases.values(), *self.lingers.values()):
            self.add(Delta(lease.units, lease.features) if book is None else book.put(lease))
        if book is not None:
            for lease in self.lingers.values():
                book.linger(lease)
            for place in queue:
                book.enqueue(place, self.rank)

    def put_lease(self, lease: Lease) -> None:
        self._leases[lease.id] = lease
        if self.book is None:
            self.held += lease.units
            for feature, count in lease.features:
                self.features_held[feature] += count
        else:
            self.add(self.book.put(lease))
        self._enter(lease.holder.session, lease.id)

    def drop_lease(self, lease: Lease) -> Delta | None:
        """What was freed, where rules count."""
        del self._leases[lease.id]
        self._exit(lease.holder.session, lease.id)
        if self.book is None:
            self.held -= lease.units
            for feature, count in lease.features:
                self.features_held[feature] -= count
            return None
        freed = self.book.drop(lease)
        self.add(freed)
        return freed

    def replace_lease(self, lease: Lease) -> None:
        self._leases[lease.id] = lease
        if self.book is not None:
            self.book.renewed(lease)

    def put_borrow(self, borrow: Borrow) -> None:
        """A borrow is known; its lease is put by itself."""
        self.borrows[borrow.id] = borrow
        self._count_borrow(borrow, 1)

    def replace_borrow(self, borrow: Borrow) -> None:
        """A borrow has another end, or something became of it."""
        self._count_borrow(self.borrows[borrow.id], -1)
        self.borrows[borrow.id] = borrow
        self._count_borrow(borrow, 1)

    def drop_borrow(self, borrow: Borrow) -> None:
        """A borrow is not known any more."""
        self._count_borrow(self.borrows.pop(borrow.id), -1)

    def _count_borrow(self, borrow: Borrow, sign: int) -> None:
        if borrow.state is State.OUT:
            self.borrowed += sign * borrow.units
        elif borrow.state is State.WRITTEN_OFF:
            self.exposed += sign * borrow.units

    def put_linger(self, lease: Lease) -> None:
        assert self.book is not None
        self.lingers[lease.id] = lease
        self.book.linger(lease)
        self.add(self.book.put(lease))

    def drop_linger(self, lease: Lease) -> None:
        assert self.book is not None
        del self.lingers[lease.id]
        self.book.linger_no_more(lease)
        self.add(self.book.drop(lease))

    def add(self, delta: Delta) -> None:
        self.held += delta.units
        for feature, count in delta.features:
            self.features_held[feature] += count

    def put_place(self, place: Place) -> None:
        self._places[place.id] = place
        insort(self.line, place, key=self.rank)
        if self.book is not None:
            self.book.enqueue(place, self.rank)
        user = place.holder.user
        self.places_of_user[user] = self.places_of_user.get(user, 0) + 1
        self._enter(place.holder.session, place.id)

    def drop_place(self, place: Place) -> None:
        del self._places[place.id]
        del self.line[bisect_left(self.line, self.rank(place), key=self.rank)]
        if self.book is not None:
            self.book.dequeue(place, self.rank)
        user = place.holder.user
        left = self.places_of_user[user] - 1
        if left:
            self.places_of_user[user] = left
        else:
            del self.places_of_user[user]
        self._exit(place.holder.session, place.id)

    def _enter(self, session: str, id: str) -> None:
        if session:
            ids = self._of_session.get(session)
            if ids is None:
                self._of_session[session] = {id}
            else:
                ids.add(id)

    def _exit(self, session: str, id: str) -> None:
        if session:
            ids = self._of_session[session]
            ids.remove(id)
            if not ids:
                del self._of_session[session]

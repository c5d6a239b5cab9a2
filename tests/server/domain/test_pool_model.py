"""The pool against a naive model, by whatever requests hypothesis thinks of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from keypeg.errors import (
    FeatureUnknown,
    LeaseExpired,
    PoolExhausted,
    PoolRule,
    PoolTooSmall,
    QueueFull,
)
from keypeg_server.domain import pool_borrowing
from keypeg_server.domain.borrow import State, Terms
from keypeg_server.domain.decision import Ask, Change, Decision, PutLease
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_rules import Borrowing, PoolRules

CAPACITY = 4
FEATURES = {"mesh": 2, "solver": 3}
QUEUE_LIMIT = 5
SESSIONS = [f"s{n}" for n in range(4)]
FLOOR = 1  # units that are never lent
BUDGET = 2  # units that may be written off
RULES = PoolRules(borrowing=Borrowing(longest_us=1_000, floor=FLOOR), write_off=BUDGET)


@dataclass(frozen=True)
class Wish:
    """What the model keeps of a request."""

    id: str
    session: str
    units: int
    features: tuple[tuple[str, int], ...]
    priority: int


class Model:
    """Seats as two plain lists, in the order of arrival; slow and plain to see."""

    def __init__(self) -> None:
        self.held: list[Wish] = []
        self.queue: list[Wish] = []
        self.lent: dict[str, tuple[Wish, State]] = {}

    def copy(self) -> Model:
        other = Model()
        other.held, other.queue = list(self.held), list(self.queue)
        other.lent = dict(self.lent)
        return other

    def fits(self, wish: Wish) -> bool:
        held = [*self.held, wish]
        return sum(one.units for one in held) <= CAPACITY and all(
            sum(dict(one.features).get(feature, 0) for one in held) <= seats
            for feature, seats in FEATURES.items()
        )

    def line(self) -> list[Wish]:
        return sorted(
            self.queue, key=lambda wish: -wish.priority
        )  # stable: arrival within priority

    def acquire(self, wish: Wish, wait: bool) -> str:
        ahead = [one for one in self.queue if one.priority >= wish.priority]
        if not ahead and self.fits(wish):
            self.held.append(wish)
            return "granted"
        if not wait:
            return "exhausted"
        if len(self.queue) >= QUEUE_LIMIT:
            return "full"
        self.queue.append(wish)
        return "waiting"

    def drop(self, gone: set[str]) -> list[str]:
        self.held = [wish for wish in self.held if wish.id not in gone]
        self.queue = [wish for wish in self.queue if wish.id not in gone]
        served = []
        while self.queue and self.fits(self.line()[0]):
            head = self.line()[0]
            self.queue.remove(head)
            self.held.append(head)
            served.append(head.id)
        return served

    def ids(self) -> list[str]:
        """Who can give back as others do: not what is lent."""
        here = (*self.held, *self.queue)
        return [wish.id for wish in here if wish.id not in self.out()]

    def out(self) -> set[str]:
        return {id for id, (_, state) in self.lent.items() if state is State.OUT}

    def units(self, state: State) -> int:
        return sum(wish.units for wish, found in self.lent.values() if found is state)


class PoolMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool(
            "p",
            account="accounts/a",
            product="publishers/x/products/y",
            activation="accounts/a/licenses/l/activations/n",
            capacity=CAPACITY,
            feature_capacity=FEATURES,
            queue_limit=QUEUE_LIMIT,
            rules=RULES,
        )
        self.model = Model()
        self.undecided: list[tuple[list[Change], Model]] = []
        self.numbers = 0
        self.fenced = 0

    def decided(self, changes: list[Change], before: Model) -> None:
        for change in changes:
            if isinstance(change, PutLease) and change.before is None:
                assert change.lease.fencing_number > self.fenced
                self.fenced = change.lease.fencing_number
        self.undecided.append((changes, before))

    @rule(
        session=st.sampled_from(SESSIONS),
        units=st.integers(1, CAPACITY + 1),
        features=st.dictionaries(st.sampled_from(["mesh", "solver", "ghost"]), st.integers(1, 3)),
        wait=st.booleans(),
        priority=st.integers(-1, 1),
    )
    def acquire(self, session, units, features, wait, priority) -> None:
        self.numbers += 1
        wish = Wish(f"id{self.numbers}", session, units, tuple(sorted(features.items())), priority)
        holder = Holder(session, "accounts/a/users/u", "dev", "host", "app", 0)
        request = Ask(wish.id, holder, units, wish.features, wait, priority, 1)
        if units > CAPACITY or any(n > FEATURES.get(f, 99) for f, n in features.items()):
            with pytest.raises((PoolTooSmall, FeatureUnknown)):
                self.pool.acquire(request, 0)
            return
        if "ghost" in features:
            with pytest.raises(FeatureUnknown):
                self.pool.acquire(request, 0)
            return
        before = self.model.copy()
        expected = self.model.acquire(wish, wait)
        if expected in ("exhausted", "full"):
            with pytest.raises(PoolExhausted if expected == "exhausted" else QueueFull):
                self.pool.acquire(request, 0)
            return
        decision = self.pool.acquire(request, 0)
        outcome = decision.outcome
        assert isinstance(outcome, (Lease, Place))
        assert isinstance(outcome, Lease) == (expected == "granted")
        assert outcome.id == wish.id
        self.decided(decision.changes, before)

    @precondition(lambda self: self.model.ids())
    @rule(data=st.data())
    def release(self, data) -> None:
        id = data.draw(st.sampled_from(self.model.ids()))
        before = self.model.copy()
        served = self.model.drop({id})
        decision = self.pool.release(id, 0)
        assert [lease.id for lease in decision.served] == served
        self.decided(decision.changes, before)

    @rule(session=st.sampled_from(SESSIONS))
    def gone(self, session) -> None:
        before = self.model.copy()
        mine = {w.id for w in (*self.model.held, *self.model.queue) if w.session == session}
        served = self.model.drop(mine) if mine else []
        decision = self.pool.gone(session, 0)
        assert [lease.id for lease in decision.served] == served
        self.decided(decision.changes, before)

    @precondition(lambda self: {wish.id for wish in self.model.held} - self.model.out())
    @rule(data=st.data(), valid_for_us=st.integers(1, 3))
    def extend(self, data, valid_for_us) -> None:
        online = {wish.id for wish in self.model.held} - self.model.out()
        id = data.draw(st.sampled_from(sorted(online)))
        self.decided(self.pool.extend(id, valid_for_us).changes, self.model.copy())

    @rule(units=st.integers(1, CAPACITY))
    def lend(self, units) -> None:
        self.numbers += 1
        wish = Wish(f"id{self.numbers}", "", units, (), 0)
        ask = Ask(
            wish.id,
            Holder("", "accounts/a/users/u", "dev", "host", "app", 0),
            units,
            (),
            False,
            0,
            1,
        )
        terms = Terms(1_000, 10**9, wish.id.encode())

        def run() -> Decision:
            return pool_borrowing.lend(
                self.pool, ask, terms, 0, lambda borrow: borrow.name.encode()
            )

        if self.model.units(State.OUT) + units > CAPACITY - FLOOR:
            with pytest.raises(PoolRule):
                run()
            return
        before = self.model.copy()
        if self.model.acquire(wish, wait=False) != "granted":
            with pytest.raises(PoolExhausted):
                run()
            return
        self.model.lent[wish.id] = wish, State.OUT
        self.decided(run().changes, before)

    @precondition(lambda self: self.model.lent)
    @rule(data=st.data(), event=st.sampled_from(["return", "write off", "end"]))
    def lent_seat_leaves(self, data, event) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.lent)))
        wish, state = self.model.lent[id]
        before = self.model.copy()
        if event == "write off":
            exposed = self.model.units(State.WRITTEN_OFF)
            if state is State.RETURNED or (state is State.OUT and exposed + wish.units > BUDGET):
                with pytest.raises((LeaseExpired, PoolRule)):
                    pool_borrowing.write_off(self.pool, id, "boss", "lost", 0)
                return
            decision = pool_borrowing.write_off(self.pool, id, "boss", "lost", 0)
            self.model.lent[id] = wish, State.WRITTEN_OFF
        elif event == "return":
            decision = pool_borrowing.give_back(self.pool, id, "mia", 0)
            self.model.lent[id] = wish, State.RETURNED
        else:
            decision = pool_borrowing.end(self.pool, id, 0)
            del self.model.lent[id]
        served = self.model.drop({id}) if state is State.OUT else []
        assert [lease.id for lease in decision.served] == served
        self.decided(decision.changes, before)

    @rule()
    def commit(self) -> None:
        self.undecided.clear()

    @precondition(lambda self: self.undecided)
    @rule()
    def disk_fails(self) -> None:
        for changes, before in reversed(self.undecided):
            self.pool.undo(changes)
            self.model = before
        self.undecided.clear()

    @rule()
    def restart_after_a_commit(self) -> None:
        self.undecided.clear()
        old, self.pool = (
            self.pool,
            Pool(
                "p",
                account=self.pool.account,
                product=self.pool.product,
                activation=self.pool.activation,
                capacity=CAPACITY,
                feature_capacity=FEATURES,
                fencing_number=self.pool.fencing_number,
                queue_limit=QUEUE_LIMIT,
                rules=RULES,
            ),
        )
        online = [lease for lease in old.leases() if not lease.borrowed_until_us]
        self.pool.restore(online, old.queue(), old.borrows.values())

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert sorted(lease.id for lease in self.pool.leases()) == sorted(
            wish.id for wish in self.model.held
        )
        assert [place.id for place in self.pool.queue()] == [w.id for w in self.model.line()]
        assert self.pool.places_of_user == Counter(one.holder.user for one in self.pool.queue())
        assert self.pool.held == sum(wish.units for wish in self.model.held) <= CAPACITY
        for feature, seats in FEATURES.items():
            held = sum(dict(wish.features).get(feature, 0) for wish in self.model.held)
            assert self.pool.feature_held(feature) == held <= seats
        assert {id: one.state for id, one in self.pool.borrows.items()} == {
            id: state for id, (_, state) in self.model.lent.items()
        }
        assert self.pool.borrowed == self.model.units(State.OUT) <= CAPACITY - FLOOR
        assert self.pool.exposed == self.model.units(State.WRITTEN_OFF) <= BUDGET
        for session in SESSIONS:
            leases, places = self.pool.of_session(session)
            own = {lease.id for lease in leases} | {place.id for place in places}
            assert own == {
                w.id for w in (*self.model.held, *self.model.queue) if w.session == session
            }


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

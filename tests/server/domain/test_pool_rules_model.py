"""A pool with rules against a naive model that counts everything anew, by whatever hypothesis thinks of."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from keypeg.errors import KeypegError, LeaseExpired, PoolExhausted, PoolRule, PoolTooSmall
from keypeg_server.domain import pool_borrowing
from keypeg_server.domain.borrow import Terms
from keypeg_server.domain.decision import Ask, Change
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_rules import (
    PLAIN,
    Borrowing,
    Counting,
    Deny,
    Group,
    Kind,
    Limit,
    PoolRules,
    Reservation,
    Who,
    from_json,
)
from keypeg_server.domain.pool_standing import Register

CAPACITY = 4
USERS = ["u0", "u1", "u2"]
HOSTS = ["h0", "h1"]
ADDRESSES = ["10.1.0.1", "10.2.0.1"]


def user(name: str) -> Who:
    return Who(Kind.USER, f"accounts/a/users/{name}")


CAD = Who(Kind.GROUP, "cad")
GROUPS = (Group("cad", (user("u0"), Who(Kind.HOST, "h1"))),)
NET = Who(Kind.NETWORK, "10.1.0.0/16")
WHOS = st.sampled_from([user("u0"), user("u1"), CAD, Who(Kind.HOST, "h0"), NET])
EACH = st.sampled_from([Who(Kind.USER, "*"), Who(Kind.HOST, "*"), user("u0"), CAD, NET])
HOLDERS = st.builds(
    lambda who, host, address, session: Holder(
        f"{who}-{session}", f"accounts/a/users/{who}", host, host, "app", session, address
    ),
    st.sampled_from(USERS),
    st.sampled_from(HOSTS),
    st.sampled_from(ADDRESSES),
    st.integers(1, 2),
)
RULES = st.builds(
    PoolRules,
    counting=st.sampled_from(Counting),
    reservations=st.lists(
        st.builds(Reservation, WHOS, st.integers(1, 2)), max_size=2, unique_by=lambda one: one.who
    ).map(tuple),
    limits=st.lists(
        st.builds(Limit, EACH, st.integers(0, 3)), max_size=2, unique_by=lambda one: one.who
    ).map(tuple),
    denied=st.lists(st.builds(Deny, WHOS), max_size=1).map(tuple),
    allowed=st.lists(WHOS, max_size=2, unique=True).map(tuple) | st.just(()),
    groups=st.just(GROUPS),
    linger_us=st.sampled_from([0, 0, 1_000_000]),
    overdraft=st.integers(0, 1),
    ageing_us=st.sampled_from([0, 10]),
    borrowing=st.builds(
        Borrowing,
        longest_us=st.sampled_from([0, 1_000, 1_000]),
        floor=st.integers(0, 1),
        most=st.none() | st.integers(0, 2),
        allowed=st.lists(WHOS, max_size=1).map(tuple),
    ),
    write_off=st.integers(0, 2),
) | st.just(PLAIN)


class Counts:
    """What is held, counted anew from the leases alone."""

    def __init__(self, pool: Pool) -> None:
        seats: dict[str, list[Lease]] = {}
        for lease in (*pool.leases(), *pool.lingers.values()):
            seats.setdefault(lease.subject or lease.id, []).append(lease)
        self.seats = list(seats.values())
        self.register = Register(pool.rules)

    def units(self, seat: list[Lease]) -> int:
        return max(lease.units for lease in seat)

    def held(self) -> int:
        return sum(self.units(seat) for seat in self.seats)

    def limit(self, index: int, whom: str) -> int:
        return sum(
            self.units(seat)
            for seat in self.seats
            if any((index, whom) in self.register.standing(one.holder).limits for one in seat)
        )

    def reserved(self, index: int) -> int:
        found = 0
        for seat in self.seats:
            oldest = min(seat, key=lambda one: one.fencing_number)
            if self.register.standing(oldest.holder).reservation == index:
                found += self.units(seat)
        return found


class RulesMachine(RuleBasedStateMachine):
    """No decision under rules gives what they forbid, and undoing brings back what was."""

    @initialize(rules=RULES)
    def begin(self, rules: PoolRules) -> None:
        self.pool = self.new(rules)
        self.numbers = 0
        self.clock = 0
        self.tightened = False  # rules have come that those who hold may be over
        self.undecided: list[tuple[list[Change], object]] = []

    def new(self, rules: PoolRules, fencing_number: int = 0) -> Pool:
        return Pool(
            "p",
            account="accounts/a",
            product="publishers/x/products/y",
            activation="accounts/a/licenses/l/activations/n",
            capacity=CAPACITY,
            feature_capacity={"mesh": 2},
            fencing_number=fencing_number,
            rules=rules,
        )

    def state(self) -> object:
        pool = self.pool
        return (
            pool.leases(),
            pool.queue(),
            sorted(pool.lingers),
            sorted((one.id, one.state.value) for one in pool.borrows.values()),
            pool.held,
            pool.feature_held("mesh"),
            pool.rules,
        )

    def online(self) -> list[str]:
        """Who can give back as others do: not what is lent."""
        held = [one.id for one in self.pool.leases() if not one.borrowed_until_us]
        return held + [one.id for one in self.pool.queue()]

    def allowed(self, before: Counts, lease: Lease) -> None:
        """What was just given is within all rules."""
        pool, rules = self.pool, self.pool.rules
        standing = Register(rules).standing(lease.holder)
        assert standing.denied is None
        assert standing.allowed
        after = Counts(pool)
        for index, whom in standing.limits:
            used = after.limit(index, whom)
            assert used <= max(rules.limits[index].units, before.limit(index, whom))
        if after.held() > before.held():
            assert after.held() <= CAPACITY + rules.overdraft
            kept = sum(
                max(0, one.units - after.reserved(index))
                for index, one in enumerate(rules.reservations)
                if index != standing.reservation
            )
            assert after.held() + kept <= CAPACITY + rules.overdraft, "somebody ate a reservation"
        assert lease.overdraft <= (after.held() > CAPACITY)

    @rule(
        holder=HOLDERS,
        units=st.integers(1, CAPACITY),
        mesh=st.integers(0, 2),
        wait=st.booleans(),
        priority=st.integers(-1, 1),
        step=st.integers(0, 5),
    )
    def acquire(self, holder, units, mesh, wait, priority, step) -> None:
        self.numbers += 1
        self.clock += step
        features = (("mesh", mesh),) if mesh else ()
        ask = Ask(f"id{self.numbers}", holder, units, features, wait, priority, 1, "", self.clock)
        before, state = Counts(self.pool), self.state()
        tried: Lease | Place | KeypegError | None
        refused: type[KeypegError] | None = None
        try:
            tried = self.pool.tried(ask, 0)[0].outcome
        except KeypegError as error:
            tried = error
        assert self.state() == state, "a dry run changes nothing"
        try:
            decision = self.pool.acquire(ask, 0)
        except (PoolExhausted, PoolRule, PoolTooSmall) as error:
            refused = type(error)
        if refused is not None:
            assert isinstance(tried, refused)
            assert self.state() == state, "a refusal changes nothing"
            return
        assert type(decision.outcome) is type(tried)
        self.undecided.append((decision.changes, state))
        if isinstance(decision.outcome, Lease) and not decision.served:
            self.allowed(before, decision.outcome)

    @rule(holder=HOLDERS, units=st.integers(1, CAPACITY), mesh=st.integers(0, 2))
    def lend(self, holder, units, mesh) -> None:
        """A seat goes offline within all rules, and never above what the pool has."""
        self.numbers += 1
        holder = replace(holder, session="", process_id=0)
        features = (("mesh", mesh),) if mesh else ()
        ask = Ask(f"id{self.numbers}", holder, units, features, False, 0, 1, "", self.clock)
        terms = Terms(1_000, 10**9, ask.id.encode())
        before, state, rules = Counts(self.pool), self.state(), self.pool.rules
        try:
            decision = pool_borrowing.lend(self.pool, ask, terms, 0, lambda borrow: b"signed")
        except (PoolExhausted, PoolRule, PoolTooSmall):
            assert self.state() == state, "a refusal changes nothing"
            return
        self.undecided.append((decision.changes, state))
        lent, lease = rules.borrowing, decision.outcome
        assert isinstance(lease, Lease)
        assert lent.longest_us
        assert self.pool.borrowed <= CAPACITY - lent.floor
        assert lent.most is None or self.pool.borrowed <= lent.most
        assert not lease.overdraft
        if not decision.served:
            self.allowed(before, lease)
            assert self.pool.held <= max(CAPACITY, before.held())

    @precondition(lambda self: self.pool.borrows)
    @rule(data=st.data(), event=st.sampled_from(["return", "write off", "end", "renew"]))
    def what_is_lent_changes(self, data, event) -> None:
        pool, state = self.pool, self.state()
        id = data.draw(st.sampled_from(sorted(pool.borrows)))
        try:
            if event == "return":
                decision = pool_borrowing.give_back(pool, id, "mia", 0)
            elif event == "write off":
                decision = pool_borrowing.write_off(pool, id, "boss", "lost", 0)
            elif event == "end":
                decision = pool_borrowing.end(pool, id, 0)
            else:
                later = Terms(1_000, 10**9, b"")
                decision = pool_borrowing.renew(pool, id, later, 500, lambda borrow: b"newer")
        except (LeaseExpired, PoolRule):
            assert self.state() == state, "a refusal changes nothing"
            return
        self.undecided.append((decision.changes, state))

    @precondition(lambda self: self.online())
    @rule(data=st.data(), linger=st.booleans())
    def release(self, data, linger) -> None:
        ids = self.online()
        state = self.state()
        id = data.draw(st.sampled_from(ids))
        self.undecided.append((self.pool.release(id, 0, linger=linger).changes, state))

    @rule(holder=HOLDERS, linger=st.booleans())
    def gone(self, holder, linger) -> None:
        state = self.state()
        decision = self.pool.gone(holder.session, 0, linger=linger)
        self.undecided.append((decision.changes, state))

    @precondition(lambda self: self.pool.lingering)
    @rule(data=st.data())
    def lingered(self, data) -> None:
        state = self.state()
        id = data.draw(st.sampled_from(sorted(self.pool.lingers)))
        self.undecided.append((self.pool.lingered(id, 0).changes, state))

    @rule(rules=RULES)
    def other_rules(self, rules) -> None:
        state, held = self.state(), {lease.id for lease in self.pool.leases()}
        decision = self.pool.set_rules(rules, 0)
        assert held <= {lease.id for lease in self.pool.leases()}, "a change of rules cut somebody"
        self.undecided.append((decision.changes, state))

    @rule()
    def disk_fails(self) -> None:
        for changes, state in reversed(self.undecided):
            self.pool.undo(changes)
            assert self.state() == state
        self.undecided.clear()

    @rule()
    def commit(self) -> None:
        self.undecided.clear()

    @rule()
    def restart(self) -> None:
        """Seats that linger are forgotten, and everything else is as it was."""
        self.undecided.clear()
        old = self.pool
        self.pool = self.new(from_json(old.rules.to_json()), old.fencing_number)
        online = [lease for lease in old.leases() if not lease.borrowed_until_us]
        self.pool.restore(online, old.queue(), old.borrows.values())
        assert self.pool.borrows == old.borrows
        assert (self.pool.leases(), self.pool.queue()) == (old.leases(), old.queue())
        # What lingered may serve somebody at the next change: nobody is served by a restart.

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "pool"):
            return
        pool, counts = self.pool, Counts(self.pool)
        out = [one for one in pool.borrows.values() if one.is_out]
        assert pool.borrowed == sum(one.units for one in out)
        assert {one.id for one in out} == {
            lease.id for lease in pool.leases() if lease.borrowed_until_us
        }
        assert pool.held == counts.held()
        # Overdraft may have been taken away since; nobody was given more than the most there ever was.
        assert pool.held <= CAPACITY + 1
        assert pool.feature_held("mesh") <= 2
        if pool.book is not None:
            for index, whom in {
                key
                for seat in counts.seats
                for one in seat
                for key in counts.register.standing(one.holder).limits
            }:
                assert pool.book.limit_used((index, whom)) == counts.limit(index, whom)
            for index, reservation in enumerate(pool.rules.reservations):
                free = max(0, reservation.units - counts.reserved(index))
                assert pool.book.unused(index) == free

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Right after a decision the next in the queue can not be served, unless it is forbidden."""
        if not hasattr(self, "pool") or not self.undecided or not self.undecided[-1][0]:
            return
        for place in self.pool.queue():
            obstacle = self.pool.obstacle(place)
            assert obstacle is not None, f"{place} could be served"
            if obstacle.rule not in ("deny", "allow", "limit", "too_small"):
                break


TestRulesMachine = RulesMachine.TestCase
TestRulesMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_with_ageing_nobody_starves_however_urgent_the_others_are():
    """Always two more who are ten steps more urgent than who is served: the patient one has its turn."""
    pool = Pool(
        "p",
        account="accounts/a",
        product="publishers/x/products/y",
        activation="accounts/a/licenses/l/activations/n",
        capacity=1,
        feature_capacity={},
        rules=PoolRules(ageing_us=100),
    )

    def ask(id: str, priority: int, clock: int) -> Ask:
        holder = Holder(id, f"accounts/a/users/{id}", "dev", "host", "app", 0)
        return Ask(id, holder, 1, (), True, priority, 1, "", clock)

    pool.acquire(ask("first", 0, 0), 0)
    pool.acquire(ask("patient", -5, 0), 0)
    holding = "first"
    for turn in range(1, 200):
        for one in range(2):
            assert isinstance(pool.acquire(ask(f"x{turn}-{one}", 5, turn * 10), 0).outcome, Place)
        (served,) = pool.release(holding, 0).served
        holding = served.id
        if holding == "patient":
            break
    assert holding == "patient"
    assert turn * 10 > 10 * 100 - 200, "not before the steps between them are waited off"

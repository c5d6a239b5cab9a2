"""Whatever happens in whatever order: a session never runs too long, and no seat is left behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keypeg import errors
from keypeg.seat import SeatStage
from keypeg.session_state import MAY_RUN, State
from keypeg.v1 import session_pb2
from tests.client.bench import Bench

KINDS: dict[str, dict[str, Any]] = {
    "cloud": {"valid_for": timedelta(seconds=180), "renew_interval": timedelta(seconds=30)},
    "site": {"seat_count": 3, "seat_required": True},
    "key": {"valid_for": timedelta(seconds=30), "renew_interval": timedelta(seconds=10)},
}
CHANGES = [
    session_pb2.CHANGE_LICENSE_ADDED,
    session_pb2.CHANGE_LICENSE_CHANGED,
    session_pb2.CHANGE_LICENSE_REMOVED,
    cast("session_pb2.Change.ValueType", 9),  # of a newer server
]


class SessionLife(RuleBasedStateMachine):
    """One session, with another that competes for its seats."""

    @initialize(kind=st.sampled_from(sorted(KINDS)))
    def begin(self, kind: str) -> None:
        self.bench = Bench.of(kind, **KINDS[kind]).open()
        self.other = Bench(self.bench.host, self.bench.clock).open()
        self.grace = 0.0
        self.missing_since: float | None = None
        self.wanted: set[str] = set()
        self.calm = True

    @property
    def is_site(self) -> bool:
        return self.bench.host.terms.kind == "site"

    @property
    def is_alive(self) -> bool:
        return self.bench.state is not State.STOPPED

    @rule(seconds=st.floats(0.01, 200))
    def time_passes(self, seconds: float) -> None:
        for bench in (self.bench, self.other):
            bench.hear()
        end = self.bench.clock.monotonic() + seconds
        while (left := end - self.bench.clock.monotonic()) > 1e-6:
            self.bench.advance(min(left, 1.0))  # small steps, so that the other one keeps up
            self.other.advance(0)
            self.bench.hear()
            self.other.hear()

    @rule(deaf=st.booleans(), mute=st.booleans())
    def network_changes(self, deaf: bool, mute: bool) -> None:
        self.bench.deaf, self.bench.mute = deaf, mute

    @rule()
    def stream_is_cut(self) -> None:
        self.bench.cut()

    @rule()
    def server_goes_away(self) -> None:
        self.bench.host.go_away()
        self._hear()

    @rule()
    def server_comes_back(self) -> None:
        self.bench.host.come_back()

    @rule()
    def server_drains(self) -> None:
        self.bench.host.drain()
        self._hear()

    @rule()
    def server_forgets(self) -> None:
        self.bench.host.forget()
        self._hear()

    @rule(grace=st.integers(0, 60))
    @precondition(lambda self: self.bench.host.terms.kind == "key")
    def key_is_pulled(self, grace: int) -> None:
        self.bench.host.unplug(timedelta(seconds=grace))
        self._hear()

    @rule()
    def key_is_back(self) -> None:
        self.bench.host.plug_in()
        self._hear()

    @rule(change=st.sampled_from(CHANGES))
    def something_changes(self, change: session_pb2.Change.ValueType) -> None:
        self.bench.host._say(changed=session_pb2.Changed(change=change))
        self._hear()

    @rule(units=st.integers(1, 4), wait=st.booleans())
    @precondition(lambda self: self.is_alive and self.is_site)
    def a_seat_is_wanted(self, units: int, wait: bool) -> None:
        self.wanted.add(self.bench.acquire(units=units, wait=wait))
        self._hear()

    @rule(data=st.data())
    @precondition(lambda self: self.wanted)
    def a_seat_is_given_back(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.wanted)))
        self.wanted.discard(key)
        self.bench.leave(key)
        self._hear()

    @rule(wait=st.booleans())
    @precondition(lambda self: self.is_site and self.other.state is not State.STOPPED)
    def the_other_wants_a_seat(self, wait: bool) -> None:
        self.other.acquire(wait=wait)
        self._hear()

    @rule()
    def seats_are_recalled(self) -> None:
        self.bench.host.recall()
        self._hear()

    @rule()
    @precondition(lambda self: self.is_alive)
    def server_ends_it(self) -> None:
        self.bench.host.end(errors.CloudSessionMoved("moved"))
        self._hear()

    def _hear(self) -> None:
        self.bench.hear()
        self.other.hear()

    @invariant()
    def it_never_runs_longer_than_the_last_answer_and_the_grace_of_the_key(self) -> None:
        if not hasattr(self, "bench") or not self.bench.may_run:
            return
        terms = self.bench.host.terms
        last = max(self.bench.answered)
        allowed = terms.valid_for.total_seconds()
        if terms.kind == "key":
            allowed += terms.unplug_grace.total_seconds()
        assert self.bench.clock.monotonic() < last + allowed

    @invariant()
    def it_waits_for_something_until_it_has_stopped(self) -> None:
        if hasattr(self, "bench"):
            machine = self.bench.machine
            assert (machine.next_time() is None) == (machine.state is State.STOPPED)
            assert (machine.view().deadline is not None) == (machine.state in MAY_RUN)

    @invariant()
    def seats_that_are_held_are_wanted(self) -> None:
        if hasattr(self, "bench"):
            held = {k for k, r in self.bench.seats.items() if r.stage is SeatStage.HELD}
            assert held <= self.wanted

    def teardown(self) -> None:
        """Once everything is calm, both sides agree on who holds what."""
        if not hasattr(self, "bench"):
            return
        self.bench.deaf = self.bench.mute = False
        self.bench.host.come_back()
        self.bench.host.plug_in()
        self._hear()
        self.bench.cut()
        for _ in range(40):
            self.bench.advance(1)
            self._hear()
        if self.bench.state is not State.RUNNING:
            assert self.bench.state is State.STOPPED
            return
        assert self.bench.machine.held is not None
        mine = self.bench.machine.held.session
        leases = {n for n, (s, _) in self.bench.host.pool.leases.items() if s.name == mine}
        held = {
            r.lease.name for r in self.bench.seats.values() if r.stage is SeatStage.HELD and r.lease
        }
        assert leases == held
        places = {w.name for w in self.bench.host.pool.waiters if w.session.name == mine}
        waiting = {
            r.place.name
            for r in self.bench.seats.values()
            if r.stage is SeatStage.QUEUED and r.place
        }
        assert places == waiting


TestSessionLife = SessionLife.TestCase
TestSessionLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

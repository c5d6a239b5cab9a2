"""Who serves an account: the rules alone, and three servers with clocks of their own, paused and delayed at will."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from keypeg_server.domain import home
from keypeg_server.domain.home import DEAD, GAP, SELF, Happens, Observation, State


def seen_every(step: float, times: int, beats: Mapping[str, int]) -> Observation:
    observation = Observation()
    for turn in range(times):
        observation = observation.after(beats, turn * step, turn * step + 0.01)
    return observation


def test_a_beat_that_does_not_move_for_long_enough_is_death() -> None:
    assert seen_every(0.5, 7, {"a": 4}).dead() == {}  # since 0.01, asked at 3.0
    assert seen_every(0.5, 8, {"a": 4}).dead() == {"a": 4}


def test_a_beat_that_moves_is_life() -> None:
    observation = Observation()
    for turn in range(20):
        observation = observation.after({"a": 1, "b": turn}, turn * 0.5, turn * 0.5 + 0.01)
    assert observation.dead() == {"a": 1}


def test_who_did_not_look_for_a_while_begins_to_count_anew() -> None:
    observation = seen_every(0.5, 7, {"a": 4})
    later = observation.answered + GAP + 0.1
    observation = observation.after({"a": 4}, later, later + 0.01)
    assert observation.dead() == {}
    for turn in range(1, 7):
        observation = observation.after({"a": 4}, later + turn * 0.5, later + turn * 0.5)
    assert observation.dead() == {}
    observation = observation.after({"a": 4}, later + DEAD + 0.1, later + DEAD + 0.2)
    assert observation.dead() == {"a": 4}


def test_a_reading_that_took_long_is_a_gap_too() -> None:
    """The database hung: nobody could beat meanwhile."""
    observation = seen_every(0.5, 3, {"a": 4}).after({"a": 4}, 1.5, 20.0)
    assert observation.after({"a": 4}, 20.0, 20.1).dead() == {}


def test_who_is_gone_is_not_watched() -> None:
    observation = seen_every(0.5, 8, {"a": 4}).after({}, 4.0, 4.0)
    assert observation.dead() == {} == dict(observation.seen)


@given(st.lists(st.uuids().map(str), min_size=2, max_size=6, unique=True), st.integers(0, 50))
def test_a_server_that_goes_moves_no_homes_but_its_own(nodes: list[str], number: int) -> None:
    parent = f"accounts/a-{number}"
    order = home.ranked(parent, nodes)
    assert sorted(order) == sorted(nodes)
    assert home.ranked(parent, reversed(nodes)) == order
    assert home.ranked(parent, order[1:]) == order[1:]


def test_homes_are_spread() -> None:
    nodes = ["n1", "n2", "n3"]
    first = [home.ranked(f"accounts/a-{number}", nodes)[0] for number in range(300)]
    assert all(70 < first.count(node) < 130 for node in nodes)


def test_every_state_can_be_left_and_reached_and_nothing_else_is_allowed() -> None:
    assert {state for state, _ in home.TABLE} == set(State)
    assert set(home.TABLE.values()) == set(State)
    assert {happens for _, happens in home.TABLE} == set(Happens)
    # Whoever may answer for a parent has let go of it before it can be anything else.
    assert [after for (state, _), after in home.TABLE.items() if state is State.MINE] == [
        State.LOSING
    ]
    with pytest.raises(AssertionError, match="mine does not see"):
        home.following(State.MINE, Happens.WANTED)


# Three servers and one account.


@dataclass
class Rows:
    """What they share: each change is at one instant."""

    beats: dict[str, int] = field(default_factory=dict)
    home: str | None = None


@dataclass
class Waiting:
    """Something asked of the rows, on its way there or back."""

    what: str
    asked: float
    node: str
    target: tuple[str, int] = ("", 0)
    done: bool = False
    beats: dict[str, int] | None = None
    taken: bool = False


@dataclass
class Server:
    """As service/cluster.py is, without I/O."""

    rows: Rows
    rate: float
    name: str
    lives: int = 1
    observation: Observation = field(default_factory=Observation)
    declared: set[str] = field(default_factory=set)
    acts_until: float = float("-inf")
    has: bool = False
    waiting: Waiting | None = None

    def __post_init__(self) -> None:
        self.rows.beats[self.node] = 0

    @property
    def node(self) -> str:
        return f"{self.name}{self.lives}"

    def acts(self, now: float) -> bool:
        return self.has and now * self.rate < self.acts_until

    def step(self, now: float, *, wants: bool) -> None:
        """One stage further: ask, be answered in the rows, hear the answer."""
        local = now * self.rate
        if self.waiting is None:
            self._ask(local, wants)
        elif not self.waiting.done:
            self._happen(self.waiting)
        else:
            waiting, self.waiting = self.waiting, None
            self._hear(waiting, local)

    def _ask(self, local: float, wants: bool) -> None:
        dead = {
            node: beat
            for node, beat in self.observation.dead().items()
            if node not in self.declared
        }
        if dead and wants:
            self.waiting = Waiting("declare", local, self.node, next(iter(dead.items())))
        elif wants and not self.has and local < self.acts_until:
            self.waiting = Waiting("take", local, self.node)
        else:
            self.waiting = Waiting("beat", local, self.node)

    def _happen(self, waiting: Waiting) -> None:
        rows = self.rows
        waiting.done = True
        if waiting.what == "beat":
            if waiting.node in rows.beats:
                rows.beats[waiting.node] += 1
                waiting.beats = dict(rows.beats)
        elif waiting.what == "declare":
            node, beat = waiting.target
            if rows.beats.get(node) == beat:
                del rows.beats[node]
        elif rows.home is None or rows.home not in rows.beats:
            rows.home = waiting.node
            waiting.taken = True

    def _hear(self, waiting: Waiting, local: float) -> None:
        if waiting.what == "declare":
            self.declared.add(waiting.target[0])  # or it will be seen to beat again
        elif waiting.what == "take":
            self.has = self.has or (waiting.taken and waiting.node == self.node)
        elif waiting.what == "beat":
            if waiting.beats is None:  # declared dead
                self.has, self.acts_until = False, float("-inf")
                self.lives += 1
                self.observation = Observation()
                self.rows.beats[self.node] = 0
                return
            others = {node: beat for node, beat in waiting.beats.items() if node != waiting.node}
            self.declared -= others.keys()
            self.observation = self.observation.after(others, waiting.asked, local)
            self.acts_until = max(self.acts_until, home.acts_until(waiting.asked))


Step = tuple[int, float, int, bool]  # who, after how long, how many stages, and whether it wants it
# Mostly one of them is away while another beats on, as it is when something goes wrong.
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 0, 1, 2]),
        st.sampled_from([0.5, 0.5, 0.5, 0.0, 0.1, 0.9, 2.5]),
        st.sampled_from([3, 3, 3, 1, 2]),
        st.booleans(),
    ),
    min_size=10,
    max_size=40,
)
RATES = st.tuples(*[st.sampled_from([0.9951, 1.0, 1.0049])] * 3)


def most_that_act(steps: list[Step], rates: tuple[float, ...]) -> int:
    rows = Rows()
    servers = [Server(rows, rate, name) for rate, name in zip(rates, "abc", strict=True)]
    now, most = 0.0, 0
    for turn in range(9):  # the second takes the account first
        servers[1].step(now, wants=turn >= 3)
    for number, pause, stages, wants in steps:
        now += pause
        for _ in range(stages):
            servers[number].step(now, wants=wants)
            most = max(most, sum(server.acts(now) for server in servers))
    return most


@settings(max_examples=400)
@given(STEPS, RATES)
def test_never_two_act_for_one_account(steps: list[Step], rates: tuple[float, ...]) -> None:
    assert most_that_act(steps, rates) <= 1


def taken_over(steps: list[Step]) -> bool:
    """The model reaches what it is about: the account goes from one that was away to another."""
    rows = Rows()
    servers = [Server(rows, 1.0, name) for name in "abc"]
    now = 0.0
    for turn in range(9):
        servers[1].step(now, wants=turn >= 3)
    for number, pause, stages, wants in steps:
        now += pause
        for _ in range(stages):
            servers[number].step(now, wants=wants)
    return servers[0].acts(now)


def death_in_time() -> list[Step]:
    """The first server beats every 0.5 s, declares the others dead, which are away, and takes the account."""
    return [*[(0, 0.5, 3, False)] * 8, *[(0, 0.0, 3, True)] * 3]


def test_the_model_takes_over_what_a_server_that_is_away_had() -> None:
    assert taken_over(death_in_time())


def test_the_model_finds_a_server_that_acts_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "SELF", 6.0)
    assert most_that_act(death_in_time(), (1.0, 1.0, 1.0)) == 2
    monkeypatch.setattr(home, "SELF", SELF)
    assert most_that_act(death_in_time(), (1.0, 1.0, 1.0)) == 1


def test_the_model_finds_a_death_that_is_declared_without_looking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were a server's row removed whatever its beat is by then, it could act on by a later beat."""
    happen = Server._happen

    def careless(self: Server, waiting: Waiting) -> None:
        if waiting.what == "declare":
            waiting.done = True
            self.rows.beats.pop(waiting.target[0], None)
        else:
            happen(self, waiting)

    monkeypatch.setattr(Server, "_happen", careless)
    steps = death_in_time()
    steps[8:9] = [(0, 0.0, 1, True), (1, 0.0, 3, False), (0, 0.0, 2, True)]  # it beats in between
    assert most_that_act(steps, (1.0, 1.0, 1.0)) == 2


@pytest.mark.long
def test_the_model_finds_by_itself_what_a_shorter_wait_would_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(home, "DEAD", 1.0)
    try:
        found = find(
            STEPS,
            lambda steps: most_that_act(steps, (1.0, 1.0, 1.0)) > 1,
            settings=settings(max_examples=5_000, database=None),
            random=Random(1),  # whether a search finds it is a matter of luck: this one does
        )
    except NoSuchExample:
        pytest.fail("the search misses a plain mistake")
    assert found

"""The checker of seat servers: its judge on constructed histories, its plans, and whole runs.

Whole runs: an honest server passes, and a server with a planted bug does not (tests/seatcheck_plants).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest

from seatchecker.finding import Finding, Verdict
from seatchecker.history import (
    Entry,
    History,
    JournalError,
    Limits,
    Listed,
    Snapshot,
    read_journal,
    write_entry,
)
from seatchecker.judge import judge
from seatchecker.plan import GROUPS, KINDS, plan

LIMITS = Limits(seats=1, bounds={"stream": 4.0, "unary": 11.0}, slack=1.0)


@dataclass
class Story:
    """A history under construction."""

    limits: Limits = LIMITS
    entries: list[Entry] = field(default_factory=list)
    faults: list[Entry] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def client(self, name: str, kind: str = "stream", at: float = 0.0) -> None:
        self.say(at, name, "started", kind=kind, device=f"device-{name}")

    def say(self, at: float, who: str, what: str, **facts: Any) -> None:
        self.entries.append(Entry(at, who, what, facts))

    def asked(self, at: float, who: str, ask: str, priority: int = 0) -> None:
        self.say(at, who, "asked", ask=ask, wait=True, priority=priority)

    def holds(
        self, who: str, fence: int, begin: float, until: float, *, ask: str = "", priority: int = 0
    ) -> str:
        """A seat from `begin`, asked for just before when nothing else is said; the lease's name."""
        lease = f"pools/p/leases/l{fence}"
        if not ask:
            ask = f"{who}-{fence}"
            self.asked(begin - 0.01, who, ask, priority)
        self.say(begin, who, "held", ask=ask, lease=lease, fence=fence, until=until)
        return lease

    def fault(self, at: float, what: str, **facts: Any) -> None:
        self.faults.append(Entry(at, "seatcheck", what, facts))

    def listed(self, at: float, *leases: tuple[str, int, str], waiting: str = "") -> None:
        found = tuple(Listed(lease, fence, f"device-{who}") for lease, fence, who in leases)
        places = tuple(f"pools/p/places/{who}" for who in waiting.split())
        self.snapshots.append(Snapshot(at, at + 0.01, found, places))

    def verdict(self) -> Verdict:
        return judge(
            History(self.limits, tuple(self.entries), tuple(self.faults), tuple(self.snapshots))
        )

    def finding(self, rule: str) -> Finding:
        """The one thing that is wrong."""
        verdict = self.verdict()
        assert [one.rule for one in verdict.findings] == [rule], verdict.findings
        return verdict.findings[0]


@pytest.fixture
def story() -> Story:
    made = Story()
    for name in ("a", "b", "c"):
        made.client(name)
    return made


# capacity


def test_one_after_the_other_is_allowed(story: Story) -> None:
    first = story.holds("a", 1, 1.0, 4.0)
    story.say(2.0, "a", "giving_back", lease=first)
    story.holds("b", 2, 2.1, 5.0)
    verdict = story.verdict()
    assert verdict.passed
    assert verdict.counts["most_held"] == 1
    assert verdict.counts["seats_given"] == 2


def test_a_seat_that_is_given_while_another_may_believe_in_it_is_found(story: Story) -> None:
    story.holds("a", 1, 1.0, 4.0)
    story.fault(1.5, "stopped", client="a", lasting=9.0)
    story.holds("b", 2, 3.0, 6.0)
    finding = story.finding("capacity")
    assert (finding.begin, finding.end) == (3.0, 4.0)
    assert "a (fencing number 1), b (fencing number 2)" in finding.sentence
    assert [one.who for one in finding.events] == ["a", "b"]
    assert [one.what for one in finding.faults] == ["stopped"], "what was done shortly before"


def test_beliefs_that_touch_do_not_overlap(story: Story) -> None:
    story.holds("a", 1, 1.0, 4.0)
    story.holds("b", 2, 4.0, 6.0)
    assert story.verdict().passed


def test_a_renewed_belief_lasts_longer(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.say(3.0, "a", "use", lease=lease, fence=1, until=6.0)
    story.holds("b", 2, 5.0, 8.0)
    assert story.finding("capacity").end == 6.0


def test_the_dead_believe_nothing(story: Story) -> None:
    story.holds("a", 1, 1.0, 4.0)
    story.fault(2.0, "killed", client="a", gone=2.1)
    story.holds("b", 2, 2.0, 6.0)
    assert story.verdict().passed


def test_as_many_as_there_are_seats_is_allowed_and_one_more_is_not(story: Story) -> None:
    story.limits = Limits(seats=2, bounds=LIMITS.bounds)
    story.holds("a", 1, 1.0, 4.0)
    story.holds("b", 2, 1.0, 4.0)
    assert story.verdict().passed
    story.holds("c", 3, 2.0, 3.0)
    assert story.finding("capacity").begin == 2.0


# lost


def test_a_seat_that_is_lost_before_its_time_is_found(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.fault(1.2, "server_killed")
    story.say(2.0, "a", "lost", lease=lease, reason="LEASE_EXPIRED")
    finding = story.finding("lost")
    assert (finding.begin, finding.end) == (2.0, 4.0)
    assert "LEASE_EXPIRED" in finding.sentence
    assert [one.what for one in finding.faults] == ["server_killed"]


def test_a_seat_that_is_lost_after_its_time_is_the_client_s_own_fault(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.say(4.0, "a", "lost", lease=lease, reason="GRANT_EXPIRED")
    assert story.verdict().passed


def test_a_seat_that_the_server_knows_nothing_of_is_found(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.listed(2.0, (lease, 1, "a"))
    assert story.verdict().passed
    story.listed(3.0)
    assert "does not list it" in story.finding("lost").sentence


@pytest.mark.parametrize("moment", [0.9, 3.995], ids=["before it was known", "as it ends"])
def test_what_the_server_lists_at_the_edges_of_a_belief_proves_nothing(
    story: Story, moment: float
) -> None:
    story.holds("a", 1, 1.0, 4.0)
    story.listed(moment)
    assert story.verdict().passed


@pytest.mark.parametrize(("tries", "passed"), [(1, False), (2, True)])
def test_giving_back_what_the_server_says_was_not_held_is_found_unless_it_was_a_repeat(
    story: Story, tries: int, passed: bool
) -> None:
    lease = story.holds("a", 1, 1.0, 11.0)
    story.say(2.0, "a", "giving_back", lease=lease)
    story.say(2.1, "a", "given_back", lease=lease, held=False, tries=tries, until=11.0)
    assert story.verdict().passed is passed
    assert story.verdict().rules <= {"lost"}


# leaked


def test_a_seat_that_stays_taken_after_it_was_given_back_is_found(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.say(2.0, "a", "giving_back", lease=lease)
    story.listed(2.05, (lease, 1, "a"))
    story.say(2.1, "a", "given_back", lease=lease, held=True)
    assert story.verdict().passed, "until it was answered, it may be listed"
    story.listed(2.2, (lease, 1, "a"))
    assert "gave its seat back" in story.finding("leaked").sentence


@pytest.mark.parametrize(("listed", "passed"), [(6.9, True), (7.1, False)])
def test_a_dead_holder_s_seat_is_free_within_the_bound(
    story: Story, listed: float, passed: bool
) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.fault(2.0, "killed", client="a", gone=2.0)
    story.listed(listed, (lease, 1, "a"))
    assert story.verdict().passed is passed
    assert story.verdict().rules <= {"leaked"}


@pytest.mark.parametrize(
    ("begins", "ends"), [("server_killed", "server_ready"), ("server_stopped", "server_continued")]
)
def test_the_bound_counts_from_the_server_s_own_return(
    story: Story, begins: str, ends: str
) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.fault(2.0, "killed", client="a", gone=2.0)
    story.fault(3.0, begins)
    story.listed(5.9, (lease, 1, "a"))
    story.fault(6.0, ends)
    story.listed(10.9, (lease, 1, "a"))
    assert story.verdict().passed
    story.listed(11.1, (lease, 1, "a"))
    assert story.finding("leaked").begin == 6.0


def test_a_seat_that_nobody_ever_learned_of_is_not_kept_for_ever(story: Story) -> None:
    story.holds("b", 1, 1.0, 2.0)
    unknown = ("pools/p/leases/unknown", 2, "a")
    story.listed(3.0, unknown)
    story.listed(7.9, unknown)
    assert story.verdict().passed
    story.listed(8.1, unknown)
    assert "anyone could know" in story.finding("leaked").sentence


@pytest.mark.parametrize(("listed", "passed"), [(69.9, True), (75.2, False)])
def test_who_waited_without_a_stream_may_be_served_as_long_as_its_place_is_kept(
    story: Story, listed: float, passed: bool
) -> None:
    story.limits = Limits(seats=1, bounds=LIMITS.bounds, slack=1.0, place=60.0)
    story.holds("a", 1, 1.0, 2.0)
    story.client("u", "unary")
    story.asked(1.0, "u", "first")
    story.say(1.1, "u", "queued", ask="first", place="pools/p/places/u")
    story.fault(3.0, "killed", client="u", gone=3.0)
    story.listed(listed, ("pools/p/leases/l2", 2, "u"))
    assert story.verdict().passed is passed
    assert story.verdict().rules <= {"leaked"}


def test_a_fault_of_a_line_counts_for_whoever_uses_it(story: Story) -> None:
    story.client("c1-2")
    lease = story.holds("c1-2", 1, 1.0, 4.0)
    story.fault(0.5, "part", line="c1")
    story.fault(2.0, "killed", client="c1-2", gone=2.0)
    story.listed(8.0, (lease, 1, "c1-2"))
    assert story.verdict().passed, "what it has sent may have been under way"
    story.fault(9.0, "healed", line="c1")
    story.listed(13.9, (lease, 1, "c1-2"))
    assert story.verdict().passed
    story.listed(14.1, (lease, 1, "c1-2"))
    assert story.finding("leaked").begin == 9.0


# expired


def test_a_use_after_the_time_is_found(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.say(5.0, "a", "use", lease=lease, fence=1, until=None)
    assert story.finding("expired").end == 5.0


def test_a_use_without_an_end_accuses_nobody_of_what_came_later(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.say(2.0, "a", "use", lease=lease, fence=1, until=None)
    story.say(5.0, "a", "lost", lease=lease, reason="GRANT_EXPIRED")
    assert "after it was over" in story.finding("expired").sentence


def test_a_use_after_giving_back_is_found(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 4.0)
    story.say(2.0, "a", "giving_back", lease=lease)
    story.say(2.5, "a", "use", lease=lease, fence=1, until=4.0)
    assert "given back" in story.finding("expired").sentence


# fencing


def test_fencing_numbers_must_grow_in_the_order_in_which_seats_were_given(story: Story) -> None:
    story.holds("a", 5, 1.0, 2.0)
    story.holds("b", 4, 3.0, 5.0)
    finding = story.finding("fencing")
    assert "below 5" in finding.sentence


def test_who_asked_before_may_have_the_lower_number_though_it_learned_of_it_later(
    story: Story,
) -> None:
    story.asked(0.5, "b", "slow")
    story.holds("a", 5, 1.0, 2.0)
    story.holds("b", 4, 3.0, 5.0, ask="slow")
    assert story.verdict().passed


def test_one_fencing_number_is_not_given_twice(story: Story) -> None:
    story.holds("a", 1, 1.0, 2.0)
    story.asked(0.5, "b", "early")
    story.say(3.0, "b", "held", ask="early", lease="pools/p/leases/other", fence=1, until=4.0)
    assert "the same fencing number" in story.finding("fencing").sentence


# queue


def queued(story: Story, who: str, asked: float, told: float, **facts: int) -> None:
    """A client that waits, and knows."""
    story.asked(asked, who, f"{who}-wait", **facts)
    story.say(told, who, "queued", ask=f"{who}-wait", place=f"pools/p/places/{who}")


def test_who_comes_later_is_served_later(story: Story) -> None:
    queued(story, "a", 1.0, 1.1)
    queued(story, "b", 2.0, 2.1)
    story.holds("b", 1, 3.0, 4.0, ask="b-wait")
    story.holds("a", 2, 5.0, 6.0, ask="a-wait")
    finding = story.finding("queue")
    assert finding.sentence.startswith("b asked after a was told that it waits")


def test_overtaking_is_found_also_when_the_first_is_never_served(story: Story) -> None:
    queued(story, "a", 1.0, 1.1)
    lease = story.holds("b", 1, 3.0, 4.0)
    story.listed(2.0, waiting="a")
    assert story.verdict().passed, "it may have been served since, and not know it"
    story.listed(3.5, (lease, 1, "b"), waiting="a")
    assert "still lists as waiting" in story.finding("queue").sentence


def test_who_gets_another_place_has_given_up_its_first(story: Story) -> None:
    queued(story, "a", 1.0, 1.1)
    story.asked(2.0, "b", "mine")
    story.say(2.5, "a", "queued", ask="a-wait", place="pools/p/places/another")
    story.holds("b", 1, 3.0, 4.0, ask="mine")
    story.holds("a", 2, 5.0, 6.0, ask="a-wait")
    assert story.verdict().passed


@pytest.mark.parametrize("excuse", ["reopened", "asked before it was told", "higher priority"])
def test_who_has_lost_its_place_or_has_a_lower_priority_may_be_overtaken(
    story: Story, excuse: str
) -> None:
    queued(story, "a", 1.0, 1.1)
    story.asked(1.05 if excuse == "asked before it was told" else 2.0, "b", "mine", 0)
    if excuse == "higher priority":
        story.asked(2.0, "b", "mine", 5)
    if excuse == "reopened":
        story.say(2.5, "a", "reopened")
    story.holds("b", 1, 3.0, 4.0, ask="mine")
    story.holds("a", 2, 5.0, 6.0, ask="a-wait")
    assert story.verdict().passed


# retry


def test_two_seats_for_one_request_are_found(story: Story) -> None:
    lease = story.holds("a", 1, 1.0, 2.0, ask="")
    story.say(1.5, "a", "repeated", ask="a-1", lease=lease, fence=1)
    assert story.verdict().passed
    story.say(1.6, "a", "repeated", ask="a-1", lease="pools/p/leases/l2", fence=2)
    assert "answered with 2 leases" in story.finding("retry").sentence


@pytest.mark.parametrize(("uncertain", "passed"), [(False, False), (True, True)])
def test_a_client_that_takes_one_seat_at_a_time_is_listed_once(
    uncertain: bool, passed: bool
) -> None:
    story = Story()
    story.client("u", "unary")
    story.asked(0.5, "u", "first")
    story.say(0.6, "u", "refused", ask="first", reason="POOL_EXHAUSTED", uncertain=uncertain)
    lease = story.holds("u", 2, 1.0, 11.0)
    story.listed(2.0, (lease, 2, "u"), ("pools/p/leases/l1", 1, "u"))
    assert story.verdict().passed is passed
    assert story.verdict().rules <= {"retry"}


# crashed, and what is not there


def test_a_client_program_that_ends_by_itself_is_found(story: Story) -> None:
    story.holds("a", 1, 1.0, 2.0)
    story.fault(3.0, "died", client="b", why="status 1")
    assert "status 1" in story.finding("crashed").sentence


def test_a_run_in_which_nobody_had_a_seat_proves_nothing(story: Story) -> None:
    story.say(1.0, "a", "not_open", reason="UNREACHABLE")
    assert "nothing was checked" in story.finding("crashed").sentence


# journals, plans, the network


def test_a_journal_is_read_up_to_where_a_kill_has_cut_it() -> None:
    whole = write_entry(Entry(1.5, "", "use", {"fence": 3}))
    assert read_journal("a", [whole, whole[:10]]) == [Entry(1.5, "a", "use", {"fence": 3})]
    with pytest.raises(JournalError, match="of a has no entry on line 1"):
        read_journal("a", [whole[:10], whole])


def test_a_seed_is_a_plan() -> None:
    targets = {group: (f"{group} 1", f"{group} 2") for group in GROUPS}
    faults = plan(7, 600, targets, 3.0)
    assert faults == plan(7, 600, targets, 3.0)
    assert faults != plan(8, 600, targets, 3.0)
    assert {fault.kind for fault in faults} == set(KINDS)
    assert all(fault.target in targets[KINDS[fault.kind].whom] for fault in faults)
    assert all(0 < fault.at < 600 for fault in faults)


def test_nobody_is_struck_by_what_is_not_there() -> None:
    faults = plan(7, 300, {"client": ("c1",), "server": ("s1",), "disk": ()}, 3.0)
    assert {KINDS[fault.kind].whom for fault in faults} == {"client", "server"}


def test_between_two_disturbances_of_all_sessions_seats_can_run_out() -> None:
    targets = {group: (group,) for group in GROUPS}
    down = [fault.at for fault in plan(7, 600, targets, 3.0) if KINDS[fault.kind].disturbs]
    assert all(later - earlier > 2 * 3.0 for earlier, later in itertools.pairwise(down))

"""The verdict: journals in, what was wrong with them out.

Promises: pure; every finding names its rule, the time, and the entries that show it, with the faults shortly
before. It accuses nobody without proof: where the journals leave two readings, the innocent one is taken.

Leaves to others: what the clients believed (beliefs), collecting journals (run).

The rules, as in docs/seatcheck.md:
  capacity  never more seats held, as their holders believe, than there are
  lost      a seat that was acknowledged is not lost while its holder may believe in it
  leaked    a seat whose holder is gone, or has given it back, is free within the bound
  expired   nobody is told to go on with a seat after the time that it was told
  fencing   fencing numbers grow in the order in which seats were given, and none is given twice
  queue     who was told that it waits is not overtaken by who came later with no higher priority
  retry     the same request is answered with the same seat, and makes no second one
  crashed   the client programs themselves came to no harm
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from seatchecker.beliefs import Beliefs, Hold, Life, Request, Wait, fold
from seatchecker.history import Entry, History, Snapshot

RULES: Final = ("capacity", "lost", "leaked", "expired", "fencing", "queue", "retry", "crashed")
NAMED: Final = 5  # findings of one rule that are told in full
FAULTS_NAMED: Final = 4
UNSURE: Final = 30.0  # seconds in which a request that was given up may still make a seat
RECENT: Final = 10.0  # seconds before a finding in which faults are named


@dataclass(frozen=True)
class Finding:
    """A rule that was broken, when, and what shows it."""

    rule: str
    begin: float
    end: float
    sentence: str
    events: tuple[Entry, ...]
    faults: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What was found, and how much there was to look at."""

    findings: tuple[Finding, ...]
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every rule was kept."""
        return not self.findings

    @property
    def rules(self) -> frozenset[str]:
        """The rules that were broken."""
        return frozenset(finding.rule for finding in self.findings)


def judge(history: History) -> Verdict:
    """Whether the server kept every rule."""
    beliefs = fold(history)
    findings: list[Finding] = []
    for rule in (_capacity, _lost, _leaked, _expired, _fencing, _queue, _retry, _crashed):
        found = sorted(rule(history, beliefs), key=lambda finding: finding.begin)
        findings += [_with_faults(finding, history.faults) for finding in found[:NAMED]]
    return Verdict(
        tuple(sorted(findings, key=lambda finding: finding.begin)), _counts(history, beliefs)
    )


# capacity


def _capacity(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    edges: list[tuple[float, int, int]] = []  # time, ends before begins, which
    for number, hold in enumerate(beliefs.holds):
        for begin, until in hold.spans:
            if until > begin:
                edges += [(begin, 1, number), (until, 0, number)]
    held: set[int] = set()
    since: float | None = None
    most: list[Hold] = []
    for at, begins, number in sorted(edges):
        if begins:
            held.add(number)
        else:
            held.discard(number)
        if len(held) > history.limits.seats:
            since = at if since is None else since
            if len(held) > len(most):
                most = [beliefs.holds[one] for one in sorted(held)]
        elif since is not None:
            yield Finding(
                "capacity",
                since,
                at,
                f"{len(most)} believe that they hold one of {history.limits.seats} seats: "
                + ", ".join(f"{hold.client} (fencing number {hold.fence})" for hold in most)
                + ".",
                tuple(entry for hold in most for entry in (hold.held, *hold.said)),
            )
            since, most = None, []


# lost


def _lost(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    for hold in beliefs.holds:
        lost, back = hold.lost, hold.given_back
        if lost is not None and lost.at < hold.lost_until:
            yield Finding(
                "lost",
                lost.at,
                hold.lost_until,
                f"{hold.client} was told that it has lost its seat ({lost.facts.get('reason')}), "
                f"{hold.lost_until - lost.at:.2f} s before the time that it was given was over.",
                (hold.held, *hold.said),
            )
        if back is not None and not back.facts.get("held", True) and _first_try(back):
            until = float(back.facts.get("until", 0.0))
            if back.at < until:
                yield Finding(
                    "lost",
                    back.at,
                    until,
                    f"{hold.client} gave its seat back in time, and the server said that it held none.",
                    (hold.held, *hold.said),
                )
    for hold, snapshot in _missing(history, beliefs):
        yield Finding(
            "lost",
            snapshot.sent,
            snapshot.answered,
            f"{hold.client} believes that it holds a seat, and the server does not list it.",
            (hold.held, *hold.said),
        )


def _first_try(back: Entry) -> bool:
    return int(back.facts.get("tries", 1)) == 1


def _missing(history: History, beliefs: Beliefs) -> Iterator[tuple[Hold, Snapshot]]:
    """Beliefs that cover a snapshot without their lease; the first of each."""
    snapshots = sorted(history.snapshots, key=lambda one: one.sent)
    names = [{listed.lease for listed in snapshot.leases} for snapshot in snapshots]
    begins = [snapshot.sent for snapshot in snapshots]
    for hold in beliefs.holds:
        for begin, until in hold.spans:
            position = bisect_left(begins, begin)
            found = None
            while position < len(snapshots) and snapshots[position].answered < until:
                if hold.lease not in names[position]:
                    found = snapshots[position]
                    break
                position += 1
            if found is not None:
                yield hold, found
                break


# leaked


def _leaked(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    holds = {hold.lease: hold for hold in beliefs.holds}
    devices = {life.device: life for life in beliefs.lives.values() if life.device}
    calm = _Calm(history.faults)
    first_seen: dict[str, float] = {}
    told: set[str] = set()
    for snapshot in sorted(history.snapshots, key=lambda one: one.sent):
        for listed in snapshot.leases:
            name = listed.lease
            if name in told:
                continue
            seen = first_seen.setdefault(name, snapshot.sent)
            hold, life = holds.get(name), devices.get(listed.device)
            shown = (hold.held, *hold.said) if hold else ()
            back = hold.given_back if hold else None
            if back is not None and back.facts.get("held", True) and snapshot.sent > back.at:
                told.add(name)
                assert hold is not None
                yield Finding(
                    "leaked",
                    back.at,
                    snapshot.answered,
                    f"{hold.client} gave its seat back and was told that it is free, and the server "
                    "still lists it.",
                    shown,
                )
                continue
            if life is None:
                continue  # not of this run
            since = max(hold.end if hold else min(seen, life.gone), calm.since(life, snapshot.sent))
            bound = history.limits.bounds[life.kind] + history.limits.slack
            if snapshot.sent > since + bound:
                told.add(name)
                yield Finding(
                    "leaked",
                    since,
                    snapshot.answered,
                    f"A seat of {life.name} is still taken {snapshot.sent - since:.2f} s after "
                    + ("its holder's last belief" if hold else "anyone could know of it")
                    + f"; the bound is {bound:.2f} s.",
                    shown,
                )


class _Calm:
    """Since when nothing has disturbed the server, or a client's way to it."""

    BEGIN: Final = frozenset(
        {"server_killed", "server_restarted", "server_stopped", "stopped", "stalled", "muted"}
    )
    END: Final = frozenset({"server_ready", "server_continued", "continued", "healed"})

    def __init__(self, faults: Iterable[Entry]) -> None:
        self._times: dict[str, list[float]] = defaultdict(list)
        self._latest: dict[str, list[float]] = defaultdict(list)  # end; infinite while one goes on
        going_on: Counter[str] = Counter()
        for fault in sorted(faults, key=lambda one: one.at):
            whose = str(fault.facts.get("client", ""))
            if fault.what in self.BEGIN:
                going_on[whose] += 1
            elif fault.what in self.END:
                going_on[whose] -= 1
            else:
                continue
            self._times[whose].append(fault.at)
            self._latest[whose].append(math.inf if going_on[whose] > 0 else fault.at)

    def since(self, life: Life, moment: float) -> float:
        """The end of the last disturbance before that moment: infinite during one, 0 for none."""
        latest = 0.0
        for whose in ("", life.name):
            position = bisect_left(self._times[whose], moment)
            if position:
                latest = max(latest, self._latest[whose][position - 1])
        return latest


# expired


def _expired(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    for hold in beliefs.holds:
        for use in hold.late[:1]:
            why = "after it was over" if use.facts.get("until") is None else "when it might not"
            if hold.giving_back or hold.lost:
                why = "after it was given back or lost"
            yield Finding(
                "expired",
                hold.end,
                use.at,
                f"{hold.client} used its seat (fencing number {hold.fence}) {why}.",
                (hold.held, use, *hold.said),
            )


# fencing


def _fencing(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    of_number: dict[int, Hold] = {}
    for hold in beliefs.holds:
        other = of_number.setdefault(hold.fence, hold)
        if other.lease != hold.lease:
            yield Finding(
                "fencing",
                other.held.at,
                hold.held.at,
                f"{other.client} and {hold.client} have the same fencing number {hold.fence}.",
                (other.held, hold.held),
            )
    highest = _Highest((hold.held.at, hold.fence, hold) for hold in beliefs.holds)
    for hold in beliefs.holds:
        earlier = highest.before(hold.asked)
        if earlier is not None and earlier.fence > hold.fence:
            yield Finding(
                "fencing",
                earlier.held.at,
                hold.held.at,
                f"{hold.client} asked after {earlier.client} had its seat, and got fencing number "
                f"{hold.fence}, which is below {earlier.fence}.",
                (earlier.held, hold.held),
            )


class _Highest:
    """The item with the highest value up to some time."""

    def __init__(self, items: Iterable[tuple[float, float, Any]]) -> None:
        self._times: list[float] = []
        self._best: list[tuple[float, Any]] = []
        for at, value, item in sorted(items, key=lambda one: (one[0], one[1])):
            best = self._best[-1] if self._best else None
            self._times.append(at)
            self._best.append((value, item) if best is None or value > best[0] else best)

    def before(self, moment: float) -> Any:
        """The item with the highest value of those before that moment."""
        position = bisect_left(self._times, moment)
        return self._best[position - 1][1] if position else None


# queue


def _queue(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    priorities = {
        id(answer): request.priority for request in beliefs.requests for answer in request.answers
    }
    listed = {
        place: snapshot.sent
        for snapshot in sorted(history.snapshots, key=lambda one: one.sent)
        for place in snapshot.places
    }
    for level in sorted({wait.priority for wait in beliefs.waits}):
        waits = [wait for wait in beliefs.waits if wait.priority == level]
        served = _Highest(
            (wait.queued.at, wait.fence, wait) for wait in waits if wait.fence is not None
        )
        unserved = _Highest(
            (wait.queued.at, listed[place], wait)
            for wait in waits
            if (place := str(wait.queued.facts.get("place"))) in listed
        )
        for hold in beliefs.holds:
            if priorities.get(id(hold.held), 0) > level:
                continue
            earlier: Wait | None = served.before(hold.asked)
            if (
                earlier is not None
                and earlier.fence is not None
                and earlier.fence > hold.fence
                and earlier.client != hold.client
            ):
                yield _overtaken(earlier, hold, f"which got {earlier.fence} later")
            earlier = unserved.before(hold.asked)
            if (
                earlier is not None
                and listed[str(earlier.queued.facts["place"])] > hold.held.at
                and earlier.client != hold.client
            ):
                yield _overtaken(earlier, hold, "which the server still lists as waiting")


def _overtaken(wait: Wait, hold: Hold, how: str) -> Finding:
    return Finding(
        "queue",
        wait.queued.at,
        hold.held.at,
        f"{hold.client} asked after {wait.client} was told that it waits (priority {wait.priority}), "
        f"and got a seat (fencing number {hold.fence}) before {wait.client}, {how}.",
        (wait.queued, hold.held),
    )


# retry


def _retry(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    for request in beliefs.requests:
        yield from _differing(request)
    kinds = {life.device: life for life in beliefs.lives.values() if life.kind == "unary"}
    unsure: dict[str, list[float]] = defaultdict(list)  # given up, and may still have been heard
    for entry in history.entries:
        if entry.what == "refused" and entry.facts.get("uncertain"):
            unsure[entry.who].append(entry.at)
    told: set[str] = set()
    for snapshot in history.snapshots:
        of_device: dict[str, list[str]] = defaultdict(list)
        for listed in snapshot.leases:
            of_device[listed.device].append(listed.lease)
        for device, leases in of_device.items():
            if len(leases) > 1 and device in kinds and device not in told:
                client = kinds[device].name
                if any(0 < snapshot.answered - at < UNSURE for at in unsure[client]):
                    continue
                told.add(device)
                last = [one.asked for one in beliefs.requests if one.client == client]
                yield Finding(
                    "retry",
                    snapshot.sent,
                    snapshot.answered,
                    f"The server lists {len(leases)} seats of {client}, which asks for the next only "
                    "when it has given back the last, and repeats what was not answered.",
                    tuple([one for one in last if one.at < snapshot.answered][-1:]),
                )


def _differing(request: Request) -> Iterator[Finding]:
    leases = {str(answer.facts["lease"]) for answer in request.answers}
    fences = {int(answer.facts["fence"]) for answer in request.answers}
    if len(leases) > 1 or len(fences) > 1:
        yield Finding(
            "retry",
            request.answers[0].at,
            request.answers[-1].at,
            f"{request.client} asked with one request id and was answered with {len(leases)} leases "
            f"(fencing numbers {', '.join(map(str, sorted(fences)))}).",
            (request.asked, *request.answers),
        )


# crashed


def _crashed(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    if history.entries and not beliefs.holds and history.until == math.inf:
        last = max(history.entries, key=lambda one: one.at)
        why = [one for one in history.entries if one.what in ("not_open", "refused")][-NAMED:]
        yield Finding(
            "crashed",
            last.at,
            last.at,
            "No client ever had a seat: nothing was checked.",
            tuple(why),
        )
    for fault in history.faults:
        if fault.what == "died":
            yield Finding(
                "crashed",
                fault.at,
                fault.at,
                f"{fault.facts['client']} ended by itself: {fault.facts.get('why', '')}",
                (fault,),
            )


# all


def _with_faults(finding: Finding, faults: Sequence[Entry]) -> Finding:
    near = [one for one in faults if finding.begin - RECENT <= one.at <= finding.end]
    return Finding(
        finding.rule,
        finding.begin,
        finding.end,
        finding.sentence,
        _once(finding.events),
        tuple(near[-FAULTS_NAMED:]),
    )


def _once(events: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple({id(one): one for one in events}.values())


def _counts(history: History, beliefs: Beliefs) -> dict[str, int]:
    faults = Counter(one.what for one in history.faults)
    return {
        "clients": len(beliefs.lives),
        "requests": len(beliefs.requests),
        "seats_given": len(beliefs.holds),
        "queued": len(beliefs.waits),
        "uses": sum(one.what == "use" for one in history.entries),
        "snapshots": len(history.snapshots),
        "most_held": _most(beliefs.holds, lambda hold: hold.spans),
        **{f"fault_{what}": count for what, count in sorted(faults.items())},
    }


def _most(holds: Iterable[Hold], spans: Callable[[Hold], Iterable[tuple[float, float]]]) -> int:
    edges = [edge for hold in holds for a, b in spans(hold) if b > a for edge in ((a, 1), (b, -1))]
    held = most = 0
    for _, change in sorted(edges):
        held += change
        most = max(most, held)
    return most

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

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from seatchecker.beliefs import Beliefs, Hold, fold
from seatchecker.finding import Finding, Verdict
from seatchecker.history import Entry, History
from seatchecker.rules.holding import capacity, expired, lost
from seatchecker.rules.leaked import leaked
from seatchecker.rules.order import fencing, queue
from seatchecker.rules.requests import crashed, retry

NAMED: Final = 5  # findings of one rule that are told in full
FAULTS_NAMED: Final = 4
RECENT: Final = 10.0  # seconds before a finding in which faults are named

Rule = Callable[[History, Beliefs], Iterable[Finding]]

RULES: Final[Mapping[str, Rule]] = {
    "capacity": capacity,
    "lost": lost,
    "leaked": leaked,
    "expired": expired,
    "fencing": fencing,
    "queue": queue,
    "retry": retry,
    "crashed": crashed,
}


def judge(history: History) -> Verdict:
    """Whether the server kept every rule."""
    beliefs = fold(history)
    findings: list[Finding] = []
    for rule in RULES.values():
        found = sorted(rule(history, beliefs), key=lambda finding: finding.begin)
        findings += [_with_faults(finding, history.faults) for finding in found[:NAMED]]
    return Verdict(
        tuple(sorted(findings, key=lambda finding: finding.begin)), _counts(history, beliefs)
    )


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

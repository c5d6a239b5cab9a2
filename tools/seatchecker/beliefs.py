"""What each client believed when, folded from its journal.

Promises: pure. A belief is never made longer than the journal says: it begins when the client knew, and ends at
the first of: giving back, losing, the client's death, and the last moment until which it was told it may go on.

Leaves to others: what must hold between the clients (judge).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from seatchecker.history import CHECKER, Entry, History

ENDINGS = ("killed", "ended", "died")


@dataclass
class Life:
    """A client process from its start to its end."""

    name: str
    kind: str = ""
    device: str = ""
    died: float = math.inf  # nothing was done by it from then on
    gone: float = math.inf  # from then on that was certain
    waits: bool = False  # its last request may still have a place in the queue

    @property
    def line(self) -> str:
        """Its way to the server, which those before and after it have as well."""
        return self.name.rpartition("-")[0] or self.name


@dataclass
class Hold:
    """A seat as its holder saw it."""

    client: str
    lease: str
    fence: int
    asked: float
    held: Entry
    spans: list[tuple[float, float]] = field(default_factory=list)  # may run: from, until
    late: list[Entry] = field(default_factory=list)  # uses when it might not
    lost: Entry | None = None
    lost_until: float = 0.0  # until when it might have run when it was lost
    giving_back: Entry | None = None
    given_back: Entry | None = None
    said: list[Entry] = field(default_factory=list)  # the last things it told of it

    @property
    def end(self) -> float:
        """The end of the last belief."""
        return self.spans[-1][1] if self.spans else self.held.at

    def _tell(self, entry: Entry) -> None:
        self.said = [*self.said[-1:], entry]

    def believe(self, entry: Entry) -> None:
        """It used the seat, or learned until when it may."""
        self._tell(entry)
        until = entry.facts.get("until")
        if until is None or until < entry.at or self.lost or self.giving_back:
            self.late.append(entry)
        elif self.spans and entry.at <= self.spans[-1][1]:
            self.spans[-1] = (self.spans[-1][0], until)
        else:
            self.spans.append((entry.at, until))

    def cut(self, at: float) -> None:
        """It believes nothing from then on."""
        if self.spans:
            begin, until = self.spans[-1]
            self.spans[-1] = (begin, max(begin, min(until, at)))

    def lose(self, entry: Entry) -> None:
        """It was told, or has found, that the seat is gone."""
        self._tell(entry)
        if self.lost is None and self.giving_back is None:
            self.lost, self.lost_until = entry, self.end
        self.cut(entry.at)

    def give(self, entry: Entry) -> None:
        """It begins to give the seat back, and uses it no more."""
        self._tell(entry)
        if self.giving_back is None:
            self.giving_back = entry
        self.cut(entry.at)


@dataclass
class Wait:
    """A place in the queue that its owner knew of."""

    client: str
    queued: Entry  # the first acknowledgment
    priority: int
    fence: int | None = None  # of the lease that came of it


@dataclass
class Request:
    """A request id, and what it was answered with."""

    client: str
    asked: Entry
    priority: int
    answers: list[Entry] = field(default_factory=list)


@dataclass
class Beliefs:
    """Everything that the clients of a run believed."""

    lives: dict[str, Life] = field(default_factory=dict)
    holds: list[Hold] = field(default_factory=list)
    waits: list[Wait] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)


def fold(history: History) -> Beliefs:
    """The beliefs of all clients of a run."""
    beliefs = Beliefs()
    for fault in history.faults:
        if fault.what in ("killed", "died"):
            life = _life(beliefs, str(fault.facts["client"]))
            life.died = min(life.died, fault.at)
            life.gone = min(life.gone, float(fault.facts.get("gone", fault.at)))
    by_client: dict[str, list[Entry]] = defaultdict(list)
    for entry in history.entries:
        assert entry.who != CHECKER
        by_client[entry.who].append(entry)
    for name, entries in by_client.items():
        _fold_client(beliefs, _life(beliefs, name), entries)
    for hold in beliefs.holds:
        hold.cut(history.until)
    return beliefs


def _life(beliefs: Beliefs, name: str) -> Life:
    return beliefs.lives.setdefault(name, Life(name))


def _fold_client(beliefs: Beliefs, life: Life, entries: Iterable[Entry]) -> None:
    requests: dict[str, Request] = {}
    waits: dict[str, Wait] = {}
    holds: dict[str, Hold] = {}
    for entry in sorted(entries, key=lambda one: one.at):
        facts = entry.facts
        ask, lease = str(facts.get("ask", "")), str(facts.get("lease", ""))
        match entry.what:
            case "started":
                life.kind, life.device = str(facts["kind"]), str(facts["device"])
            case "ended":
                life.died = min(life.died, entry.at)
                life.gone = min(life.gone, entry.at)
            case "asked":
                priority = int(facts.get("priority", 0))
                life.waits = bool(facts.get("wait"))
                requests[ask] = Request(life.name, entry, priority)
            case "queued":
                if ask not in waits or waits[ask].queued.facts.get("place") != facts.get("place"):
                    waits[ask] = Wait(life.name, entry, requests[ask].priority)
                    beliefs.waits.append(waits[ask])
            case "reopened":
                waits.clear()
            case "leaving" | "refused" if ask in waits:
                del waits[ask]
            case "held":
                life.waits = False
                requests[ask].answers.append(entry)
                if ask in waits:
                    waits.pop(ask).fence = int(facts["fence"])
                hold = holds.get(lease)
                if hold is None:
                    asked = requests[ask].asked.at
                    hold = Hold(life.name, lease, int(facts["fence"]), asked, entry)
                    holds[lease] = hold
                    beliefs.holds.append(hold)
                hold.believe(entry)
            case "use" if lease in holds:
                holds[lease].believe(entry)
            case "repeated":
                requests[ask].answers.append(entry)
            case "lost" if lease in holds:
                holds[lease].lose(entry)
            case "giving_back" if lease in holds:
                holds[lease].give(entry)
            case "given_back" if lease in holds:
                hold = holds[lease]
                hold.give(entry)
                hold.given_back = hold.given_back or entry
        if entry.what == "left" or (entry.what == "refused" and not facts.get("uncertain")):
            life.waits = False
    for hold in holds.values():
        hold.cut(life.died)
    beliefs.requests.extend(requests.values())

"""What a run has recorded: entries of journals, and what the server said that it holds.

Promises: plain frozen values; a journal is lines of JSON, and reading it never fails on the last line, which a
kill may have cut. All times are seconds on the one monotonic clock of the machine.

Leaves to others: who writes (client, run), and what it means (beliefs, judge). docs/seatcheck.md lists the words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

CHECKER: Final = "seatcheck"
"""Who writes the entries of faults."""


class JournalError(ValueError):
    """A journal holds what no journal holds."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal: at that moment, this one did or learned that."""

    at: float
    who: str
    what: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        facts = " ".join(f"{name}={_short(value)}" for name, value in self.facts.items())
        return f"{self.at:.3f} {self.who} {self.what} {facts}".rstrip()


@dataclass(frozen=True, slots=True)
class Listed:
    """A lease that the server says is held."""

    lease: str
    fence: int
    device: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All leases and places of the pool, as the server told them between two moments."""

    sent: float
    answered: float
    leases: tuple[Listed, ...]
    places: tuple[str, ...] = ()  # of those who wait


@dataclass(frozen=True)
class Limits:
    """What the server promises; durations in seconds."""

    seats: int
    bounds: Mapping[
        str, float
    ]  # by kind of client: how long after its holder's end a seat may stay taken
    slack: float = 3.0  # for a machine that is slow, or has other work
    place: float = 0.0  # how long the place of one without a stream is kept that nobody asks for


@dataclass(frozen=True)
class History:
    """All of a run."""

    limits: Limits
    entries: tuple[Entry, ...]  # of the clients
    faults: tuple[Entry, ...] = ()  # of the checker itself
    snapshots: tuple[Snapshot, ...] = ()
    until: float = math.inf  # of a run that still goes on: what comes later is not known


def read_journal(who: str, lines: Iterable[str]) -> list[Entry]:
    """The entries of one journal."""
    found: list[Entry] = []
    texts = list(lines)
    for number, text in enumerate(texts, 1):
        try:
            facts = json.loads(text)
            at, what = float(facts.pop("at")), str(facts.pop("what"))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            if number == len(texts):
                break  # cut by a kill
            raise JournalError(
                f"The journal of {who} has no entry on line {number}: {text!r}."
            ) from error
        found.append(Entry(at, who, what, facts))
    return found


def write_entry(entry: Entry) -> str:
    """An entry as the line of a journal."""
    return json.dumps({"at": entry.at, "what": entry.what, **entry.facts})


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return f"…{text[-8:]}" if "/" in text else text

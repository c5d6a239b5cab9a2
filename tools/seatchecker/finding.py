"""What the checker says: a rule that was broken, and the verdict over a run.

Promises: plain frozen values.

Leaves to others: coming to it (judge, rules), printing it (tools/seatcheck).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from seatchecker.history import Entry


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

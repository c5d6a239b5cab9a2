"""What `keypegd check` found, as values: for its table, its JSON and its exit code.

Promises: a finding that is not good says what to do.

Leaves to others: looking (checking.py, storage/integrity.py), printing (keeping_commands.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Verdict(enum.Enum):
    """How good it is."""

    GOOD = "good"
    SOON = "soon"  # good still, and something has to be done before it is not
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str  # what, in a word or two
    verdict: Verdict
    said: str  # what was found
    advice: str = ""  # what to do next; empty when it is good


def good(check: str, said: str) -> Finding:
    """As it should be."""
    return Finding(check, Verdict.GOOD, said)


def soon(check: str, said: str, advice: str) -> Finding:
    """As it should be, but not for long."""
    return Finding(check, Verdict.SOON, said, advice)


def bad(check: str, said: str, advice: str) -> Finding:
    """Not as it should be."""
    return Finding(check, Verdict.BAD, said, advice)


def verdict_of(check: str, wrong: list[str], said: str, advice: str, shown: int = 3) -> Finding:
    """Good when nothing is wrong; else the first few of what is."""
    if not wrong:
        return good(check, said)
    more = f", and {len(wrong) - shown} more" if len(wrong) > shown else ""
    return bad(check, "; ".join(wrong[:shown]) + more, advice)

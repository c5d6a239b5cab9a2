"""Times as people read them: a few numbers, and a histogram.

Promises: pure; a quantile is a time that was measured, never one between two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

BOUNDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0)
"""The upper ends of the histogram's rows, in seconds; the last row has none."""

WIDTH: Final = 50  # characters of the longest bar


@dataclass(frozen=True)
class Summary:
    """A few numbers, in seconds."""

    count: int
    least: float
    median: float
    p99: float
    most: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Summary:
        """Of at least one time."""
        ordered = sorted(times)
        return cls(
            len(ordered), ordered[0], quantile(ordered, 0.5), quantile(ordered, 0.99), ordered[-1]
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The least time that is no less than this share of them."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def histogram(times: Sequence[float]) -> list[str]:
    """A line for each row that holds anything, and for those between them."""
    rows = [0] * (len(BOUNDS) + 1)
    for time in times:
        rows[sum(time >= bound for bound in BOUNDS)] += 1
    filled = [number for number, count in enumerate(rows) if count]
    lines = []
    for number in range(filled[0], filled[-1] + 1):
        low = BOUNDS[number - 1] if number else 0.0
        label = f"{low:g} to {BOUNDS[number]:g} s" if number < len(BOUNDS) else f"{low:g} s or more"
        bar = "#" * max(bool(rows[number]), round(WIDTH * rows[number] / max(rows)))
        lines.append(f"{label:>15} {rows[number]:>5} {bar}".rstrip())
    return lines

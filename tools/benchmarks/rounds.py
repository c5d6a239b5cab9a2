"""Rounds: loads in turn, again and again, and the medians of what they gave.

Promises: whatever is compared ran in the same rounds, in an order that turns from round to round, so that
a noisy moment of the machine strikes all alike; a ratio is the median of the rounds' own ratios. A run that
other work disturbed may be repeated, and is chosen by that work alone.

Leaves to others: which loads (presence.py, seats.py).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from benchmarks.loads import Load, Sample

DISTURBED: Final = 0.25  # cores of other work: rates are too low then, ratios less so


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float  # of each load in each round
    warm: float = 0.3  # seconds of work before, not counted
    tries: int = 1  # of a run that other work disturbs; the quietest counts


@dataclass(frozen=True)
class Series:
    """The samples of one load, a round each."""

    name: str
    callers: int
    samples: tuple[Sample, ...]

    def median(self, field: str) -> float:
        """The median of one field of the samples."""
        values: list[float] = [getattr(sample, field) for sample in self.samples]
        return statistics.median(values)

    def over(self, floor: Series, field: str = "rate") -> float:
        """How many times the floor's, in the median of the rounds."""
        ratios = [
            getattr(mine, field) / getattr(other, field)
            for mine, other in zip(self.samples, floor.samples, strict=True)
            if getattr(other, field)
        ]
        return round(statistics.median(ratios), 3) if ratios else 0.0

    def as_json(self) -> dict[str, Any]:
        """The medians, and every round."""
        names = [field.name for field in fields(Sample)]
        return {
            "name": self.name,
            "callers": self.callers,
            "median": {name: round(self.median(name), 3) for name in names},
            "rounds": [asdict(sample) for sample in self.samples],
        }


def measure(
    loads: Mapping[str, Load], plan: Plan, rates: Mapping[str, float] | None = None
) -> dict[str, Series]:
    """Run all loads in every round, those with a rate at that; one series for each."""
    samples: dict[str, list[Sample]] = {name: [] for name in loads}
    order = list(loads)
    for _ in range(plan.rounds):
        for name in order:
            rate = (rates or {}).get(name, 0.0)
            samples[name].append(_run(loads[name], plan, rate))
        order = order[1:] + order[:1]
    return {
        name: Series(name, loads[name].work.outstanding, tuple(samples[name])) for name in loads
    }


def _run(load: Load, plan: Plan, rate: float) -> Sample:
    """One sample: the first that is quiet, else the quietest. What it measured itself plays no part."""
    tried: list[Sample] = []
    while len(tried) < plan.tries:
        tried.append(load.run(plan.seconds, plan.warm, rate))
        if tried[-1].other_cores < DISTURBED:
            break
    return min(tried, key=lambda sample: sample.other_cores)

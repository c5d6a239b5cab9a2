"""What was measured, for people: tables in Markdown, ratios, and the goals beside them.

Promises: a number never stands without what it depends on; a rate that the load bounded, and rounds that
other work disturbed, are called so.

Leaves to others: the numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.rounds import DISTURBED

if TYPE_CHECKING:
    from benchmarks.loads import Generator
    from benchmarks.rounds import Plan, Series

LOAD_BOUND: Final = 0.9  # of a core: a load that busy holds the server back
BAR: Final = 24  # characters of the longest bar of a curve
HEADER: Final = ("", "callers", "op/s", "p50 ms", "p99 ms", "CPU s / 10k", "other work")


@dataclass(frozen=True)
class Goal:
    """What a number should be, and what it is."""

    name: str
    goal: float
    measured: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.measured <= self.goal if self.at_most else self.measured >= self.goal

    def as_json(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            "name": self.name,
            "goal": self.goal,
            "at_most": self.at_most,
            "measured": self.measured,
            "met": self.met,
        }


@dataclass(frozen=True)
class Found:
    """What a suite has to say."""

    title: str
    lines: tuple[str, ...]  # Markdown, without the goals
    data: dict[str, Any]
    goals: tuple[Goal, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the JSON."""
        return self.data | {"goals": [goal.as_json() for goal in self.goals]}

    def markdown(self) -> list[str]:
        """For people."""
        return [f"### {self.title}", "", *self.lines]


def conditions(about: dict[str, Any], generator: Generator, plan: Plan) -> list[str]:
    """What the numbers depend on."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    disk = about["disk"]
    lines = [
        f"{about['processor']}, {about['cores']} cores: servers on core {_list(about['used']['server'])}, "
        f"load on {_list(about['used']['load'])}; Linux {about['kernel']}, Python {about['python']}, {versions}, "
        f"SQLite {about['sqlite']}; fdatasync {disk['fdatasync_p50_ms']} ms p50, {disk['fdatasync_p99_ms']} ms p99.",
        f"Load: {generator.name}, {generator.processes} process(es), TLS, every answer checked. Medians of "
        f"{plan.rounds} interleaved rounds of {plan.seconds:g} s"
        + (f", the quietest of up to {plan.tries} tries each" if plan.tries > 1 else "")
        + f". Taken {about['time']}.",
    ]
    if generator.why:
        lines.append(f"The C++ load was not used: {generator.why}")
    if set(about["used"]["server"]) & set(about["used"]["load"]):
        lines.append(
            "ONE CORE: server and load share it; rates say little, CPU per operation holds."
        )
    return lines


def table(series: Iterable[Series]) -> list[str]:
    """One line for each series: its medians."""
    rows = [_row(one) for one in series]
    lines = markdown([HEADER, *rows])
    if any("*" in cell for row in rows for cell in row):
        lines += [
            "",
            "\\* The load bounded the rate, or other work disturbed it: read the CPU and the ratios.",
        ]
    return lines


def _row(one: Series) -> tuple[str, ...]:
    # Of an open loop the rate was asked for: the load may be as busy as it likes.
    busy = one.median("load_cores") >= LOAD_BOUND and not one.samples[0].paced
    database = one.median("database_per_10k")
    return (
        one.name,
        str(one.callers),
        f"{one.median('rate'):,.0f}{_mark(busy)}",
        f"{one.median('p50_ms'):.2f}",
        f"{one.median('p99_ms'):.2f}",
        f"{one.median('cpu_per_10k'):.2f}" + (f" ({database:.2f} database)" if database else ""),
        f"{one.median('other_cores'):.2f}{_mark(one.median('other_cores') >= DISTURBED)}",
    )


def goals_table(goals: Sequence[Goal]) -> list[str]:
    """What should be, and what is."""
    rows = [
        (
            goal.name,
            f"{'at most ' if goal.at_most else ''}{goal.goal:g}",
            f"{goal.measured:g}",
            "met" if goal.met else "**missed**",
        )
        for goal in goals
    ]
    return markdown([("goal", "", "measured", ""), *rows])


def markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; the first row is its head."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    return [line(rows[0]), "|" + "---|" * len(rows[0]), *map(line, rows[1:])]


def bars(values: Sequence[float]) -> list[str]:
    """A curve as text: one bar for each value, the longest for the largest."""
    largest = max(values, default=0.0) or 1.0
    return ["█" * max(1, round(BAR * value / largest)) for value in values]


def _mark(marked: bool) -> str:
    return "*" if marked else ""


def _list(cores: Iterable[int]) -> str:
    return ",".join(map(str, cores))

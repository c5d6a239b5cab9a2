"""What was measured, for people: tables, ratios, and the goals beside them.

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
    from benchmarks.presence import Presence
    from benchmarks.rounds import Plan, Series
    from benchmarks.seats import Seats

LOAD_BOUND: Final = 0.9  # of a core: a load that busy holds the server back
READMIT_SECONDS: Final = 60  # service/conversation.py, READMIT_AFTER
READMITTED: Final = (
    f"; from {READMIT_SECONDS} s on licenses were looked at again meanwhile: for renewals alone, "
    "measure fewer rounds or sessions"
)
HEADER: Final = (
    "",
    "callers",
    "op/s",
    "p50 ms",
    "p99 ms",
    "server CPU s / 10k",
    "server cores",
    "load cores",
    "other work",
)


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
        """For --json."""
        return {
            "name": self.name,
            "goal": self.goal,
            "at_most": self.at_most,
            "measured": self.measured,
            "met": self.met,
        }


def conditions(about: dict[str, Any], generator: Generator, plan: Plan) -> list[str]:
    """What the numbers depend on."""
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    disk = about["disk"]
    lines = [
        f"{about['processor']}, {about['cores']} cores; server on core {_list(about['used']['server'])}, "
        f"load on {_list(about['used']['load'])}; Linux {about['kernel']}",
        f"Python {about['python']}, {versions}",
        f"SQLite {about['sqlite']}, {about['durability']}; fdatasync {disk['fdatasync_p50_ms']} ms p50, "
        f"{disk['fdatasync_p99_ms']} ms p99",
        f"load: {generator.name}, {generator.processes} process(es), TLS, bearer token, every code checked",
        f"{plan.rounds} rounds of {plan.seconds:g} s, interleaved; medians"
        + (f"; the quietest of up to {plan.tries} tries each" if plan.tries > 1 else ""),
    ]
    if generator.why:
        lines.append(f"the C++ load was not used: {generator.why}")
    if set(about["used"]["server"]) & set(about["used"]["load"]):
        lines.append(
            "ONE CORE: server and load share it; rates say little, CPU per operation holds"
        )
    return lines


def presence_lines(found: Presence) -> list[str]:
    """The report of `tools/bench presence`."""
    memory, echo = found.session_memory, found.echo_memory
    echo_series, renewal, signed = found.series
    return [
        f"{found.sessions:,} sessions held over {found.connections} connections, opened at "
        f"{found.opened_per_second:,.0f}/s ({found.open_cpu_ms:.2f} ms of the server's CPU each)",
        f"renewals ended {found.measured_after_s:.0f} s after the first opening"
        + (READMITTED if found.measured_after_s > READMIT_SECONDS else ""),
        f"memory: {memory.per_stream_kib} KiB per session ({memory.opened_kib} when opened, "
        f"{memory.worked_kib} after renewals); {echo.per_stream_kib} KiB per bare echo stream",
        "",
        *table(found.series),
        "",
        f"renewal / bare echo: rate {renewal.over(echo_series):.2f}, "
        f"CPU {renewal.over(echo_series, 'cpu_per_10k'):.2f}; "
        f"signed renewal / bare echo: rate {signed.over(echo_series):.2f}",
        *goal_lines(found.goals),
    ]


def seats_lines(found: Seats) -> list[str]:
    """The report of `tools/bench seats`."""
    ratios = found.as_json()["ratios"]
    return [
        "an operation is one acquire or one release, on disk before its answer",
        "",
        *table(found.series),
        "",
        *(
            f"{callers} callers: stream / bare echo {of['stream_to_echo_rate']:.2f} "
            f"(CPU {of['stream_to_echo_cpu']:.2f}), stream / no-op unary "
            f"{of['stream_to_no_op_rate']:.2f}, unary / no-op unary {of['unary_to_no_op_rate']:.2f} "
            f"(CPU {of['unary_to_no_op_cpu']:.2f})"
            for callers, of in ratios.items()
        ),
        *goal_lines(found.goals),
    ]


def table(series: Iterable[Series]) -> list[str]:
    """One line for each series: its medians."""
    rows = [
        (
            one.name,
            str(one.callers),
            f"{one.median('rate'):,.0f}",
            f"{one.median('p50_ms'):.2f}",
            f"{one.median('p99_ms'):.2f}",
            f"{one.median('cpu_per_10k'):.2f}",
            f"{one.median('server_cores'):.2f}",
            f"{one.median('load_cores'):.2f}{_mark(one.median('load_cores') >= LOAD_BOUND)}",
            f"{one.median('other_cores'):.2f}{_mark(one.median('other_cores') >= DISTURBED)}",
        )
        for one in series
    ]
    lines = _aligned([HEADER, *rows])
    if any("*" in cell for row in rows for cell in row):
        lines.append(
            "* the load bounded the rate, or other work disturbed it: read the CPU and the ratios"
        )
    return lines


def goal_lines(goals: Iterable[Goal]) -> list[str]:
    """What should be, and what is."""
    return [
        f"goal: {goal.name}: {'at most' if goal.at_most else 'at least'} {goal.goal:g}, "
        f"measured {goal.measured:g}: {'met' if goal.met else 'MISSED'}"
        for goal in goals
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _mark(marked: bool) -> str:
    return "*" if marked else ""


def _list(cores: Iterable[int]) -> str:
    return ",".join(map(str, cores))

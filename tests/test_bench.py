"""The measuring program runs from end to end and says well-formed things; how fast anything is, is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from benchmarks import building
from benchmarks.loads import Sample
from benchmarks.report import Goal, table
from benchmarks.rounds import Series
from lab.processes import ROOT


def bench(*arguments: str) -> dict[str, Any]:
    """What `tools/bench` says in JSON."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "bench"), *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def check_series(series: dict[str, Any], rounds: int) -> None:
    """Every round has counted something, and its times make sense."""
    assert len(series["rounds"]) == rounds
    for sample in series["rounds"]:
        assert sample["operations"] > 0
        assert sample["rate"] == pytest.approx(sample["operations"] / sample["seconds"], rel=0.5)
        assert 0 < sample["p50_ms"] <= sample["p99_ms"]
    assert series["median"].keys() == series["rounds"][0].keys()


@pytest.mark.system
def test_the_bench_measures_presence_and_seats_beside_the_floor() -> None:
    found = bench(
        "all",
        *("--load", "python", "--rounds", "2", "--seconds", "0.2"),
        *("--sessions", "8", "--callers", "2"),
    )

    conditions = found["conditions"]
    assert conditions["load"]["name"] == "Python"
    assert "FULL" in conditions["durability"]
    assert conditions["disk"]["fdatasync_p50_ms"] > 0

    presence = found["presence"]
    assert [one["name"] for one in presence["series"]] == ["bare echo", "renewal", "signed renewal"]
    assert presence["sessions"] == 8
    assert presence["ratios"]["renewal_to_echo_rate"] > 0

    seats = found["seats"]
    kinds = ["bare echo", "seat, stream", "no-op, unary", "seat, unary"]
    assert [(one["name"], one["callers"]) for one in seats["series"]] == [
        (kind, 2) for kind in kinds
    ]
    assert seats["ratios"].keys() == {"2"}

    for series in (*presence["series"], *seats["series"]):
        check_series(series, rounds=2)
    for goal in (*presence["goals"], *seats["goals"]):
        assert goal["met"] is (
            goal["measured"] <= goal["goal"]
            if goal["at_most"]
            else goal["measured"] >= goal["goal"]
        )


def test_a_machine_without_a_compiler_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(building.ToolMissing, match=r"no-such-compiler.*libgrpc\+\+-dev"):
        building.build()


def sample(rate: float, *, load_cores: float = 0.4, other_cores: float = 0.0) -> Sample:
    """A round with this rate."""
    return Sample(
        operations=100,
        seconds=1.0,
        rate=rate,
        p50_ms=1.0,
        p99_ms=2.0,
        cpu_per_10k=10_000 / rate,
        server_cores=1.0,
        load_cores=load_cores,
        other_cores=other_cores,
    )


def test_a_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    floor = Series("floor", 1, tuple(sample(rate) for rate in (100, 200, 1_000)))
    mine = Series("mine", 1, tuple(sample(rate) for rate in (50, 120, 100)))
    assert mine.over(floor) == 0.5
    assert mine.over(floor, "cpu_per_10k") == 2.0


@pytest.mark.parametrize(
    ("busy", "marked"),
    [({}, False), ({"load_cores": 0.95}, True), ({"other_cores": 0.5}, True)],
    ids=["quiet", "the load was busy", "others were busy"],
)
def test_a_table_marks_what_held_the_server_back(busy: dict[str, float], marked: bool) -> None:
    lines = table([Series("renewal", 64, (sample(100, **busy),))])
    assert any("*" in line for line in lines) is marked


@pytest.mark.parametrize(("measured", "met"), [(31.9, True), (32, True), (32.1, False)])
def test_memory_is_to_stay_below_its_goal(measured: float, met: bool) -> None:
    assert Goal("memory", 32, measured, at_most=True).met is met


@pytest.mark.parametrize(("measured", "met"), [(0.59, False), (0.6, True), (0.7, True)])
def test_a_rate_is_to_reach_its_goal(measured: float, met: bool) -> None:
    assert Goal("rate", 0.6, measured).met is met

"""The measuring program runs from end to end and says well-formed things; how fast anything is, is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import building, etcd
from benchmarks.hostile import ATTACKS
from benchmarks.loads import Sample
from benchmarks.report import Goal, bars, table
from benchmarks.rounds import Series
from benchmarks.suite import Missing
from benchmarks.together import combined
from lab.processes import ROOT


def bench(out: Path, *arguments: str, timeout: float = 120) -> dict[str, Any]:
    """What `tools/bench` says in JSON."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "bench"), *arguments, "--json", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=timeout,
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


def check_goals(goals: list[dict[str, Any]]) -> None:
    """They say of themselves what is true."""
    for goal in goals:
        assert goal["met"] is (
            goal["measured"] <= goal["goal"]
            if goal["at_most"]
            else goal["measured"] >= goal["goal"]
        )


@pytest.mark.system
@pytest.mark.long
@pytest.mark.alone
def test_the_bench_measures_presence_and_seats_beside_the_floor(tmp_path: Path) -> None:
    found = bench(
        tmp_path,
        *("presence", "seats"),
        *("--load", "python", "--rounds", "2", "--seconds", "0.2"),
        *("--sessions", "8", "--callers", "2"),
    )

    conditions = found["conditions"]
    assert conditions["load"]["name"] == "Python"
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
    check_goals([*presence["goals"], *seats["goals"]])
    kept = json.loads((tmp_path / "seats.json").read_text())
    assert kept["seats"] == seats


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.system
def test_every_suite_of_the_bench_goes_through(tmp_path: Path) -> None:
    found = bench(tmp_path, "--quick", timeout=400)
    for name in ("presence", "seats", "postgres", "held", "waiting", "growth", "servers"):
        assert "missing" not in found[name], found[name]
        check_goals(found[name]["goals"])
    waiting = found["waiting"]["series"]
    assert [one["name"] for one in waiting] == ["1", "20"]
    for series in (*waiting, *found["held"]["series"], *found["postgres"]["series"]):
        check_series(series, rounds=2)
    points = [(one["live"], one["past"]) for one in found["growth"]["points"]]
    assert points == [(0, 0), (1, 0), (10, 0), (100, 0), (0, 10), (0, 100), (0, 1_000)]
    assert len(found["servers"]["takeover_seconds"]) == 1
    assert found["servers"]["told"]["missing"] == 0
    assert "missing" in found["peers"] or found["peers"]["ratios"]["stream_to_txn"]["rate"] > 0


def test_an_unknown_suite_is_refused_with_those_there_are() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "bench"), "sets"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "no suite sets" in done.stderr
    assert "seats" in done.stderr


def test_a_machine_without_etcd_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Missing, match="etcd-server"):
        etcd.program()


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


def test_loads_at_the_same_time_count_as_one_with_their_database_once() -> None:
    of_each = replace(sample(100), cpu_per_10k=300.0, database_per_10k=100.0)
    both = combined([of_each, of_each])
    assert both.operations == 200
    assert both.rate == 200
    assert both.database_per_10k == 50.0
    assert both.cpu_per_10k == 250.0


def test_a_pace_is_not_held_back_by_a_busy_load() -> None:
    paced = Series("paced", 1, (replace(sample(100, load_cores=1.0), paced=True),))
    assert not any("*" in line for line in table([paced]))


def test_bars_are_as_long_as_their_values_are_large() -> None:
    assert [len(bar) for bar in bars([1.0, 2.0, 4.0])] == [6, 12, 24]


@pytest.mark.system
@pytest.mark.long
@pytest.mark.alone
def test_the_bench_measures_honest_users_beside_hostile_ones(tmp_path: Path) -> None:
    try:
        building.build()
    except building.ToolMissing as missing:
        pytest.skip(str(missing))
    found = bench(tmp_path, "hostile", "--quick", "--rounds", "1")["hostile"]
    scenes = found["scenes"]
    assert list(scenes) == ["quiet", *ATTACKS]
    for scene in scenes.values():
        assert all(sample["operations"] > 0 for one in scene["rounds"].values() for sample in one)
        assert scene["memory_mib"][0] > 0
    assert scenes["calls"]["came_of_it"]["TOKEN_INVALID"] > 0
    assert scenes["half-open"]["came_of_it"]["connected"] >= scenes["half-open"]["at_once"]
    assert found["times_quiet"]["quiet"] == {"call": 1.0, "renewal": 1.0}
    check_goals(found["goals"])

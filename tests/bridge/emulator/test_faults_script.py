"""Scripts of faults: read, drawn from a seed, run by the clock."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults_script import Script
from tests.bridge.emulator.lab_keys import KeyLaboratory

SCRIPT = """
seed = 7

[[step]]
at = 2.0
fault = "unplug"
seconds = [0.5, 2.0]

[[step]]
after = 1
key = ["key-1", "key-2"]
fault = ["corrupt", "truncate"]
count = [1, 3]

[[step]]
every = [5, 15]
fault = "slow"
key = "key-1"
delay = 0.2
"""


def moments(script: Script, seed: str, count: int = 30) -> list[tuple[float, int, dict[str, Any]]]:
    return [(m.at, m.step, m.fault.to_json()) for m in islice(script.moments(seed), count)]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    return Script.load(path)


@pytest.mark.behaviour("KEY-11")
def test_the_same_seed_gives_the_same_faults_in_the_same_order(script: Script) -> None:
    assert script.seed == "7"
    assert moments(script, "7") == moments(script, "7")
    assert len({str(moments(script, str(seed))) for seed in range(20)}) == 20


def test_times_and_values_are_within_what_the_script_says(script: Script) -> None:
    for seed in range(50):
        first, second, *rest = moments(script, str(seed), 6)
        assert (first[0], first[2]["fault"]) == (2.0, "unplug")
        assert 0.5 <= first[2]["seconds"] <= 2
        assert second[0] == 3.0
        assert second[2]["fault"] in ("corrupt", "truncate")
        assert second[2]["key"] in ("key-1", "key-2")
        assert second[2]["count"] in (1, 2, 3)
        times = [0.0, *(at for at, _, _ in rest)]
        assert all(5 <= b - a <= 15.001 for a, b in pairwise(times))


def test_a_step_draws_the_same_whatever_stands_beside_it() -> None:
    one = {"every": [1, 9], "fault": "stall", "count": [1, 99], "times": 9}
    alone = moments(Script.read({"step": [one]}), "x")
    beside = moments(
        Script.read({"step": [one, {"every": 0.5, "fault": "plug", "times": 99}]}), "x", 99
    )
    assert [m for m in beside if m[1] == 1] == alone


def test_every_ends_after_its_times() -> None:
    script = Script.read({"step": [{"every": 2, "times": 3, "fault": "plug"}]})
    assert [m.at for m in script.moments("s")] == [2, 4, 6]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "step must be a list of 1 to 10,000 steps"),
        ({"step": {}}, "step must be a list"),
        ({"step": [3]}, "Step 1: It must be a table."),
        ({"seed": 1.5, "step": []}, "seed is 1.5"),
        ({"steps": []}, "A script has seed and step, and no 'steps'."),
        ({"step": [{"fault": "plug"}]}, "Step 1: It must have one of at, after and every."),
        ({"step": [{"at": 1, "every": 1, "fault": "plug"}]}, "It must have one of at"),
        ({"step": [{"at": -1, "fault": "plug"}]}, "a time is -1; it must be a number from 0 to 86,400."),
        ({"step": [{"at": [3, 1], "fault": "plug"}]}, "[3, 1] is neither two numbers, the smaller first"),
        ({"step": [{"every": 0, "fault": "plug"}]}, "every must be at least 0.001 seconds."),
        ({"step": [{"every": [0, 5], "fault": "plug"}]}, "every must be at least 0.001 seconds."),
        ({"step": [{"at": 0, "times": 2, "fault": "plug"}]}, "times belongs to every."),
        ({"step": [{"every": 1, "times": 0, "fault": "plug"}]}, "times is 0"),
        ({"step": [{"at": 0}]}, "There is no fault None."),
        ({"step": [{"at": 0, "fault": []}]}, "A list of what to choose from must not be empty."),
        ({"step": [{"at": 0, "fault": ["plug", "pluck"]}]}, "There is no fault 'pluck'."),
        ({"step": [{"at": 0, "fault": ["stall", "plug"], "count": 1}]}, "The fault plug has no parameter 'count'."),
        ({"step": [{"at": 0, "fault": "stall", "count": [1, 2.5]}]}, "count is 2.5"),
        ({"step": [{"at": 0, "fault": "stall", "interface": ["card", "usb"]}]}, "interface is 'usb'"),
        ({"step": [{"at": 0, "fault": "plug", "key": [1]}]}, "key is 1"),
        ({"step": [{"at": 0, "fault": "stall", "count": [True, 3]}]}, "is neither two numbers"),
    ],
)  # fmt: skip
def test_a_broken_script_gets_a_sentence(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(EmulatorError, match=re.escape(said)):
        Script.read(raw)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[[step]\n", "is no TOML"),
        (b"\xff", "is no TOML"),
        (b"", "cannot be used. step must be a list"),
        (b"#" * 1_000_001, "is larger than 1,000,000 bytes"),
    ],
    ids=["toml", "bytes", "empty", "large"],
)
def test_a_broken_file_is_named(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "script.toml"
    path.write_bytes(text)
    with pytest.raises(EmulatorError, match=re.escape(said)) as caught:
        Script.load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(EmulatorError, match="Cannot read the script"):
        Script.load(tmp_path / "other.toml")


TIMES = st.sampled_from([0, 1, 2.5, [1, 2], [0.1, 0.2], [2, 1], "1", None, [1], ["a"], True])
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    ["stall", "plug", ["stall", "slow"], 1, 0.5, [1, 2], [], "key-1", None, True, {}]
)
STEPS = st.dictionaries(
    st.sampled_from(["fault", "key", "count", "seconds", "interface"]), VALUES, max_size=4
)


@given(st.lists(st.tuples(st.sampled_from(["at", "after", "every"]), TIMES, STEPS), max_size=4))
def test_whatever_is_read_can_be_drawn(raw: list[tuple[str, Any, dict[str, Any]]]) -> None:
    try:
        script = Script.read({"step": [{**step, when: time} for when, time, step in raw]})
    except EmulatorError:
        return
    drawn = list(islice(script.moments("s"), 20))
    assert drawn
    assert [m.at for m in drawn] == sorted(m.at for m in drawn)


# Running


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[KeyLaboratory]:
    made = KeyLaboratory(tmp_path, 2)
    yield made
    made.close()


def played(folder: Path, seed: str) -> list[dict[str, Any]]:
    folder.mkdir()
    lab = KeyLaboratory(folder, 2)
    lab.run(
        {
            "step": [
                {"every": [1, 3], "fault": ["unplug", "stall"], "seconds": [0.1, 5], "key": ["key-1", "key-2"], "times": 20},
                {"at": 4, "fault": "clone", "mode": "forged", "key": "key-1"},
            ]
        },
        seed,
    )  # fmt: skip
    lab.clock.advance(100)
    history = list(lab.board.history)
    lab.close()
    return history


@pytest.mark.behaviour("KEY-11")
def test_a_script_does_the_same_each_time_it_is_run_from_a_seed(tmp_path: Path) -> None:
    first = played(tmp_path / "first", "1")
    assert len([one for one in first if one["did"] == "began"]) == 21
    assert played(tmp_path / "again", "1") == first
    assert played(tmp_path / "other", "2") != first


def test_a_fault_that_can_not_begin_is_noted_and_the_script_goes_on(lab: KeyLaboratory) -> None:
    lab.run(
        {
            "step": [
                {"at": 1, "fault": "stall", "key": "key-9"},
                {"at": 2, "fault": "unplug", "key": "key-2"},
            ]
        },
        "s",
    )
    assert lab.runner.status() == {"running": True, "seed": "s", "done": 0, "next_at": 1}
    lab.clock.advance(5)
    refused, began = lab.board.history
    assert refused["did"] == "refused"
    assert refused["error"] == "There is no key 'key-9'. There are key-1, key-2."
    assert (began["at"], began["did"], began["key"]) == (2, "began", "key-2")
    assert lab.runner.status() == {"running": False, "seed": "s", "done": 2, "next_at": None}


def test_one_script_runs_at_a_time_and_can_be_stopped(lab: KeyLaboratory) -> None:
    forever = {"step": [{"every": 1, "fault": "unplug", "key": "key-1"}]}
    lab.run(forever, "s")
    with pytest.raises(EmulatorError, match="A script runs already"):
        lab.run(forever, "s")
    lab.clock.advance(1)
    lab.runner.stop()
    lab.clock.advance(10)
    assert lab.did() == [(1, "began", "unplug", "key-1")]
    lab.run(forever, "s")
    assert lab.runner.status()["running"]

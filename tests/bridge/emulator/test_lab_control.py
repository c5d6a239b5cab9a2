"""The control socket's commands: every request is answered or refused with a sentence; scripts run in the process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keypeg.testing.lab_processes import wait_until
from keypeg_bridge.emulator import control
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults import KINDS
from keypeg_bridge.emulator.serving import Laboratory
from tests.bridge.emukey import Emukey, running
from tests.bridge.emulator.lab_keys import KeyLaboratory

SCRIPT = """
[[step]]
every = 0.01
times = 8
fault = ["slow", "corrupt"]
key = ["key-1", "key-2"]
count = [1, 9]

[[step]]
at = 0.2
fault = "unplug"
key = "key-1"
seconds = 86400
"""


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[KeyLaboratory]:
    made = KeyLaboratory(tmp_path, 2)
    yield made
    made.close()


@pytest.fixture
def lab(keys: KeyLaboratory) -> Laboratory:
    return Laboratory(keys.keys, keys.board, keys.runner, {"emulated": True})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 99) | st.floats() | st.sampled_from(["key-1", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
COMMANDS = st.sampled_from(
    ["plug", "unplug", "touch", "status", "fault", "faults", "clear", "script", "history", "else"]
)
FIELDS = st.sampled_from(["key", "fault", "seconds", "number", "script", "seed", "stop", "mode"])


@pytest.mark.behaviour("KEY-14")
def test_any_request_is_answered_or_gets_a_sentence(lab: Laboratory, keys: KeyLaboratory) -> None:
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(COMMANDS, st.dictionaries(FIELDS, JSON | st.sampled_from(list(KINDS)), max_size=4))
    def ask(command: str, request: dict[str, Any]) -> None:
        try:
            answer = lab.handle(command, request)
        except EmulatorError as error:
            assert str(error)  # noqa: PT017 - either is right
        else:
            json.dumps(answer)
        keys.board.clear()
        keys.runner.stop()

    ask()
    status = lab.handle("status", {})
    assert [key["key"] for key in status["keys"]] == ["key-1", "key-2"]


def test_a_fault_is_listed_with_its_number_until_it_is_cleared(lab: Laboratory) -> None:
    begun = lab.handle("fault", {"fault": "stall", "key": "key-2", "count": 3})["fault"]
    assert lab.handle("faults", {})["faults"] == [begun]
    assert begun == {
        "number": begun["number"], "fault": "stall", "key": "key-2",
        "interface": "both", "count": 3, "skip": 0, "hits": 0,
    }  # fmt: skip
    assert lab.handle("status", {})["faults"] == 1
    assert lab.handle("clear", {"number": begun["number"]})["faults"] == [begun]
    assert lab.handle("faults", {})["faults"] == []


def played(folder: Path, seed: str) -> list[dict[str, Any]]:
    """What a process does with the script, from its start on."""
    folder.mkdir()
    script = folder / "script.toml"
    script.write_text(SCRIPT)
    with running(folder, "--keys", "2", "--script", str(script), "--seed", seed) as emukey:
        assert emukey.ready["script_seed"] == seed
        assert [key["key"] for key in emukey.ready["keys"]] == ["key-1", "key-2"]
        assert wait_until(lambda: not emukey.status()["script"]["running"], 20)
        history = control.call(emukey.control, "history")["history"]
        assert not emukey.status()["keys"][0]["plugged"]
    return [{name: value for name, value in one.items() if name != "at"} for one in history]


@pytest.mark.behaviour("KEY-11")
def test_a_process_does_the_same_each_time_from_a_seed(tmp_path: Path) -> None:
    first = played(tmp_path / "first", "7")
    assert len(first) == 9
    assert played(tmp_path / "again", "7") == first
    assert played(tmp_path / "other", "8") != first


def ctl(emukey: Emukey, *words: str) -> subprocess.CompletedProcess[str]:
    code = "from keypeg_bridge.emulator.main import main; main()"
    command = [sys.executable, "-c", code, "ctl", "--control", str(emukey.control), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_faults_from_the_command_line(emukey: Emukey) -> None:
    begun = ctl(emukey, "fault", "slow", "delay=0.5", "interface=card")
    assert begun.returncode == 0, begun.stderr
    fault = json.loads(begun.stdout)["fault"]
    assert (fault["fault"], fault["delay"], fault["interface"]) == ("slow", 0.5, "card")
    refused = ctl(emukey, "fault", "slow", "delay=soon")
    assert refused.returncode == 1
    assert "delay is 'soon'; it must be a number from 0.001 to 86,400." in refused.stderr
    assert ctl(emukey, "fault").returncode == 2
    assert ctl(emukey, "clear", "5").returncode == 2

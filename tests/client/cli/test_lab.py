"""`keypeg key lab`: a laboratory in the background, from its start to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from keypeg.testing import lab_processes
from tests.client.cli.conftest import CommandLine

SCRIPT = """
[[step]]
at = 0
fault = ["stall", "slow"]
key = "key-2"
"""


@pytest.fixture
def lab(nowhere: CommandLine) -> Iterator[CommandLine]:
    """A command line whose laboratory ends with the test."""
    yield nowhere
    assert nowhere("key", "lab", "stop").exit_code == 0


@pytest.mark.system
@pytest.mark.behaviour("KEY-11")
def test_a_laboratory_is_one_command_and_fails_on_command(lab: CommandLine, tmp_path: Path) -> None:
    started = lab.json("key", "lab", "start", "--keys", "2", "--seed", "7")
    assert started["bridge"].startswith("unix:/")
    listed = lab.json("--bridge", started["bridge"], "key", "list")
    assert [key["emulated"] for key in listed] == [True, True]

    again = lab("key", "lab", "start")
    assert again.exit_code == 1
    assert "A laboratory runs in" in again.stderr
    assert "keypeg key lab stop" in again.stderr

    stall = lab.json("key", "lab", "fault", "stall", "seconds=60", "--key", "key-2")
    assert (stall["key"], stall["seconds"]) == ("key-2", 60)
    lab.json("key", "lab", "fault", "pin", "mode=blocked", "--key", "key-1")
    assert lab("key", "lab", "unplug", "key-1").exit_code == 0
    first, second = lab.json("key", "lab", "status")["keys"]
    assert [fault["fault"] for fault in first["faults"]] == ["pin", "unplug"]
    assert [fault["number"] for fault in second["faults"]] == [stall["number"]]
    assert (first["plugged"], second["plugged"]) == (False, True)
    table = lab("key", "lab", "status").stdout
    assert "stall seconds=60.0" in table
    assert started["bridge"] in table
    assert lab("key", "lab", "plug", "key-1").exit_code == 0
    assert lab("key", "lab", "touch", "key-1").exit_code == 0
    assert [f["fault"] for f in lab.json("key", "lab", "clear", str(stall["number"]))] == ["stall"]
    assert [f["fault"] for f in lab.json("key", "lab", "clear")] == ["pin"]

    script = tmp_path / "script.toml"
    script.write_text(SCRIPT)
    ran = lab("key", "lab", "script", str(script), "--seed", "3")
    assert ran.stderr == "The script runs from seed 3.\n"
    assert lab("key", "lab", "script", "--stop").exit_code == 0
    did = [(one["did"], one["fault"]) for one in lab.json("key", "lab", "history")]
    assert did[:3] == [("began", "stall"), ("began", "pin"), ("began", "unplug")]
    assert "unplug" in lab("key", "lab", "history").stdout

    licensed = lab.json("key", "lab", "license", "cad", "--key", "key-1")
    assert licensed["root"] == started["root"]
    carried = lab.json("--bridge", started["bridge"], "key", "list")
    assert sorted(len(key["licenses"]) for key in carried) == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("status",), 1, "No laboratory runs in"),
        (("fault", "stall"), 1, "Start one: keypeg key lab start"),
        (("fault", "stall", "seconds"), 2, "'seconds' is not NAME=VALUE, for example seconds=5."),
        (("script",), 2, "Name a script, or give --stop."),
        (("start", "--keys", "99"), 2, "99 is not in the range"),
    ],
)
def test_what_can_not_be_done_gets_a_sentence(
    nowhere: CommandLine, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = nowhere("key", "lab", *arguments)
    assert result.exit_code == code
    assert said in result.stderr


def test_without_the_bridge_it_says_what_to_install(
    nowhere: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {"bridge": ("keypeg_bridge", "no_such_module"), "server": ()}
    monkeypatch.setattr(lab_processes, "_PARTS", parts)
    result = nowhere("key", "lab", "start")
    assert result.exit_code == 1
    assert "there is no module no_such_module" in result.stderr
    assert "pip install 'keypeg[bridge]'" in result.stderr


def test_what_is_left_of_a_laboratory_that_died_is_cleared_away(
    nowhere: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    gone = {"pid": 2**22 + 1, "began": "1"}
    (folder / "lab.json").write_text(
        json.dumps({"sockets": str(sockets), "bridge": "b", "usbip": "u", "processes": [gone]})
    )
    assert nowhere("key", "lab", "status", "--folder", str(folder)).exit_code == 1
    assert nowhere("key", "lab", "stop", "--folder", str(folder)).exit_code == 0
    assert not sockets.exists()
    (folder / "lab.json").write_text("[]")
    damaged = nowhere("key", "lab", "status", "--folder", str(folder))
    assert "is damaged. Move it away." in damaged.stderr

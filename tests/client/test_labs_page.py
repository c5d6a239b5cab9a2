"""docs/labs.md says what is there: its workflow and its tests run as an app's would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from keypeg.testing.lab import KeyLab
from keypeg.testing.lab_faults import Faults

TEXT = (Path(__file__).parents[2] / "docs" / "labs.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def run_tests(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a folder that knows nothing of this project's tests, nor of this user's keypeg."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYPEG_")}
    (folder / "pytest.ini").write_text("[pytest]\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.system
@pytest.mark.behaviour("KEY-11")
@pytest.mark.long
def test_the_workflow_and_the_tests_of_the_page_run(tmp_path: Path) -> None:
    (workflow,) = blocks("yaml")
    *_, install, last = re.findall(r"- run: (.*)", workflow)
    assert install == "pip install . 'keypeg[bridge]' pytest"
    program, *arguments = last.split()
    assert program == "pytest"
    assert len(workflow.splitlines()) <= 10

    examples = [block for block in blocks("python") if "def test_" in block]
    for number, example in enumerate(examples):
        (tmp_path / f"test_{number}.py").write_text(example)
    # The page's app is of a publisher of its own.
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        "from keypeg.testing.seat_server import SeatServer\n"
        '@pytest.fixture(scope="session")\n'
        "def keypeg_seat_server():\n"
        '    with SeatServer("acme") as server:\n'
        "        yield server\n"
    )
    (tmp_path / "test_resets.py").write_text(RESETS)
    done = run_tests(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


# Every test begins with keys that work, whatever the one before did to them.
RESETS = """
import os

def test_one(key_lab):
    key_lab.unplug()
    key_lab.stall()
    key_lab.clone()
    steps = [{"every": 0.001, "fault": "slow", "key": "key-1"}]
    assert key_lab.script(steps, seed=1)["running"]

def test_two(key_lab):
    assert os.environ["KEYPEG_BRIDGE"] == key_lab.bridge
    assert key_lab.faults == []
    assert not key_lab.ask("status")["script"]["running"]
    (key,) = key_lab.keys
    assert key.status["plugged"]
    assert key.seen().serial == key.serial
"""


def test_the_plugin_is_asked_for() -> None:
    from importlib.metadata import entry_points

    assert not [one for one in entry_points(group="pytest11") if one.value.startswith("keypeg")]
    code = "import keypeg.testing, sys; print('pytest' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"


def test_every_method_of_a_laboratory_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)", TEXT))
    members = {name for kind in (KeyLab, Faults) for name in vars(kind) if name[0] != "_"}
    ours = {"ask", "issuer", "to_json", "find", "start_keys", "start_bridge", "running", "control"}
    assert members - ours - {"start", "stop"} <= named | {"usbip"}


def test_the_files_of_the_page_are_toml() -> None:
    script, keys = (tomllib.loads(block) for block in blocks("toml"))
    assert [set(step) & {"at", "after", "every"} for step in script["step"]] == [
        {"at"},
        {"after"},
        {"every"},
    ]
    assert [key.get("profile", "token") for key in keys["key"]] == ["token", "standard"]

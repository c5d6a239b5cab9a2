"""What is delivered for systemd and udev: units that systemd takes and calls safe, and rules that the pages tell of."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from keypeg_bridge.transport.permissions import UDEV_RULE
from lab.processes import BIN

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "packaging"
BRIDGE = ROOT / "bridge" / "packaging"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(
    ANALYZE is None, reason="NOT CHECKED: the systemd units. Install systemd, for systemd-analyze."
)
UNITS = [
    pytest.param(SERVER / "keypegd.service", "--system", 15, id="keypegd"),
    # A user's service: it always runs as "root" of its own namespace, and its keys are devices.
    pytest.param(BRIDGE / "keypeg-bridge.service", "--user", 30, id="keypeg-bridge"),
]


def analyze(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """systemd-analyze; a user's manager wants a runtime directory to be named."""
    assert ANALYZE is not None
    return subprocess.run(
        [ANALYZE, "--no-pager", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )


@needs_systemd
@pytest.mark.parametrize(("unit", "manager", "most"), UNITS)
def test_systemd_takes_the_unit_without_a_word(
    tmp_path: Path, unit: Path, manager: str, most: int
) -> None:
    here = tmp_path / unit.name
    text = unit.read_text()
    assert "/opt/keypeg/bin/" in text
    here.write_text(text.replace("/opt/keypeg/bin", str(BIN)))
    done = analyze(tmp_path, "verify", manager, "--man=no", str(here))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize(("unit", "manager", "most"), UNITS)
def test_systemd_calls_the_unit_safe(tmp_path: Path, unit: Path, manager: str, most: int) -> None:
    done = analyze(
        tmp_path, "security", manager, "--offline=true", f"--threshold={most}", str(unit)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level" in done.stdout


def test_the_rules_have_the_name_that_the_bridge_tells_and_act_before_the_seat_is_asked() -> None:
    rules = BRIDGE / UDEV_RULE
    lines = [line for line in rules.read_text().splitlines() if line and line[0] != "#"]
    assert lines
    assert all(line.endswith('TAG+="uaccess"') for line in lines)
    assert rules.name < "73-seat-late.rules"
    page = (ROOT / "docs" / "bridge.md").read_text()
    missing = [line for line in lines if line not in page]
    assert not missing, f"docs/bridge.md does not show {missing}"

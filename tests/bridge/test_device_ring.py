"""The tests for keys in somebody's hand, tried on the emulated key by the same entry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bridge.emukey import Emukey

ROOT = Path(__file__).resolve().parents[2]


def device_tests(serial: str, *options: str) -> tuple[int, str]:
    words = [
        sys.executable, "-m", "pytest", "tests/device", "-q", "-p", "no:cacheprovider",
        f"--device={serial}", *options,
    ]  # fmt: skip
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout


@pytest.mark.long
@pytest.mark.parametrize("driver", ["piv", "smartkey", "fido2"])
def test_they_pass_on_an_emulated_key(emukey: Emukey, driver: str) -> None:
    where = (f"--device-backend={emukey.backend}", f"--device-driver={driver}")
    status, said = device_tests(emukey.ready["serial"], *where, "--device-erase")
    assert status == 0, said
    assert "a proof: median" in said
    assert "4 passed" in said or "3 passed, 1 skipped" in said


@pytest.mark.long
def test_they_change_nothing_unless_allowed_and_speak_to_no_other_key(emukey: Emukey) -> None:
    before = emukey.state.read_text()
    status, said = device_tests(emukey.ready["serial"], f"--device-backend={emukey.backend}")
    assert status == 0, said
    assert "2 skipped" in said
    assert emukey.state.read_text() == before
    status, said = device_tests("0000000000", f"--device-backend={emukey.backend}")
    assert status == 2
    assert "No key with serial 0000000000" in said
    assert emukey.ready["serial"] in said

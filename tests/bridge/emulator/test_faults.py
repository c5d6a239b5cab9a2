"""The table of faults, and what is said about faults that are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.emulator import key_specs
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults import KINDS, Fault
from keypeg_bridge.emulator.faults_script import Script

ROOT = Path(__file__).resolve().parents[3]


def test_a_fault_reads_back_from_its_json() -> None:
    for name in KINDS:
        fault = Fault.read({"fault": name, "key": "key-1"})
        assert Fault.read(fault.to_json()) == fault


def test_what_is_left_out_has_its_default() -> None:
    fault = Fault.read({"fault": "slow"})
    assert (fault.number("delay"), fault.whole("count"), fault.text("interface")) == (
        1,
        None,
        "both",
    )


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "There is no fault None. There are unplug, plug"),
        ({"fault": "explode"}, "There is no fault 'explode'"),
        ({"fault": ["stall"]}, "There is no fault ['stall']"),
        ({"fault": "stall", "key": 3}, "key is 3; it must be a key's name"),
        ({"fault": "plug", "seconds": 3}, "The fault plug has no parameter 'seconds'. It has none but key."),
        ({"fault": "stall", "secnds": 3}, "has no parameter 'secnds'. It has interface, count, skip, seconds."),
        ({"fault": "stall", "seconds": -1}, "seconds is -1; it must be a number from 0.001 to 86,400."),
        ({"fault": "stall", "seconds": 10**400}, "seconds is 1000"),
        ({"fault": "stall", "seconds": True}, "seconds is True"),
        ({"fault": "stall", "seconds": "3"}, "seconds is '3'"),
        ({"fault": "stall", "seconds": float("nan")}, "seconds is nan"),
        ({"fault": "stall", "count": 1.5}, "count is 1.5; it must be a whole number from 1 to 1,000,000."),
        ({"fault": "stall", "interface": "usb"}, "interface is 'usb'; it must be card or fido or both."),
        ({"fault": "clone", "swap": 1}, "swap is 1; it must be true or false."),
        ({"fault": "rollback", "to": ""}, "to is ''; it must be a name."),
    ],
)  # fmt: skip
def test_what_is_no_fault_gets_a_sentence(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(EmulatorError, match=re.escape(said)):
        Fault.read(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
NAMES = st.sampled_from([p.name for kind in KINDS.values() for p in kind.parameters] + ["key"])


@given(st.sampled_from(list(KINDS)) | JSON, st.dictionaries(NAMES, JSON, max_size=3))
def test_anything_else_is_a_fault_or_a_sentence(kind: Any, values: dict[str, Any]) -> None:
    try:
        fault = Fault.read({**values, "fault": kind})
    except EmulatorError:
        return
    assert set(fault.values) == {one.name for one in KINDS[fault.kind].parameters}


def test_the_page_for_laboratories_lists_every_fault_and_parameter() -> None:
    text = (ROOT / "docs" / "labs.md").read_text()
    for kind in KINDS.values():
        parameters = ", ".join(
            f"`{one.name}`" if one.default is None else f"`{one.name}` ({_written(one.default)})"
            for one in kind.parameters
        )
        assert f"| `{kind.name}` | {kind.says} | {parameters} |" in text


def _written(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else f"{default}".removesuffix(".0")


def test_the_files_of_the_page_are_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "labs.md").read_text()
    script, keys = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "script.toml").write_text(script)
    (tmp_path / "keys.toml").write_text(keys)
    assert len(Script.load(tmp_path / "script.toml").steps) == 3
    assert len(key_specs.load(tmp_path / "keys.toml", None)) == 2

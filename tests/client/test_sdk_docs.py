"""docs/sdk.md says what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import keypeg
from keypeg import events, session
from keypeg.session_state import TRANSITIONS
from keypeg.testing import StandInHost

TEXT = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text()


def test_the_table_of_states_is_the_one_in_the_code():
    printed = [
        f"| {state.value} | {happening.value} | {following.value} |"
        for (state, happening), following in TRANSITIONS.items()
    ]
    assert "\n".join(printed) in TEXT


def test_every_argument_member_and_event_is_named():
    named = set(re.findall(r"`([A-Za-z_]+)", TEXT))
    arguments = set(inspect.signature(keypeg.open_session).parameters)
    members = {name for name in vars(session.Session) if not name.startswith("_")}
    members -= {"product"}  # told as an argument
    seats = {name for name in vars(session.Seat) if not name.startswith("_")}
    kinds = {
        name
        for name, value in vars(events).items()
        if isinstance(value, type) and issubclass(value, events.Event) and value is not events.Event
    }
    assert arguments | members | seats | kinds <= named


def test_every_fault_of_the_stand_in_host_is_there():
    faults = re.search(r"Its faults: (.*?)\.", TEXT, re.DOTALL)
    assert faults
    for name in re.findall(r"`(\w+)`", faults[1]):
        assert hasattr(StandInHost("x"), name)


def test_the_example_for_the_tests_of_an_app_works(monkeypatch, tmp_path):
    monkeypatch.setenv("KEYPEG_CONFIG_DIR", str(tmp_path))
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (example,) = [block for block in blocks if "def test_" in block]
    namespace: dict[str, object] = {}
    exec(compile(example, "docs/sdk.md", "exec"), namespace)
    test = namespace["test_my_app_stops_when_the_license_is_moved"]
    assert callable(test)
    test()

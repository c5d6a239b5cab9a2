"""Which clock it is that the app's time is counted on."""

from __future__ import annotations

import time

import pytest

from keypeg import clock


@pytest.mark.behaviour("SEAT-1")
@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ({"CLOCK_BOOTTIME": 7, "CLOCK_MONOTONIC": 1}, "clock 7"),
        ({"CLOCK_MONOTONIC": 6}, "clock 6"),
        ({}, "plain"),
    ],
    ids=["Linux", "macOS, where the plain clock stops while the computer sleeps", "Windows"],
)
def test_time_goes_on_while_the_computer_sleeps(
    monkeypatch: pytest.MonkeyPatch, there: dict[str, int], expected: str
) -> None:
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        monkeypatch.delattr(time, name, raising=False)
    for name, id in there.items():
        monkeypatch.setattr(time, name, id, raising=False)
    monkeypatch.setattr(time, "clock_gettime", lambda id: f"clock {id}")
    monkeypatch.setattr(time, "monotonic", lambda: "plain")
    source = clock._monotonic_source()
    found: object = source()
    monkeypatch.undo()
    assert found == expected

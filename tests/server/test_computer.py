"""Which process this is, and when another one has certainly ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from keypeg_server import computer

SAY = "from keypeg_server import computer; print(computer.this_process(), flush=True); input()"


def test_a_process_has_ended_when_it_has_and_not_before() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        said = other.stdout.readline().strip()
        assert said
        assert said != computer.this_process()
        assert not computer.has_ended(said)
        other.communicate("\n")
    assert computer.has_ended(said)


def test_a_process_that_the_system_only_hides_has_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `hidepid`: who lives is not in /proc for other users."""
    said = computer.this_process()
    place, _, _ = said.partition("/")
    hiding = tmp_path / "proc"
    (hiding / "sys/kernel/random").mkdir(parents=True)
    (hiding / "sys/kernel/random/boot_id").write_text(place)
    (hiding / "self").symlink_to("/proc/self")
    monkeypatch.setattr(computer, "_PROC", hiding)
    assert not computer.has_ended(said)


def test_this_process_has_not_ended() -> None:
    assert computer.this_process() == computer.this_process()
    assert not computer.has_ended(computer.this_process())


def test_another_process_with_the_same_id_is_not_the_one_that_was_there() -> None:
    place, _, began = computer.this_process().rpartition("/")
    assert computer.has_ended(f"{place}/{int(began) - 1}")


def test_nothing_is_certain_of_other_computers_or_of_what_can_not_be_read() -> None:
    _, _, rest = computer.this_process().partition("/")
    for process in (f"another-boot/{rest}", "", "x", "a/b/c", "////"):
        assert not computer.has_ended(process)

"""The bridge's record of its keys: one line for each change, whatever the disk does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keypeg_bridge.rack.journal import FILE, Journal
from keypeg_bridge.rack.ports import Place
from keypeg_bridge.rack.reading import read_key
from keypeg_bridge.rack.record import KeyRecord
from keypeg_bridge.rack.shelf import KeyChange
from keypeg_bridge.rack.states import Happening, State
from tests.bridge.fakes import FakeKey

WALL = datetime(2026, 11, 22, 1, 2, 3, 450_000, tzinfo=UTC)


def change(fault: str = "") -> KeyChange:
    record = KeyRecord(
        "keys/k1",
        State.PRESENT,
        Place("fake", "1"),
        WALL,
        reading=read_key(FakeKey()),
        fault=fault,
    )
    return KeyChange(State.GONE, Happening.ARRIVED, record)


def journal(folder: Path, **limits: int) -> Journal:
    return Journal(folder, lambda: WALL, **limits)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines() if line]


def test_a_change_is_a_line_that_its_user_alone_can_read(tmp_path: Path) -> None:
    kept = journal(tmp_path)
    kept.note(change())
    kept.note(change("It is hot."))
    kept.close(10)
    first, second = lines(tmp_path / FILE)
    assert first == {
        "number": 1, "time": "2026-11-22T01:02:03.450+00:00", "key": "keys/k1", "happening": "arrived",
        "before": "gone", "after": "present", "driver": "piv", "serial": "0000000001", "place": "fake 1",
    }  # fmt: skip
    assert (second["number"], second["fault"]) == (2, "It is hot.")
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_numbers_go_on_after_a_restart_and_after_a_line_that_was_torn(tmp_path: Path) -> None:
    for _ in range(2):
        kept = journal(tmp_path)
        kept.note(change())
        kept.close(10)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"number": 3, "ti')
    kept = journal(tmp_path)
    kept.note(change())
    kept.close(10)
    good = [line for line in (tmp_path / FILE).read_text().splitlines() if line.endswith("}")]
    assert [json.loads(line)["number"] for line in good] == [1, 2, 3]


def test_a_full_file_makes_room_and_the_numbers_go_on(tmp_path: Path) -> None:
    for _ in range(4):
        kept = journal(tmp_path, limit_bytes=300)
        kept.note(change())
        kept.close(10)
    assert [one["number"] for one in lines(tmp_path / FILE)] == [4]
    assert [one["number"] for one in lines(tmp_path / f"{FILE}.1")] == [3]


def test_what_the_disk_did_not_take_is_counted(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    kept = journal(folder)  # there is no such folder
    for _ in range(3):
        kept.note(change())
    kept.close(10)
    assert not folder.exists()

    away = tmp_path / FILE
    away.mkdir()
    again = journal(tmp_path)
    again.note(change())
    again.settle(10)
    away.rmdir()
    again.note(change())
    again.close(10)
    (line,) = lines(tmp_path / FILE)
    assert (line["number"], line["dropped"]) == (1, 1)

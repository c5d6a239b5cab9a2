"""What the bridge remembers of smartkeys: on disk in time, never less than it was, and no reason to refuse when it is lost."""

from __future__ import annotations

import contextlib
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from keypeg_bridge.keys.smartkey_counters import (
    MAX_COUNTER,
    MAX_FILE_BYTES,
    SAVE_EVERY,
    Seen,
    SmartkeyCounters,
)

KEY = "0123456789abcdef" * 2
OTHER = "f" * 32


def test_the_highest_number_stays(tmp_path: Path) -> None:
    counters = SmartkeyCounters(tmp_path)
    for counter in (5, 3, 9, 9, 1):
        counters.saw(KEY, counter)
    assert counters.known(KEY) == Seen(9)
    assert counters.known(OTHER) == Seen()


def test_a_crash_forgets_only_the_last_counts(tmp_path: Path) -> None:
    counters = SmartkeyCounters(tmp_path / "new")
    for counter in range(1, SAVE_EVERY + 6):
        counters.saw(KEY, counter)
    after_a_crash = SmartkeyCounters(tmp_path / "new").known(KEY).counter
    assert SAVE_EVERY <= after_a_crash <= SAVE_EVERY + 5
    counters.settle(KEY)
    assert SmartkeyCounters(tmp_path / "new").known(KEY) == Seen(SAVE_EVERY + 5)


def test_a_fall_is_on_disk_at_once_and_news_once(tmp_path: Path) -> None:
    counters = SmartkeyCounters(tmp_path)
    counters.saw(KEY, 9)
    assert counters.fell(KEY, 9, 4) is True
    assert SmartkeyCounters(tmp_path).known(KEY) == Seen(9, (9, 4))
    assert counters.fell(KEY, 9, 5) is False
    counters.saw(KEY, 10)
    counters.settle(KEY)
    assert SmartkeyCounters(tmp_path).known(KEY) == Seen(10, (9, 5))


def test_without_a_folder_it_is_remembered_for_a_while(tmp_path: Path) -> None:
    counters = SmartkeyCounters()
    counters.saw(KEY, 2**63)
    counters.settle(KEY)
    assert counters.known(KEY) == Seen(2**63)
    assert list(tmp_path.iterdir()) == []


def test_files_are_this_users_alone(tmp_path: Path) -> None:
    counters = SmartkeyCounters(tmp_path / "smartkeys")
    counters.saw(KEY, 1)
    counters.settle(KEY)
    [file] = (tmp_path / "smartkeys").iterdir()
    assert file.name == f"{KEY}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


BROKEN = [
    b"",
    b"{}",
    b"[]",
    b"\xff",
    b'{"version": 2, "counter": 1, "fall": null}',
    b'{"version": 1, "counter": -1, "fall": null}',
    b'{"version": 1, "counter": 18446744073709551616, "fall": null}',
    b'{"version": 1, "counter": true, "fall": null}',
    b'{"version": 1, "counter": "7", "fall": null}',
    b'{"version": 1, "counter": 1, "fall": [1]}',
    b'{"version": 1, "counter": 1, "fall": 3}',
    b'{"version": 1, "counter": 1}',
    b"[" * 4_000,
    b" " * (MAX_FILE_BYTES + 1),
]


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_a_damaged_file_is_named_and_refuses_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{KEY}.json").write_bytes(content)
    counters = SmartkeyCounters(tmp_path)
    with capture_logs() as logs:
        assert counters.known(KEY) == Seen()
        assert counters.known(KEY) == Seen()
    assert [one["event"] for one in logs] == ["key counter unreadable"]
    counters.saw(KEY, 8)
    counters.settle(KEY)
    assert SmartkeyCounters(tmp_path).known(KEY) == Seen(8)


def test_a_disk_that_fails_is_told_and_refuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    counters = SmartkeyCounters(tmp_path / "file")
    with capture_logs() as logs:
        counters.saw(KEY, 7)
        counters.settle(KEY)
    assert {one["event"] for one in logs} == {"key counter unreadable", "key counter not kept"}
    assert counters.known(KEY) == Seen(7)


@pytest.mark.parametrize(
    "key", ["", "../../etc/passwd", "F" * 32, "0" * 31, "0" * 33, "0" * 31 + "\n"]
)
def test_only_a_key_id_names_a_file(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="key id"):
        SmartkeyCounters(tmp_path).known(key)


NUMBERS = st.integers(0, MAX_COUNTER)


@given(st.builds(Seen, NUMBERS, st.none() | st.tuples(NUMBERS, NUMBERS)))
def test_what_is_known_is_read_back(seen: Seen) -> None:
    assert Seen.decode(seen.encode()) == seen


@given(st.binary(max_size=80) | st.text().map(lambda text: json.dumps(text).encode()))
def test_any_content_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        Seen.decode(content)

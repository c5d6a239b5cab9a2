"""Several keys of several kinds in one process, from a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from keypeg_bridge.emulator import key_specs
from keypeg_bridge.emulator.ccid_reader import Level
from keypeg_bridge.emulator.emulated_key import Make
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.key_specs import KeySpec
from keypeg_bridge.emulator.touch import TouchPolicy
from tests.bridge.emukey import running

KEYS = """
[[key]]

[[key]]
profile = "standard"
touch = "command"
reader = "short"
plugged = false

[[key]]
seed = "own"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(KEYS)
    return path


def test_each_key_is_as_its_table_says(config: Path) -> None:
    standard = Make("standard", TouchPolicy.COMMAND, Level.SHORT)
    assert key_specs.load(config, "s") == (
        KeySpec(Make(), "s", True),
        KeySpec(standard, "s/2", False),
        KeySpec(Make(), "own", True),
    )
    assert [spec.seed for spec in key_specs.load(config, None)] == [None, None, "own"]


def test_so_many_of_a_kind_have_seeds_of_their_own() -> None:
    specs = key_specs.same(3, "s", Make(), plugged=True)
    assert [spec.seed for spec in specs] == ["s", "s/2", "s/3"]


def test_a_process_serves_the_keys_of_a_file(config: Path, tmp_path: Path) -> None:
    with running(tmp_path, "--config", str(config), "--seed", "s") as emukey:
        keys = emukey.status()["keys"]
    seen = [(one["key"], one["profile"], one["touch"], one["plugged"]) for one in keys]
    assert seen == [
        ("key-1", "token", "always", True),
        ("key-2", "standard", "command", False),
        ("key-3", "token", "always", True),
    ]
    assert len({one["serial"] for one in keys}) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it must hold 1 to 24 tables [[key]], and nothing else."),
        ("key = 3", "it must hold 1 to 24 tables"),
        ("key = [3]", "key 1: it must be a table."),
        ("[[key]]\n[other]", "and nothing else."),
        ("[[key]]\n" * 25, "it must hold 1 to 24 tables"),
        ("[[key]]\n[[key]]\ncolor = 1", "key 2: it has profile, touch, reader, seed and plugged, and no 'color'."),
        ("[[key]]\nprofile = 'gold'", "profile is 'gold'; it must be standard or token"),
        ("[[key]]\nprofile = []", "profile is []"),
        ("[[key]]\ntouch = 'soon'", "touch is 'soon'; it must be always or never or command."),
        ("[[key]]\nreader = {}", "reader is {}; it must be short or extended or tpdu."),
        ("[[key]]\nplugged = 1", "plugged is 1; it must be true or false."),
        ("[[key]]\nseed = 7", "seed is 7; it must be text."),
        ("[[key]", "is no TOML"),
        ("#" * 65_537, "it is larger than 65,536 bytes."),
    ],
)  # fmt: skip
def test_a_broken_file_gets_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(EmulatorError, match=re.escape(said)) as caught:
        key_specs.load(path, None)
    assert str(path) in str(caught.value)
    with pytest.raises(EmulatorError, match="Cannot read"):
        key_specs.load(tmp_path / "none.toml", None)

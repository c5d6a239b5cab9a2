"""Every target with its seeds, with every input that ever failed, and with what Hypothesis makes of them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import found, targets

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.behaviour("KEY-14")


def mutations(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """A seed with some bytes of it replaced, left out or repeated."""

    def change(seed: bytes, at: int, size: int, new: bytes) -> bytes:
        begin = at % (len(seed) + 1)
        return seed[:begin] + new + seed[begin + size :]

    return st.builds(
        change,
        st.sampled_from(seeds),
        st.integers(0, 999),
        st.integers(0, 9),
        st.binary(max_size=12),
    )


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_is_right_is_taken(name: str) -> None:
    target = targets.TARGETS[name]
    assert target.seeds
    for seed in target.seeds:
        target.run(seed)  # and raises nothing, not even a refusal


@pytest.mark.parametrize("name", targets.TARGETS)
def test_any_bytes_end_in_a_value_or_a_refusal(name: str) -> None:
    target = targets.TARGETS[name]

    @settings(max_examples=30)
    @given(st.binary(max_size=200) | mutations(target.seeds))
    def one(data: bytes) -> None:
        targets.run(name, data)

    one()


def test_what_failed_once_does_not_fail_again() -> None:
    for path in sorted(CORPUS.glob("*/*")):
        targets.run(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_reached_far_once_ends_as_well(name: str) -> None:
    for data in found.load(name):
        targets.run(name, data)


def test_kept_inputs_are_those_of_targets_and_stay_small() -> None:
    files = sorted(found.FOLDER.iterdir())
    assert {path.stem for path in files} <= set(targets.TARGETS)
    assert sum(path.stat().st_size for path in files) < 200_000


def test_inputs_are_kept_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "FOLDER", tmp_path / "found")
    assert found.load("cbor") == []
    assert found.save("cbor", [b"\x00\xff\n", b"a", b"", b"a"]) == 2
    assert found.load("cbor") == [b"a", b"\x00\xff\n"]


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="NOT RUN: atheris is missing: pip install 'keypeg[fuzz]'",
)
def test_the_fuzzer_finds_a_planted_fault(tmp_path: Path) -> None:
    tool = str(ROOT / "tools" / "fuzz")
    words = [tool, "--seconds=20", "--target=planted", f"--folder={tmp_path}"]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stdout
    assert "planted: FOUND" in done.stdout
    assert list((tmp_path / "findings").glob("planted-*"))

"""Secrets that say what they are."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.service import labeled


def test_one_is_found_by_a_scanner_and_never_the_same() -> None:
    made = {labeled.new(labeled.API_KEY) for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"kpk_[0-9A-Za-z]{49}", one) for one in made)
    assert all(labeled.is_one(labeled.API_KEY, one) for one in made)
    assert not any(labeled.is_one(labeled.INVITATION, one) for one in made)


@given(st.integers(0, 52), st.sampled_from("0aZ_é"))
def test_one_that_was_mistyped_is_none(at: int, other: str) -> None:
    one = labeled.new(labeled.API_KEY)
    changed = one[:at] + other + one[at + 1 :]
    assert labeled.is_one(labeled.API_KEY, changed) is (changed == one)
    assert not labeled.is_one(labeled.API_KEY, one[:at])

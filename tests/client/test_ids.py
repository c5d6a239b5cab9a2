"""UUIDs that sort by time."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg import ids

MICROSECONDS = st.integers(0, (1 << 48) * 1000 - 1)
RANDOM = st.binary(min_size=8, max_size=16)


def test_the_example_of_the_standard_is_met() -> None:
    # RFC 9562, A.6: 2022-02-22 19:22:22 UTC, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
    made = ids.uuid7(1_645_557_742_000_000, (0x18C4DC0C0C07398F).to_bytes(8, "big"))
    expected = uuid.UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert made.int >> 80 == expected.int >> 80
    assert made.int & ((1 << 64) - 1) == expected.int & ((1 << 64) - 1)


@given(MICROSECONDS, RANDOM)
def test_version_and_variant_are_right(unix_us: int, random: bytes) -> None:
    made = ids.uuid7(unix_us, random)
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == unix_us // 1000


@given(MICROSECONDS, MICROSECONDS, RANDOM, RANDOM)
def test_ids_and_their_texts_sort_by_microsecond(a: int, b: int, one: bytes, other: bytes) -> None:
    if a == b:
        b = a + 1 if a else 1
    if max(a, b) >= (1 << 48) * 1000:
        return
    left, right = ids.uuid7(a, one), ids.uuid7(b, other)
    assert (left < right) == (a < b)
    assert (ids.id_text(left) < ids.id_text(right)) == (a < b)


def test_a_text_is_32_hexadecimal_characters() -> None:
    text = ids.id_text(ids.uuid7(1, bytes(8)))
    assert len(text) == 32
    assert set(text) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("unix_us", "random"), [(-1, bytes(8)), ((1 << 48) * 1000, bytes(8)), (0, bytes(7))]
)
def test_what_does_not_fit_is_refused(unix_us: int, random: bytes) -> None:
    with pytest.raises(ValueError, match=r"fit|random"):
        ids.uuid7(unix_us, random)

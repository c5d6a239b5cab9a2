"""BER-TLV: recorded bytes, round trips, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire import tlv
from keypeg_bridge.wire.errors import MalformedFrame

TAGS = st.sampled_from([0x30, 0x53, 0x5C, 0x70, 0x7C, 0x81, 0xFE, 0x5F2F, 0x7F49, 0x5FC102])


@pytest.mark.parametrize(
    ("raw", "tag", "value"),
    [
        ("5300", 0x53, ""),
        ("81021122", 0x81, "1122"),
        ("7f49024142", 0x7F49, "4142"),
        ("5fc1020101", 0x5FC102, "01"),
        ("5c035fc105", 0x5C, "5fc105"),
        ("7081017f", 0x70, "7f"),  # longer than needed, which cards may write
    ],
)
def test_recorded_elements_are_read(raw: str, tag: int, value: str) -> None:
    assert tlv.parse(bytes.fromhex(raw)) == (tlv.Tlv(tag, bytes.fromhex(value)),)


@pytest.mark.parametrize(
    "raw",
    [
        "53",  # no length
        "5305aabb",  # too little value
        "5380",  # indefinite length
        "538400000001aa",  # a length of four bytes
        "5382ff",  # a length cut short
        "5f",  # a tag that does not end
        "5fffffff0100",  # a tag of more than three bytes
        "5383ffffff00",  # a length over the limit
    ],
)
def test_broken_elements_are_malformed(raw: str) -> None:
    with pytest.raises(MalformedFrame):
        tlv.parse(bytes.fromhex(raw))


@given(st.lists(st.tuples(TAGS, st.binary(max_size=700)), max_size=5))
def test_what_is_encoded_is_read_back(elements: list[tuple[int, bytes]]) -> None:
    raw = b"".join(tlv.encode(tag, value) for tag, value in elements)
    assert [(e.tag, e.value) for e in tlv.parse(raw)] == elements


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed(raw: bytes) -> None:
    try:
        elements = tlv.parse(raw)
    except MalformedFrame:
        return
    assert sum(len(e.value) for e in elements) <= len(raw)


def test_a_tag_that_would_not_read_back_is_refused() -> None:
    for tag in (0x1F, 0x5FC1, 0x12345678, -1):
        with pytest.raises(ValueError, match=r"tag|writing"):
            tlv.encode_tag(tag)


def test_unwrap_wants_exactly_one_element_of_the_tag() -> None:
    assert tlv.unwrap(tlv.encode(0x53, b"x"), 0x53) == b"x"
    for raw in (b"", tlv.encode(0x70, b"x"), tlv.encode(0x53, b"") * 2):
        with pytest.raises(MalformedFrame):
            tlv.unwrap(raw, 0x53)

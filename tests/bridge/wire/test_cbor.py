"""CBOR as CTAP speaks it: the vectors of RFC 8949, every rule of the canonical form, and any bytes at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire import cbor
from keypeg_bridge.wire.errors import MalformedFrame

VECTORS: list[tuple[str, Any]] = [
    ("00", 0),
    ("17", 23),
    ("1818", 24),
    ("18ff", 255),
    ("190100", 256),
    ("1a000f4240", 1_000_000),
    ("1b000000e8d4a51000", 1_000_000_000_000),
    ("20", -1),
    ("3863", -100),
    ("3903e7", -1_000),
    ("f4", False),
    ("f5", True),
    ("f6", None),
    ("40", b""),
    ("4401020304", b"\x01\x02\x03\x04"),
    ("6449455446", "IETF"),
    ("62c3bc", "ü"),
    ("83010203", [1, 2, 3]),
    ("a201020304", {1: 2, 3: 4}),
    ("a3010220036161f5", {1: 2, -1: 3, "a": True}),
    ("a2616101626161f4", {"a": 1, "aa": False}),
]


@pytest.mark.parametrize(("raw", "value"), VECTORS)
def test_known_values_are_read_and_written(raw: str, value: Any) -> None:
    assert cbor.decode(bytes.fromhex(raw)) == value
    assert cbor.encode(value) == bytes.fromhex(raw)


REFUSED = {
    "nothing": "",
    "a number too long by one byte": "1817",
    "a number too long by two bytes": "1900ff",
    "a number too long by four bytes": "1a0000ffff",
    "a number too long by eight bytes": "1b00000000ffffffff",
    "a length too long": "580100",
    "bytes cut short": "4401",
    "text cut short": "6461",
    "array cut short": "8301",
    "map cut short": "a101",
    "a huge array": "9b7fffffffffffffff",
    "huge bytes": "5b7fffffffffffffff",
    "indefinite bytes": "5f4100ff",
    "indefinite array": "9f01ff",
    "indefinite map": "bf0102ff",
    "a reserved length": "1c",
    "a break alone": "ff",
    "a tag": "c001",
    "half precision": "f93c00",
    "double precision": "fb3ff0000000000000",
    "undefined": "f7",
    "keys out of order": "a203040102",
    "text keys out of order": "a2626161016161f4",
    "text before a number": "a2616101" "0102",
    "a repeated key": "a201020103",
    "a key of bytes": "a1410001",
    "a key that is true": "a1f501",
    "five levels": "8181818181" "01",
    "bytes left over": "0000",
    "text that is no UTF-8": "61ff",
}  # fmt: skip


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED)
def test_other_forms_are_malformed(raw: str) -> None:
    with pytest.raises(MalformedFrame):
        cbor.decode(bytes.fromhex(raw))


def test_four_levels_are_allowed() -> None:
    assert cbor.decode(bytes.fromhex("8181818101")) == [[[[1]]]]


def test_what_cbor_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="float"):
        cbor.encode(1.5)


LEAVES = (
    st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=30) | st.text(max_size=30)
    | st.booleans() | st.none()
)  # fmt: skip
KEYS = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3), max_leaves=4
).filter(lambda v: depth(v) <= cbor.MAX_DEPTH)


def depth(value: Any) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case _:
            return 0


@given(VALUES)
def test_values_read_back(value: Any) -> None:
    assert cbor.decode(cbor.encode(value)) == value


@pytest.mark.behaviour("KEY-14")
@given(st.binary(max_size=40))
def test_any_bytes_are_canonical_or_malformed(raw: bytes) -> None:
    try:
        value = cbor.decode(raw)
    except MalformedFrame:
        return
    assert cbor.encode(value) == raw

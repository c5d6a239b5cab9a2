"""The smartkey's bytes: recorded ones, broken ones, and any."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.possession import COUNTER_BYTES
from keypeg_bridge.wire import smartkey
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.smartkey import Info, Piece, Proof, Read, Selected

CARD_ID = bytes(range(16))
POINT = b"\x04" + bytes(range(64))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("6f0f 8408f06b657970656701 5003616263", Selected(b"abc")),
        (
            "01010a14 1000 0000fa00" + CARD_ID.hex() + "0000000000000000",
            Info(0x0A, True, 20, 4096, 64_000, CARD_ID, 0),
        ),
        (
            "01020c01 ffff ffffffff" + CARD_ID.hex() + "ffffffffffffffff" + POINT.hex(),
            Info(0x0C, False, 1, 0xFFFF, 0xFFFFFFFF, CARD_ID, 2**64 - 1, POINT),
        ),
        ("000000", Read(0, 256)),
        ("0bb801", Read(3_000, 1)),
        ("00fd61", Piece(253, b"a")),
        ("000000000000002a3006", Proof(42, b"\x30\x06")),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_recorded_bytes_are_read_and_written(raw: str, value: object) -> None:
    data = bytes.fromhex(raw)
    assert type(value).decode(data) == value  # type: ignore[attr-defined]
    assert value.encode() == data  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ("", Selected),
        ("6f00", Selected),
        ("6f048402f06b", Selected),
        ("6108", Selected),
        ("6f0a8408f06b657970656702", Selected),
        ("", Info),
        ("01" * 33, Info),
        ("0102" + "00" * 32, Info),
        ("0102" + "00" * 96, Info),
        ("0000", Read),
        ("00000000", Read),
        ("0000", Piece),
        ("00" * 256, Piece),
        ("", Proof),
        ("0000000000000001", Proof),
    ],
)
def test_broken_bytes_are_malformed(
    raw: str, kind: type[Selected | Info | Read | Piece | Proof]
) -> None:
    with pytest.raises(MalformedFrame):
        kind.decode(bytes.fromhex(raw))


@pytest.mark.parametrize("raw", ["", "00", "000000"])
def test_a_size_has_two_bytes(raw: str) -> None:
    with pytest.raises(MalformedFrame):
        smartkey.decode_size(bytes.fromhex(raw))


def test_a_later_applet_may_say_more_of_itself() -> None:
    told = Info(0x0A, True, 20, 4096, 0, CARD_ID, 7, POINT).encode()
    later = told[:1] + bytes((told[1] | 0xF0,)) + told[2:] + b"something new"
    assert Info.decode(later) == Info.decode(told)


NUMBERS = st.integers(0, 2**64 - 1)
VALUES = st.one_of(
    st.builds(Selected, st.binary(max_size=60)),
    st.builds(
        Info,
        management_algorithm=st.integers(0, 255),
        management_is_default=st.booleans(),
        slots=st.integers(0, 255),
        slot_bytes=st.integers(0, 0xFFFF),
        room=st.integers(0, 2**32 - 1),
        card_id=st.binary(min_size=16, max_size=16),
        counter=NUMBERS,
        public_key=st.none() | st.binary(min_size=65, max_size=65),
        version=st.integers(0, 255),
    ),
    st.builds(Read, st.integers(0, 0xFFFF), st.integers(1, 256)),
    st.builds(Piece, st.integers(0, 0xFFFF), st.binary(min_size=1, max_size=253)),
    st.builds(Proof, NUMBERS, st.binary(min_size=1, max_size=80)),
)


@given(VALUES)
def test_what_is_encoded_is_read_back(value: Selected | Info | Read | Piece | Proof) -> None:
    assert type(value).decode(value.encode()) == value


@given(st.integers(0, 0xFFFF))
def test_sizes_are_read_back(size: int) -> None:
    assert smartkey.decode_size(smartkey.encode_size(size)) == size


@given(st.binary(max_size=300), st.sampled_from([Selected, Info, Read, Piece, Proof]))
def test_any_bytes_are_a_value_or_malformed(
    raw: bytes, kind: type[Selected | Info | Read | Piece | Proof]
) -> None:
    try:
        value = kind.decode(raw)
    except MalformedFrame:
        return
    assert kind.decode(value.encode()) == value


@given(NUMBERS, NUMBERS)
def test_no_two_counters_are_signed_alike(one: int, other: int) -> None:
    challenge = hashlib.sha256(b"a challenge").digest()
    signed = [smartkey.signed_message(number, challenge) for number in (one, other)]
    assert (signed[0] == signed[1]) == (one == other)
    assert {len(message) for message in signed} == {28 + COUNTER_BYTES + 32}

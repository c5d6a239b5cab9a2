"""What stands in a key's slots: read whatever it is, written so that it can be read."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.v1 import document_pb2
from keypeg_bridge.rack import contents
from keypeg_bridge.rack.ports import SlotMalformed
from tests.bridge.publisher import Publisher

POINT = b"\x04" + bytes(64)


@given(st.binary(max_size=400))
def test_any_bytes_in_a_slot_are_read_or_refused_as_malformed(data: bytes) -> None:
    with contextlib.suppress(SlotMalformed):
        contents.parse_license(3, data)


@given(st.integers(0, 300), st.integers(0, 255))
def test_a_damaged_license_is_read_or_refused_as_malformed(at: int, value: int) -> None:
    data = bytearray(Publisher().license(POINT).SerializeToString())
    data[at % len(data)] = value
    with contextlib.suppress(SlotMalformed):
        contents.parse_license(1, bytes(data))


def test_a_publisher_has_one_delegation_and_an_older_one_never_replaces_it() -> None:
    publisher, other = Publisher(), Publisher("publishers/other")
    first = contents.stored_delegation(publisher.delegation(generation=2))
    kept = contents.stored_delegation(other.delegation())
    stored = (first, kept)
    older = contents.stored_delegation(publisher.delegation(generation=1))
    newer = contents.stored_delegation(publisher.delegation(generation=3))
    assert contents.with_delegation(stored, older) == stored
    assert contents.with_delegation(stored, newer) == (kept, newer)
    assert contents.delegation_of(publisher.name, (kept, newer)) == newer.envelope
    assert contents.delegation_of("publishers/nobody", stored) is None


def test_a_license_with_an_impossible_time_is_malformed() -> None:
    envelope = Publisher().license(POINT)
    document = document_pb2.LicenseDocument.FromString(envelope.payload)
    document.unplug_grace.seconds = 2**62
    envelope.payload = document.SerializeToString()
    with pytest.raises(SlotMalformed):
        contents.parse_license(1, envelope.SerializeToString())

"""Slot 0: delegations and contents, read whatever it is, written so that it can be read."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.document import GRANT_TYPE, seal
from keypeg.v1.document_pb2 import Grant
from keypeg_bridge.rack.contents import stored_delegation
from keypeg_bridge.rack.index import MIXED, PLAIN, Index, encode_index, parse_index
from keypeg_bridge.rack.ports import SlotMalformed
from tests.bridge.publisher import Publisher

POINT = b"\x04" + bytes(64)


@given(st.binary(max_size=400))
def test_any_bytes_in_slot_0_are_read_or_refused_as_malformed(data: bytes) -> None:
    for first in (b"", PLAIN, MIXED):
        with contextlib.suppress(SlotMalformed):
            parse_index(first + data)


def index_of(*publishers: Publisher, version: int = 1) -> Index:
    index = Index()
    for one in publishers:
        contents = one.contents(POINT, version)
        index = index.having(stored_delegation(one.delegation()), contents)
    return index


@given(st.integers(0, 700), st.integers(0, 255))
def test_a_damaged_index_is_read_or_refused_as_malformed(at: int, value: int) -> None:
    data = bytearray(encode_index(index_of(Publisher())))
    data[at % len(data)] = value
    with contextlib.suppress(SlotMalformed):
        parse_index(bytes(data))


def test_delegations_and_contents_come_back_as_they_were_written() -> None:
    index = index_of(*(Publisher(f"publishers/p{number}") for number in range(3)))
    data = encode_index(index)
    assert data[:1] == MIXED
    assert parse_index(data) == index
    assert all(one.vouched for one in parse_index(data).contents)
    for cut in (1, 2, 3, 10):
        with pytest.raises(SlotMalformed):
            parse_index(data[:-cut])


def test_delegations_alone_are_written_as_older_bridges_read_them() -> None:
    index = Index().having(stored_delegation(Publisher().delegation()), None)
    assert encode_index(index)[:1] == PLAIN
    assert parse_index(encode_index(index)) == index


def test_an_endless_list_is_refused() -> None:
    one = encode_index(Index().having(stored_delegation(Publisher().delegation()), None))
    with pytest.raises(SlotMalformed):
        parse_index(one + one[1:] * 80)


def test_documents_of_types_to_come_are_kept() -> None:
    publisher = Publisher()
    other = seal(Grant(session="x"), GRANT_TYPE, publisher.signer)
    index = Index(others=(other,)).having(stored_delegation(publisher.delegation()), None)
    data = encode_index(index)
    assert parse_index(data).others == (other,)
    with pytest.raises(SlotMalformed):
        parse_index(PLAIN + data[1:])


def test_newer_contents_take_the_place_of_their_publisher_s_alone() -> None:
    one, other = Publisher(), Publisher("publishers/other")
    index = index_of(one, other)
    after = index.having(stored_delegation(one.delegation()), one.contents(POINT, 7))
    found = {each.document.publisher: each.document.version for each in after.contents}
    assert found == {one.name: 7, other.name: 1}


def test_contents_that_nobody_of_their_root_has_signed_are_not_vouched_for() -> None:
    publisher, liar = Publisher(), Publisher()
    forged = liar.contents(POINT, 99)
    index = Index().having(stored_delegation(publisher.delegation()), forged)
    (found,) = parse_index(encode_index(index)).contents
    assert not found.vouched

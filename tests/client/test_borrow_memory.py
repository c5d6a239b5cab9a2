"""What a computer must not forget about borrowed seats."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg import errors
from keypeg.borrow_memory import KEPT, Memory
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.document_pb2 import Delegation, Envelope

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ONE = "pools/p/borrows/one"


def document(
    name: str = ONE, serial: int = 1, issued: datetime | None = NOW, end: datetime = NOW + 3 * DAY
) -> BorrowDocument:
    made = BorrowDocument(borrow=name, serial=serial)
    if issued is not None:
        made.issue_time.FromDatetime(issued)
    made.expire_time.FromDatetime(end)
    return made


def test_a_clock_that_is_set_back_does_not_turn_time_back():
    memory = Memory().used(NOW, {})
    assert memory.now(NOW - DAY) == NOW
    assert memory.now(NOW + DAY) == NOW + DAY
    assert memory.used(NOW - DAY, {}).latest == NOW


def test_a_server_says_what_time_it_is_both_ways():
    behind = Memory().received(document(issued=NOW), NOW - 30 * DAY)
    assert behind.now(NOW - 30 * DAY) == NOW  # a slow clock does not lengthen the borrow
    ahead = Memory().used(NOW + 900 * DAY, {})  # the clock was once far ahead
    assert ahead.received(document(issued=NOW), NOW).now(NOW) == NOW
    silent = Memory().used(NOW, {}).received(document(issued=None), NOW - DAY)
    assert silent.now(NOW - DAY) == NOW


def test_a_document_that_was_there_before_says_nothing_of_the_time():
    memory = Memory().received(document(issued=NOW), NOW).used(NOW + 2 * DAY, {})
    again = memory.received(document(issued=NOW), NOW + 2 * DAY)
    assert again.latest == NOW + 2 * DAY
    newer = document(serial=2, issued=NOW + DAY)
    assert again.received(newer, NOW + 2 * DAY).latest == NOW + DAY


ACME = "publishers/acme"


def delegation(generation: int) -> Envelope:
    return Envelope(payload=Delegation(generation=generation).SerializeToString())


def test_the_newest_delegation_is_believed_of_what_comes_with_an_older_one():
    second = delegation(2).SerializeToString()
    memory = Memory().used(NOW, {ACME: 2}, {ACME: second})
    for one in (memory, Memory.from_text(memory.to_text()), memory.used(NOW, {})):
        assert one.believed(ACME, delegation(1)) == delegation(2)
        assert one.believed(ACME, delegation(3)) == delegation(3)
        assert one.believed("publishers/other", delegation(1)) == delegation(1)


def test_a_memory_of_an_older_version_knows_none():
    table = json.loads(Memory().used(NOW, {ACME: 2}).to_text())
    del table["delegations"]
    assert Memory.from_text(json.dumps(table)).believed(ACME, delegation(1)) == delegation(1)


@pytest.mark.parametrize("text", ["?", "AAA", "/w==", 7, None])
def test_what_is_no_delegation_is_no_memory(text: object):
    table = json.loads(Memory().used(NOW, {}).to_text())
    table["delegations"] = {ACME: text}
    with pytest.raises(errors.DocumentMalformed):
        Memory.from_text(json.dumps(table))


def test_what_was_given_up_stays_so():
    memory = Memory().received(document(), NOW).gave_up(document())
    assert memory.is_given_up(ONE)
    assert memory.received(document(serial=9), NOW).is_given_up(ONE)
    assert not memory.is_given_up("pools/p/borrows/other")


def test_the_newest_is_remembered():
    memory = Memory().received(document(serial=3), NOW).received(document(serial=2), NOW)
    memory = memory.used(NOW, {"publishers/a": 4}).used(NOW, {"publishers/a": 2})
    assert memory.seen == {ONE: 3, "publishers/a": 4}


def test_what_has_been_over_for_long_is_forgotten():
    memory = Memory().gave_up(document())
    assert memory.used(NOW + 3 * DAY + KEPT - DAY, {}).borrows
    assert not memory.used(NOW + 3 * DAY + KEPT + DAY, {}).borrows


def test_it_is_the_same_after_the_file():
    memory = Memory().received(document(), NOW).gave_up(document("pools/p/borrows/two", 2))
    memory = memory.used(NOW + DAY, {"publishers/a": 4})
    assert Memory.from_text(memory.to_text()) == memory


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"latest": "yesterday", "borrows": {}, "generations": {}}',
        '{"latest": "2026-01-01T00:00:00", "borrows": {}, "generations": {}}',
        '{"latest": "2026-01-01T00:00:00Z", "borrows": [], "generations": {}}',
        '{"latest": "2026-01-01T00:00:00Z", "borrows": {"a": {}}, "generations": {}}',
        '{"latest": "2026-01-01T00:00:00Z", "borrows": {}, "generations": {"a": -1}}',
    ],
)
def test_what_is_no_memory_is_refused(text: str):
    with pytest.raises(errors.DocumentMalformed):
        Memory.from_text(text)


@given(st.text(max_size=200))
def test_any_text_is_a_memory_or_refused(text: str):
    try:
        Memory.from_text(text)
    except errors.DocumentMalformed:
        return

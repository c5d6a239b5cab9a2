"""What a bridge has seen: old contents, copies of them, licenses that moved and lost keys are refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from keypeg.errors import (
    DocumentSuperseded,
    KeyLost,
    KeypegError,
    KeyRolledBack,
    SignatureInvalid,
    SignerUnknown,
)
from keypeg_bridge.rack.memory import Memory, Seen
from keypeg_bridge.rack.memory_file import MemoryFile, MemoryUnreadable
from keypeg_bridge.rack.reading import Reading, read_key
from tests.bridge.fakes import FakeKey
from tests.bridge.publisher import Publisher


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def key() -> FakeKey:
    return FakeKey()


def carrying(
    key: FakeKey, publisher: Publisher, version: int, *activations: str, generation: int = 1
) -> Reading:
    """A reading of the key with licenses and contents that name them."""
    licenses = [
        publisher.license(key.point, activation=one, generation=generation, contents_version=1)
        for one in activations
    ]
    key.carry_all(publisher, version, *licenses)
    return read_key(key)


def refusal(memory: Memory, reading: Reading, activation: str = "1") -> KeypegError | None:
    (stored,) = (
        one for one in reading.licenses if one.document.activation.endswith(f"/{activation}")
    )
    return memory.objection(reading, stored)


def test_what_a_key_carries_is_taken(key: FakeKey, publisher: Publisher) -> None:
    memory = Memory()
    for version in (1, 2, 5):
        reading = carrying(key, publisher, version, "1", "2")
        memory.learn(reading)
        assert refusal(memory, reading) is None
        assert memory.objections(reading) == []


def test_old_contents_that_were_put_back_are_refused(key: FakeKey, publisher: Publisher) -> None:
    memory = Memory()
    memory.learn(carrying(key, publisher, 1, "1", "2"))
    memory.learn(carrying(key, publisher, 2, "2"))
    old = carrying(key, publisher, 1, "1", "2")
    memory.learn(old)
    error = refusal(memory, old)
    assert isinstance(error, KeyRolledBack)
    assert (error.metadata["told"], error.metadata["seen"]) == ("1", "2")
    assert isinstance(refusal(memory, old, "2"), KeyRolledBack), "all of it is old"


def test_a_bridge_that_never_saw_the_license_refuses_it_too(
    key: FakeKey, publisher: Publisher
) -> None:
    memory = Memory()
    memory.learn(carrying(key, publisher, 2, "2"))
    assert isinstance(refusal(memory, carrying(key, publisher, 1, "1", "2")), KeyRolledBack)


def test_one_slot_that_was_put_back_is_refused_and_the_others_serve(
    key: FakeKey, publisher: Publisher
) -> None:
    gone = publisher.license(key.point, activation="1", contents_version=1)
    stays = publisher.license(key.point, activation="2", contents_version=1)
    key.carry_all(publisher, 2, gone, stays, named=(stays,))
    reading, memory = read_key(key), Memory()
    assert isinstance(refusal(memory, reading, "1"), KeyRolledBack)
    assert refusal(memory, reading, "2") is None


def test_a_list_that_was_removed_is_missed(key: FakeKey, publisher: Publisher) -> None:
    carrying(key, publisher, 1, "1")
    index = key.slots[0]
    key.carry(publisher, contents_version=1)
    assert key.slots[0] != index
    assert isinstance(refusal(Memory(), read_key(key)), KeyRolledBack)


def test_contents_of_another_key_open_nothing(publisher: Publisher) -> None:
    one, other = FakeKey(1), FakeKey(2)
    carrying(one, publisher, 1, "1")
    other.slots = dict(one.slots)
    reading, memory = read_key(other), Memory()
    memory.learn(reading)
    assert memory.objections(reading) == [], "its license names another key: it is not offered"
    assert memory.least(reading.index.contents[0].document) == 0, "nothing is learned of the other"


def test_a_license_that_moved_to_a_replacement_is_refused_on_the_old_key(
    publisher: Publisher,
) -> None:
    old, new, memory = FakeKey(1), FakeKey(2), Memory()
    before = carrying(old, publisher, 1, "1")
    memory.learn(before)
    memory.learn(carrying(new, publisher, 1, "1", generation=2))
    assert isinstance(refusal(memory, before), DocumentSuperseded)


def test_a_fence_refuses_lost_keys_and_old_contents(key: FakeKey, publisher: Publisher) -> None:
    memory = Memory()
    reading = carrying(key, publisher, 3, "1")
    behind = publisher.contents(key.point, 9, least=3)
    memory.fence(behind, publisher.delegation())
    assert refusal(memory, reading) is None, "given out is not seen"
    memory.fence(publisher.contents(key.point, 9, least=4), publisher.delegation())
    assert isinstance(refusal(memory, reading), KeyRolledBack)
    memory.fence(publisher.contents(key.point, 10, lost=True), publisher.delegation())
    assert isinstance(refusal(memory, reading), KeyLost)
    memory.fence(publisher.contents(key.point, 11), publisher.delegation())
    assert isinstance(refusal(memory, reading), KeyLost), "for good"


def test_a_key_from_before_there_were_contents_is_fenced_too(
    key: FakeKey, publisher: Publisher
) -> None:
    key.carry(publisher)
    reading, memory = read_key(key), Memory()
    assert refusal(memory, reading) is None
    liar = Publisher()
    memory.fence(liar.contents(key.point, 1, lost=True), liar.delegation())
    assert refusal(memory, reading) is None, "another root says nothing of this one's"
    memory.fence(publisher.contents(key.point, 1, lost=True), publisher.delegation())
    assert isinstance(refusal(memory, reading), KeyLost)


def test_another_root_can_not_have_a_key_refused(key: FakeKey, publisher: Publisher) -> None:
    memory, liar = Memory(), Publisher()
    memory.learn(carrying(key, liar, 99, "1"))
    memory.fence(liar.contents(key.point, 100, lost=True), liar.delegation())
    assert refusal(memory, carrying(key, publisher, 1, "1")) is None


def test_a_fence_that_does_not_hang_together_is_refused(key: FakeKey, publisher: Publisher) -> None:
    memory, liar = Memory(), Publisher()
    contents = publisher.contents(key.point, 1, lost=True)
    with pytest.raises(SignerUnknown):
        memory.fence(contents, liar.delegation())
    liar.root = publisher.root
    with pytest.raises(SignatureInvalid):
        memory.fence(contents, liar.delegation())


def test_what_was_seen_outlives_the_bridge(
    key: FakeKey, publisher: Publisher, tmp_path: Path
) -> None:
    file = MemoryFile(tmp_path)
    first = Memory(file.load(), file.save)
    first.learn(carrying(key, publisher, 2, "2"))
    lost = FakeKey(2)
    first.fence(publisher.contents(lost.point, 1, lost=True), publisher.delegation())
    (kept,) = tmp_path.glob("seen*")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    second = Memory(file.load())
    assert isinstance(refusal(second, carrying(key, publisher, 1, "1", "2")), KeyRolledBack)
    assert isinstance(refusal(second, carrying(lost, publisher, 1, "1")), KeyLost)


def test_nothing_is_written_when_nothing_is_new(key: FakeKey, publisher: Publisher) -> None:
    written: list[Seen] = []
    memory = Memory(keep=written.append)
    for _ in range(3):
        memory.learn(carrying(key, publisher, 2, "1"))
    assert len(written) == 1


DAMAGED = [b"", b"{}", b"[]", b'{"version": 2}', b'{"version": 1, "keys": [[1]]}']


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_memory_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "seen.json").write_bytes(content)
    with pytest.raises(MemoryUnreadable, match="is damaged"):
        MemoryFile(tmp_path).load()


def test_a_disk_that_can_not_be_written_keeps_nobody_from_working(
    key: FakeKey, publisher: Publisher, tmp_path: Path
) -> None:
    file = MemoryFile(tmp_path / "not there")
    memory = Memory(keep=file.save)
    reading = carrying(key, publisher, 1, "1")
    memory.learn(reading)
    assert refusal(memory, reading) is None

"""Which key opens a product, and why none does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from keypeg.errors import KeyFaulty, KeyMissing
from keypeg_bridge.rack.choice import again, choose
from keypeg_bridge.rack.ports import Place
from keypeg_bridge.rack.reading import read_key
from keypeg_bridge.rack.record import KeyRecord
from keypeg_bridge.rack.states import State
from tests.bridge.fakes import FakeKey
from tests.bridge.publisher import Publisher

NOW = datetime(2026, 11, 21, tzinfo=UTC)
PUBLISHER = Publisher()


def record(key: FakeKey, name: str = "keys/a", state: State = State.PRESENT) -> KeyRecord:
    return KeyRecord(name, state, Place("fake", "1"), NOW, read_key(key), fault="It hangs.")


def carrying(product: str = "synth", number: int = 1, **kwargs: object) -> FakeKey:
    key = FakeKey(number)
    key.carry(PUBLISHER, product, **kwargs)  # type: ignore[arg-type]
    return key


def test_a_license_that_has_not_run_out_is_preferred() -> None:
    over = record(carrying(expires=NOW - timedelta(days=1)), "keys/a")
    current = record(carrying(expires=NOW + timedelta(days=1)), "keys/b")
    assert choose([over, current], "synth", NOW)[0].key == "keys/b"
    assert choose([over], "synth", NOW)[0].key == "keys/a"


def test_the_first_key_that_came_is_taken() -> None:
    keys = [record(carrying(number=n), f"keys/{n}") for n in (1, 2)]
    assert choose(keys, "synth", NOW)[0].key == "keys/1"


def copied() -> KeyRecord:
    copy = FakeKey(2)
    copy.slots = dict(carrying().slots)
    return record(copy)


def without_delegation() -> KeyRecord:
    key = carrying()
    del key.slots[0]
    return record(key)


@pytest.mark.parametrize(
    ("records", "error", "words"),
    [
        ([], KeyMissing, "No key is plugged in"),
        ([record(FakeKey())], KeyMissing, "no licenses"),
        ([record(FakeKey(enrolled=False))], KeyMissing, "not enrolled"),
        ([record(carrying("organ"))], KeyMissing, "1 license for other products"),
        ([copied()], KeyMissing, "names another key"),
        ([without_delegation()], KeyMissing, "lacks the delegation"),
        ([record(carrying(), state=State.MISSING)], KeyMissing, "was unplugged"),
        ([record(carrying(), state=State.FAULTY)], KeyFaulty, "It hangs."),
    ],
    ids=["none", "empty", "blank", "other", "copied", "no delegation", "unplugged", "faulty"],
)
def test_a_refusal_says_what_was_seen_and_what_to_do(
    records: list[KeyRecord], error: type[KeyMissing], words: str
) -> None:
    with pytest.raises(error) as refused:
        choose(records, "synth", NOW)
    assert words in f"{refused.value.sentence} {refused.value.metadata}"
    assert refused.value.metadata["product"] == "synth"


def test_a_session_keeps_its_license_and_else_takes_another_of_its_key() -> None:
    key = carrying(slot=1)
    key.carry(PUBLISHER, slot=2)
    known = record(key)
    own = choose([known], "synth", NOW)[0].license.document.activation
    second = own.replace("l1", "l2").replace("activations/1", "activations/2")
    assert again(known, "synth", second, NOW).license.slot == 2
    del key.slots[2]
    assert again(record(key), "synth", second, NOW).license.slot == 1
    key.slots.clear()
    with pytest.raises(KeyMissing):
        again(record(key), "synth", second, NOW)

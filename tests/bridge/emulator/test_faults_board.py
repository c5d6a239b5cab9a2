"""Faults on whole keys: they begin, do what they say, end, and leave nothing behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keypeg_bridge.emulator.emulated_key import EmulatedKey
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults_line import Side
from keypeg_bridge.emulator.fido.credential import Trait
from keypeg_bridge.emulator.fido.parameters import Refused
from keypeg_bridge.emulator.usbip_bus import MAX_PORTS
from keypeg_bridge.wire import piv
from keypeg_bridge.wire.apdu import Status
from tests.bridge.emulator.lab_keys import KeyLaboratory, put_object, verify_pin

SLOT = piv.container(3)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[KeyLaboratory]:
    made = KeyLaboratory(tmp_path)
    yield made
    made.close()


@pytest.fixture
def key(lab: KeyLaboratory) -> EmulatedKey:
    return lab.key()


def counter(key: EmulatedKey) -> int:
    """What the next signature of the security key tells."""
    core = key.fido.core
    core.commit(core.state.counted())
    return int.from_bytes(core.header(bytes(32), 0)[-4:], "big")


def test_a_pulled_key_is_out_until_it_is_put_in(lab: KeyLaboratory, key: EmulatedKey) -> None:
    lab.inject("unplug")
    assert not key.port.plugged
    lab.inject("unplug")  # still out
    assert len(lab.board.active) == 1
    lab.inject("plug")
    assert key.port.plugged
    assert lab.board.active == ()


def test_a_key_that_is_pulled_for_a_time_comes_back_by_itself(
    lab: KeyLaboratory, key: EmulatedKey
) -> None:
    lab.inject("unplug", seconds=3)
    lab.clock.advance(2.9)
    assert not key.port.plugged
    lab.clock.advance(0.2)
    assert key.port.plugged
    assert lab.did()[-1] == (3, "ended", "unplug", "key-1")


def test_a_key_flaps_as_often_as_it_is_told(lab: KeyLaboratory, key: EmulatedKey) -> None:
    first = key.port.address
    lab.inject("flap", count=3, seconds=1, pause=2)
    seen = []
    for _ in range(10):
        seen.append(key.port.plugged)
        lab.clock.advance(1)
    assert seen == [False, True, True, False, True, True, False, True, True, True]
    assert key.port.address == first + 3
    assert lab.board.active == ()


def test_clearing_a_flap_leaves_the_key_in(lab: KeyLaboratory, key: EmulatedKey) -> None:
    lab.inject("flap", count=9, seconds=1, pause=1)
    lab.board.clear()
    lab.clock.advance(60)
    assert key.port.plugged
    assert key.port.address == 2


def test_a_pull_takes_the_place_of_a_flap(lab: KeyLaboratory, key: EmulatedKey) -> None:
    lab.inject("flap", count=9, seconds=1, pause=1)
    lab.inject("unplug")
    lab.clock.advance(60)
    assert not key.port.plugged
    assert [one.fault.kind for one in lab.board.active] == ["unplug"]


@pytest.mark.parametrize("kind", ["stall", "slow", "truncate", "corrupt", "sequence"])
def test_a_fault_on_answers_ends_by_its_count_its_time_or_when_cleared(
    lab: KeyLaboratory, key: EmulatedKey, kind: str
) -> None:
    line = key.line(Side.CARD)
    answer = bytes(20)

    def harmed() -> bool:
        taken = line.take(iter([answer, None]).__next__)
        line.reset()
        return taken != answer

    lab.inject(kind, count=1)
    assert harmed()
    assert not harmed()
    lab.inject(kind, seconds=5)
    assert harmed()
    lab.clock.advance(5)
    assert not harmed()
    number = lab.inject(kind).number
    assert harmed()
    lab.board.clear(number)
    assert not harmed()
    assert [one[1] for one in lab.did()] == ["began", "ended"] * 3


def test_a_count_is_for_both_interfaces_together(lab: KeyLaboratory, key: EmulatedKey) -> None:
    lab.inject("stall", count=1)
    packet = bytes((0, 0, 0, 1, 0x90)).ljust(64, b"\x00")
    assert key.line(Side.FIDO).take(iter([packet, None]).__next__) is None
    assert key.line(Side.CARD).take(iter([b"answer"]).__next__) == b"answer"
    assert lab.board.active == ()


def test_a_full_card_keeps_what_it_has_and_takes_no_more(
    lab: KeyLaboratory, key: EmulatedKey
) -> None:
    assert put_object(key, SLOT, bytes(100)) == Status.OK
    lab.inject("full", bytes=10)
    before = key.state
    assert put_object(key, SLOT, bytes(111)) in (Status.MEMORY_FAILURE, Status.NO_SPACE)
    assert key.state == before
    assert put_object(key, SLOT, bytes(110)) == Status.OK
    assert put_object(key, SLOT, bytes(20)) == Status.OK
    lab.board.clear()
    assert put_object(key, SLOT, bytes(200)) == Status.OK


def test_a_stuck_counter_tells_the_same_number(lab: KeyLaboratory, key: EmulatedKey) -> None:
    assert counter(key) == 1
    lab.inject("worn")
    assert [counter(key), counter(key)] == [1, 1]
    lab.board.clear()
    assert counter(key) == 4


def test_a_counter_at_its_end_signs_no_more(lab: KeyLaboratory, key: EmulatedKey) -> None:
    lab.inject("worn", mode="end", seconds=1)
    with pytest.raises(Refused):
        counter(key)
    lab.clock.advance(1)
    assert counter(key) == 1


def test_a_copy_has_everything_and_goes_its_own_way(lab: KeyLaboratory, key: EmulatedKey) -> None:
    counter(key)
    lab.inject("clone")
    copy = lab.key("clone-1")
    assert copy.state == key.state
    assert copy.port.plugged
    assert copy.port.address != key.port.address
    counter(copy)
    assert copy.state != key.state
    with pytest.raises(EmulatorError, match=re.escape("Which key? There are key-1, clone-1.")):
        lab.inject("stall")
    lab.board.clear()
    assert [one.name for one in lab.keys] == ["key-1"]


def test_a_forged_key_has_the_contents_and_other_private_keys(
    lab: KeyLaboratory, key: EmulatedKey
) -> None:
    put_object(key, SLOT, b"a license")
    make_identity(key)
    lab.inject("clone", mode="forged", name="forgery", swap=True)
    forged = lab.key("forgery").state
    assert not key.port.plugged
    assert forged.piv.objects == key.state.piv.objects
    slot = piv.SLOT_CARD_AUTHENTICATION
    mine, theirs = key.state.piv.private_keys[slot], forged.piv.private_keys[slot]
    assert mine.algorithm == theirs.algorithm
    assert mine.pkcs8 != theirs.pkcs8
    wallet, other = key.fido.core.wallet, lab.key("forgery").fido.core.wallet
    credential = wallet.make(bytes(32), Trait(0), 1)
    assert wallet.open(credential.id, bytes(32)) is not None
    assert other.open(credential.id, bytes(32)) is None
    lab.board.clear()
    assert key.port.plugged


def make_identity(key: EmulatedKey) -> None:
    """Have the card make its identity key."""
    put_object(key, SLOT, b"a license")  # as the holder of the management key
    apdu = bytes.fromhex("0047009e05ac0380011100")
    assert key.card.transmit(apdu)[-2:] == b"\x90\x00"


def test_faults_of_a_copy_end_with_it(lab: KeyLaboratory) -> None:
    lab.inject("clone")
    lab.inject("stall", "clone-1")
    lab.board.clear(key="key-1")
    assert lab.board.active == ()


def test_a_copy_leaves_no_file_behind(lab: KeyLaboratory, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    lab.inject("clone")
    assert len(list(tmp_path.iterdir())) > len(before)
    lab.board.clear()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "key-1"}, "There is a key key-1 already."),
        ({"name": "../elsewhere"}, "A key's name has letters, digits"),
    ],
)
def test_a_copy_with_a_bad_name_is_refused(
    lab: KeyLaboratory, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(EmulatorError, match=re.escape(said)):
        lab.inject("clone", **values)
    assert lab.board.active == ()


def test_there_are_only_so_many_ports(lab: KeyLaboratory) -> None:
    for _ in range(MAX_PORTS - 1):
        lab.inject("clone", "key-1")
    with pytest.raises(EmulatorError, match="at most 24 keys"):
        lab.inject("clone", "key-1")


def test_rolled_back_contents_are_those_of_the_snapshot_and_the_newest_come_back(
    lab: KeyLaboratory, key: EmulatedKey
) -> None:
    put_object(key, SLOT, b"old")
    lab.inject("snapshot", name="before")
    put_object(key, SLOT, b"new")
    counter(key)
    newest, address = key.state, key.port.address
    lab.inject("rollback", to="before")
    assert key.state.piv.objects[SLOT] == b"old"
    assert key.piv.state.objects[SLOT] == b"old"
    assert counter(key) == 1  # it fell
    assert key.port.plugged
    assert key.port.address == address + 1, "the key was out meanwhile"
    lab.board.clear()
    assert key.state == newest
    assert counter(key) == 2


def test_objects_alone_may_be_rolled_back(lab: KeyLaboratory, key: EmulatedKey) -> None:
    put_object(key, SLOT, b"new")
    counter(key)
    lab.inject("rollback", mode="objects")
    assert SLOT not in key.state.piv.objects
    assert counter(key) == 2


def test_a_snapshot_that_is_not_there_is_named(lab: KeyLaboratory) -> None:
    with pytest.raises(
        EmulatorError, match=re.escape("There is no snapshot 'x' of key-1. There are start.")
    ):
        lab.inject("rollback", to="x")


def test_a_wrong_pin_is_wrong_and_costs_tries(lab: KeyLaboratory, key: EmulatedKey) -> None:
    lab.inject("pin")
    assert verify_pin(key) == 0x63C2
    lab.board.clear()
    assert verify_pin(key) == Status.OK


def test_a_blocked_pin_is_blocked(lab: KeyLaboratory, key: EmulatedKey) -> None:
    lab.inject("pin", mode="blocked")
    assert verify_pin(key) == Status.AUTH_METHOD_BLOCKED
    lab.board.clear()
    assert verify_pin(key) == Status.OK


def test_a_fault_of_the_same_kind_takes_the_place_of_the_one_before(
    lab: KeyLaboratory, key: EmulatedKey
) -> None:
    lab.inject("pin", mode="blocked")
    lab.inject("pin", mode="wrong")
    assert len(lab.board.active) == 1
    assert verify_pin(key) == 0x63C2


def test_contents_and_what_faults_do_to_them_are_durable(tmp_path: Path) -> None:
    lab = KeyLaboratory(tmp_path)
    put_object(lab.key(), SLOT, b"kept")
    counter(lab.key())
    kept = lab.key().state
    lab.close()
    again = KeyLaboratory(tmp_path)
    assert again.key().state == kept
    again.close()


def test_each_key_has_faults_of_its_own(tmp_path: Path) -> None:
    lab = KeyLaboratory(tmp_path, 3)
    assert len({key.serial for key in lab.keys}) == 3
    lab.inject("full", "key-2")
    lab.inject("unplug", "key-3")
    assert put_object(lab.key("key-1"), SLOT, b"x") == Status.OK
    assert put_object(lab.key("key-2"), SLOT, b"x") != Status.OK
    assert [key.port.plugged for key in lab.keys] == [True, True, False]
    assert len(lab.board.clear(key="key-2")) == 1
    assert [one.fault.kind for one in lab.board.active] == ["unplug"]
    lab.close()


def test_the_same_seed_makes_the_same_keys(tmp_path: Path) -> None:
    def serials(folder: str, seed: str) -> list[str]:
        (tmp_path / folder).mkdir()
        lab = KeyLaboratory(tmp_path / folder, 4, seed=seed)
        found = [key.serial for key in lab.keys]
        lab.close()
        return found

    assert serials("a", "1") == serials("b", "1")
    assert not set(serials("c", "2")) & set(serials("d", "1"))


def test_clearing_what_is_not_there_says_so(lab: KeyLaboratory) -> None:
    with pytest.raises(EmulatorError, match="No fault 7 is active"):
        lab.board.clear(7)
    assert lab.board.clear() == []

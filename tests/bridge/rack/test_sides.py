"""Which side of a key is opened, and over which way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keypeg.errors import KeyFaulty, KeypegError, KeyUnplugged, KeyUnsuitable
from keypeg_bridge.rack.plugs import Way
from keypeg_bridge.rack.ports import Seen
from keypeg_bridge.rack.sides import Opener, Side
from tests.bridge.fakes import FakeKey, FakeSource, faulty

ORDER = ("piv", "fido2")


class Sides(FakeSource):
    """A way that has one key, or one fault, for each side."""

    def __init__(self, name: str, sides: dict[str, FakeKey | KeypegError]) -> None:
        super().__init__(name)
        self.sides = sides
        self.way = Way(name, Seen("1", tuple(sides)))
        self.opened: list[str] = []

    def open(self, bus_id: str, side: str, gone: Callable[[], None]) -> FakeKey:
        self.opened.append(side)
        found = self.sides[side]
        if isinstance(found, KeypegError):
            raise found
        found.events.append("open")
        return found


def opener(*sources: Sides) -> Opener:
    return Opener({source.name: source for source in sources}, ORDER)


def used(*sources: Sides) -> Side:
    opened = opener(*sources).open([source.way for source in sources], lambda: None)
    for source in sources:
        for key in source.sides.values():
            if isinstance(key, FakeKey) and key is not opened.key:
                assert key.events.count("open") == key.events.count("close"), "left open"
    assert isinstance(opened.key, FakeKey)
    assert opened.key.events[-1] == "open"
    return opened.side


NEW = KeyUnsuitable("It has no such side.", capability="driver")


@pytest.mark.parametrize(
    ("piv", "fido2", "wanted"),
    [
        (FakeKey(1), FakeKey(2), "piv"),
        (FakeKey(1, enrolled=False), FakeKey(2), "fido2"),
        (FakeKey(1, enrolled=False), FakeKey(2, enrolled=False), "piv"),
        (NEW, FakeKey(2, enrolled=False), "fido2"),
        (faulty(), FakeKey(2, enrolled=False), "fido2"),
        (FakeKey(1, enrolled=False), faulty(), "piv"),
    ],
    ids=["both", "the enrolled one", "neither", "no card", "a broken card", "a broken other"],
)
def test_the_enrolled_side_is_taken_and_else_the_first(
    piv: FakeKey | KeypegError, fido2: FakeKey | KeypegError, wanted: str
) -> None:
    assert used(Sides("libusb", {"piv": piv}), Sides("hidapi", {"fido2": fido2})).driver == wanted


def test_a_way_that_fails_does_not_hide_another_to_the_same_side() -> None:
    broken = Sides("pcsc", {"piv": faulty("The service has it.")})
    assert used(broken, Sides("libusb", {"piv": FakeKey()})).way.source == "libusb"


def test_a_side_that_is_not_there_is_asked_for_once() -> None:
    second = Sides("libusb", {"piv": FakeKey()})
    with pytest.raises(KeyUnsuitable):
        opener(Sides("pcsc", {"piv": NEW}), second).open(
            [Way("pcsc", Seen("1", ("piv",))), second.way], lambda: None
        )
    assert second.opened == []


@pytest.mark.parametrize(
    ("errors", "wanted"),
    [
        ((NEW, faulty("It stalls.")), KeyFaulty),
        ((faulty("It stalls."), KeyUnplugged("gone")), KeyFaulty),
        ((KeyUnplugged("gone"), KeyUnplugged("gone")), KeyUnplugged),
    ],
)
def test_what_failed_is_told_before_what_is_not_there(
    errors: tuple[KeypegError, KeypegError], wanted: type[KeypegError]
) -> None:
    first, second = Sides("libusb", {"piv": errors[0]}), Sides("hidapi", {"fido2": errors[1]})
    with pytest.raises(wanted):
        used(first, second)


def test_with_no_way_left_the_key_is_unplugged() -> None:
    with pytest.raises(KeyUnplugged):
        opener().open([], lambda: None)


def test_a_bug_in_a_driver_leaves_nothing_open() -> None:
    key = FakeKey()
    key.fault = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        used(Sides("libusb", {"piv": key}), Sides("hidapi", {"fido2": FakeKey()}))
    assert key.events == ["open", "close"]


def test_only_a_better_way_that_is_new_is_changed_to() -> None:
    card, security = Sides("libusb", {"piv": FakeKey()}), Sides("hidapi", {"fido2": FakeKey()})
    tells = opener(card, security)
    on_fido, on_card = Side("fido2", security.way), Side("piv", card.way)
    both = [security.way, card.way]
    assert tells.improved([security.way], both, on_fido)
    assert not tells.improved([card.way], both, on_card)
    assert not tells.improved(both, both, on_fido), "it was tried, and not taken"
    assert not tells.improved(both, [card.way], on_fido), "it has gone: the key itself says so"

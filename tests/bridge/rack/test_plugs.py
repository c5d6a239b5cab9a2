"""One token, one plug, however many ways show it; without threads and without time passing by itself."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from keypeg_bridge.rack.plugs import PATIENCE, SETTLE, Plugs
from keypeg_bridge.rack.ports import Look, Place, Seen

SPOT = "usb 1-7"
CARD = frozenset({"piv"})


def card(bus_id: str = "c1", spot: str = SPOT, alike: str = "") -> Seen:
    return Seen(bus_id, ("piv",), spot, alike)


def fido(bus_id: str = "f1", spot: str = SPOT, alike: str = "") -> Seen:
    return Seen(bus_id, ("fido2",), spot, alike)


def local() -> Plugs:
    return Plugs(["pcsc", "hidapi", "libusb"])


def ways(plugs: Plugs) -> list[list[str]]:
    return [[str(way.place) for way in plug.ways] for plug in plugs.all()]


def test_a_card_and_a_security_key_at_one_spot_are_one_key() -> None:
    plugs = local()
    plugs.looked("libusb", Look([card()]), 0, 1.0)
    plugs.looked("hidapi", Look([fido(), fido("f2", "usb 1-8")]), 0, 1.1)
    assert ways(plugs) == [["hidapi f1", "libusb c1"], ["hidapi f2"]]
    assert [plug.place for plug in plugs.all()] == [Place("libusb", "c1"), Place("hidapi", "f2")]


def test_the_spot_decides_before_the_serial_number() -> None:
    plugs = local()
    plugs.looked("libusb", Look([card(alike="7")]), 0, 1.0)
    plugs.looked("hidapi", Look([fido("f2", "usb 1-8", alike="7")]), 0, 1.1)
    assert len(plugs.all()) == 2


def test_where_a_way_cannot_tell_the_spot_the_serial_number_decides_when_it_is_one_of_a_kind() -> (
    None
):
    plugs = local()
    plugs.looked("libusb", Look([card(alike="7")]), 0, 1.0)
    plugs.looked("hidapi", Look([fido(spot="", alike="7")]), 0, 1.1)
    assert ways(plugs) == [["hidapi f1", "libusb c1"]]

    twins = local()
    twins.looked("libusb", Look([card(alike="0"), card("c2", "usb 1-8", "0")]), 0, 1.0)
    twins.looked("hidapi", Look([fido(spot="", alike="0")]), 0, 1.1)
    assert len(twins.all()) == 3, "serial numbers that several have tell nothing"

    bare = local()
    bare.looked("libusb", Look([card()]), 0, 1.0)
    bare.looked("hidapi", Look([fido(spot="")]), 0, 1.1)
    assert len(bare.all()) == 2


def test_two_cards_of_one_way_are_two_keys_wherever_they_are() -> None:
    plugs = local()
    plugs.looked("pcsc", Look([card("r0"), card("r1")]), 0, 1.0)
    assert ways(plugs) == [["pcsc r0"], ["pcsc r1"]]


def test_what_the_card_service_holds_is_nobody_elses() -> None:
    plugs = local()
    plugs.looked("pcsc", Look([], claims=CARD, held=frozenset({SPOT})), 0, 1.0)
    plugs.looked("libusb", Look([card(), card("c2", "usb 1-8")]), 0, 1.0)
    assert ways(plugs) == [["libusb c2"]], "a reader without a card is no key"
    plugs.looked("pcsc", Look([card("r0")], claims=CARD, held=frozenset({SPOT})), 0, 2.0)
    assert ways(plugs) == [["libusb c2"], ["pcsc r0"]]
    plugs.looked("hidapi", Look([fido()]), 0, 2.0)
    assert ways(plugs) == [["libusb c2"], ["pcsc r0", "hidapi f1"]]
    plugs.looked("pcsc", Look([]), 0, 3.0)
    assert ways(plugs) == [["libusb c2"], ["hidapi f1", "libusb c1"]], "the service has ended"


def test_a_key_that_one_way_alone_can_show_is_opened_at_once() -> None:
    alone = Plugs(["libusb"])
    alone.looked("libusb", Look([card()]), 0, 1.0)
    assert alone.is_ripe(alone.all()[0], 1.0)
    remote = Plugs(["libusb", "usbip:h:1"])
    remote.looked("usbip:h:1", Look([card("r", spot="")]), 0, 1.0)
    assert remote.is_ripe(remote.all()[0], 1.0)


def test_other_ways_get_their_time_and_a_card_service_more_of_it() -> None:
    plugs = local()
    plugs.looked("libusb", Look([card()]), 0, 1.0)
    (plug,) = plugs.all()
    assert not plugs.is_ripe(plug, 1.0)
    assert plugs.is_ripe(plug, 1.0 + SETTLE)
    plugs.looked("pcsc", Look([], claims=CARD), 0, 1.1)
    assert plugs.ripe_at(plug) == 1.0 + PATIENCE
    plugs.looked("pcsc", Look([card("r0")], claims=CARD, held=frozenset({SPOT})), 0, 1.4)
    (plug,) = plugs.all()
    assert [way.source for way in plug.ways] == ["pcsc"]
    assert plugs.ripe_at(plug) == plug.since + SETTLE


def test_a_departure_outruns_the_looks_that_began_before_it() -> None:
    plugs = local()
    plugs.looked("libusb", Look([card()]), 0, 1.0)
    plugs.looked("hidapi", Look([fido()]), 0, 1.0)
    plugs.left(Place("libusb", "c1"), 2.0)
    assert plugs.all() == ()
    plugs.looked("hidapi", Look([fido()]), 0, 2.1)
    assert plugs.all() == (), "that look began when the key was there"
    plugs.looked("hidapi", Look([fido()]), plugs.departures, 2.2)
    assert ways(plugs) == [["hidapi f1"]], "it is there again, or still"


def test_a_key_keeps_its_place_while_any_way_shows_it() -> None:
    plugs = local()
    plugs.looked("libusb", Look([card()]), 0, 1.0)
    plugs.looked("hidapi", Look([fido()]), 0, 1.0)
    plugs.looked("libusb", Look([]), 0, 2.0)
    (plug,) = plugs.all()
    assert plug.place == Place("libusb", "c1")
    assert [way.source for way in plug.ways] == ["hidapi"]
    plugs.looked("hidapi", Look([]), 0, 3.0)
    assert plugs.all() == ()


SOURCES = ["pcsc", "hidapi", "libusb"]
SPOTS = ["usb 1-1", "usb 1-2", "usb 1-3", ""]


class Ways(RuleBasedStateMachine):
    """Whatever ways show, in whatever order: nothing is lost, nothing is shown twice."""

    def __init__(self) -> None:
        super().__init__()
        self.plugs = Plugs(SOURCES)
        self.shown: dict[str, dict[str, str]] = {name: {} for name in SOURCES}
        self.now = 0.0

    @rule(
        source=st.sampled_from(SOURCES),
        seen=st.dictionaries(st.sampled_from("abcd"), st.sampled_from(SPOTS), max_size=4),
    )
    def look(self, source: str, seen: dict[str, str]) -> None:
        before = self.shown[source]
        # A name of the way's own stays where it is for as long as it is shown.
        self.shown[source] = {i: before.get(i, spot) for i, spot in seen.items()}
        look = Look([Seen(i, ("piv",), spot) for i, spot in self.shown[source].items()])
        self.plugs.looked(source, look, self.plugs.departures, self.now)
        self.now += 1

    @rule(number=st.integers(0, 5))
    def leave(self, number: int) -> None:
        plugs = self.plugs.all()
        if number < len(plugs):
            for way in plugs[number].ways:
                del self.shown[way.source][way.seen.bus_id]
            self.plugs.left(plugs[number].place, self.now)

    @invariant()
    def everything_shown_is_in_one_plug(self) -> None:
        found = sorted((way.source, way.seen.bus_id) for p in self.plugs.all() for way in p.ways)
        assert found == sorted((s, i) for s, seen in self.shown.items() for i in seen)

    @invariant()
    def a_plug_is_one_thing(self) -> None:
        for plug in self.plugs.all():
            sources = [way.source for way in plug.ways]
            assert len(sources) == len(set(sources))
            assert sources == sorted(sources, key=SOURCES.index)
            assert len({way.seen.spot for way in plug.ways}) == 1
            assert self.plugs.get(plug.place) == plug


TestWays = Ways.TestCase
TestWays.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)

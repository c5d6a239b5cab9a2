"""Transports and drivers in the rack's clothes: their errors become the rack's, and no problem is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from keypeg.errors import KeyAuthorizationFailed, KeyFaulty, KeyFull, KeyUnplugged, KeyUnsuitable
from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg_bridge import app
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.keys import fido2_commands
from keypeg_bridge.keys.opening import Drivers
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.rack.sources import BackendSource, ClosedSource, DriverKey, make_source
from keypeg_bridge.settings import Keys
from keypeg_bridge.transport import pcsc
from keypeg_bridge.transport.errors import (
    BackendUnavailable,
    DeviceBusy,
    DeviceGone,
    DeviceRefused,
    DeviceTimeout,
)
from keypeg_bridge.transport.ports import (
    CARD,
    CardPipe,
    FoundDevice,
    HidPipe,
    OnGone,
    Problem,
    Shares,
)
from tests.bridge.cards import DirectKey
from tests.bridge.security_keys import SecurityKey

DRIVERS = Drivers(lambda: 0.0)
DEVICE = FoundDevice("h1", "fake", 1, 2, 3, 4, product_name="a key", serial="7")


class FakeBackend:
    """A backend with one device, or an error."""

    name = "fake"

    def __init__(self) -> None:
        self.key = DirectKey()
        self.error: Exception | None = None

    def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
        if self.error is not None:
            raise self.error
        return [DEVICE], [Problem("fake", "Device 1:2: no permission.")]

    def open(self, handle: str, on_gone: OnGone | None = None) -> CardPipe:
        if self.error is not None:
            raise self.error
        return self.key.pipe(on_gone)

    def open_hid(self, handle: str, on_gone: OnGone | None = None) -> HidPipe:
        raise DeviceRefused("It has a card only.")


def test_devices_and_problems_of_a_backend_are_seen() -> None:
    source = BackendSource(FakeBackend(), DRIVERS)
    look = source.look()
    assert [one.bus_id for one in look.seen] == ["h1"]
    assert look.problems == ("Device 1:2: no permission.",)
    key = source.open("h1", "piv", lambda: None)
    found = key.identity()
    assert (found.model, found.serial) == ("a key", "7")
    key.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DeviceGone("gone"), KeyUnplugged),
        (DeviceBusy("in use"), KeyFaulty),
        (DeviceTimeout("slow"), KeyFaulty),
    ],
)
def test_what_keeps_a_device_from_being_opened_is_said(
    error: Exception, expected: type[Exception]
) -> None:
    backend = FakeBackend()
    source = BackendSource(backend, DRIVERS)
    source.look()
    backend.error = error
    with pytest.raises(expected):
        source.open("h1", "piv", lambda: None)


class FakeService(FakeBackend):
    """A backend that shares its cards with other programs, and tells of changes."""

    def shares(self) -> Shares:
        return Shares(frozenset({CARD}), frozenset({"usb 1-7"}))

    def wait(self, seconds: float) -> None:
        raise NotImplementedError

    def wake(self) -> None:
        raise NotImplementedError


def test_what_a_backend_shares_is_claimed_for_the_drivers_of_cards() -> None:
    backend = FakeService()
    source = BackendSource(backend, Drivers(lambda: 0.0, None, ("fido2", "piv", "smartkey")))
    look = source.look()
    assert look.claims == {"piv", "smartkey"}
    assert look.held == {"usb 1-7"}
    assert look.seen[0].sides == ("piv", "smartkey"), "in the chosen order, as far as they fit"
    assert source.notices is backend
    polled = BackendSource(FakeBackend(), DRIVERS)
    assert polled.notices is None
    assert polled.look().claims == frozenset()


def test_the_card_service_is_left_out_where_nobody_asked_for_it_and_it_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usual = Keys().backends
    monkeypatch.setattr(pcsc, "is_installed", lambda: True)
    assert app._ways(usual) == list(usual)
    monkeypatch.setattr(pcsc, "is_installed", lambda: False)
    assert app._ways(usual) == ["hidapi", "libusb"]
    assert app._ways(("pcsc", "libusb")) == ["pcsc", "libusb"], "it says itself what is missing"


def test_a_device_that_was_never_seen_is_unplugged() -> None:
    with pytest.raises(KeyUnplugged):
        BackendSource(FakeBackend(), DRIVERS).open("h2", "piv", lambda: None)


def test_a_backend_that_cannot_be_asked_is_a_problem_and_an_unknown_one_is_an_error() -> None:
    backend = FakeBackend()
    backend.error = BackendUnavailable("no server")
    with pytest.raises(KeyFaulty, match="no server"):
        BackendSource(backend, DRIVERS).look()
    with pytest.raises(KeyFaulty, match="no library"):
        ClosedSource("libusb", "no library").look()
    with pytest.raises(ValueError, match="unknown"):
        make_source("parport", DRIVERS)


def test_a_security_key_that_nobody_touched_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fido2_commands, "TOUCH_SECONDS", 0.05)
    security_key = SecurityKey(tmp_path, touch=TouchPolicy.COMMAND)
    key = DriverKey(security_key.open())
    key.give_card_id()
    asked = key.begin_authorization()
    key.finish_authorization(respond(ManagementAlgorithm.AES_192, DEFAULT_MANAGEMENT_KEY, asked))
    key.set_management_key("aes256", bytes(32))
    with pytest.raises(KeyAuthorizationFailed, match="touch it"):
        key.generate_identity_key()
    assert key.identity().public_key is None
    security_key.finger.press()
    assert key.generate_identity_key() == key.identity().public_key
    assert key.probe().counter
    assert not key.identity().factory_key
    key.close()


def authorized(profile: str) -> tuple[DriverKey, DirectKey]:
    direct = DirectKey(profile)
    driver = PivDriver(direct.pipe())
    asked = driver.begin_authorization()
    factory = DEFAULT_MANAGEMENT_KEY[: asked.algorithm.key_bytes]
    driver.finish_authorization(respond(asked.algorithm, factory, asked.challenge))
    return DriverKey(driver), direct


def test_a_new_management_key_is_set_once_it_is_one() -> None:
    key, _ = authorized("token")
    for algorithm, secret in (("aes256", b"k" * 31), ("des", b"k" * 8), ("", b"")):
        with pytest.raises(KeyUnsuitable):
            key.set_management_key(algorithm, secret)
    assert key.identity().factory_key
    key.set_management_key("aes256", b"k" * 32)
    assert not key.identity().factory_key
    assert key.probe().management_algorithm == "aes256"


def test_a_key_that_cannot_change_its_management_key_keeps_it_and_says_so() -> None:
    key, direct = authorized("standard")
    key.set_management_key("3des", b"k" * 24)
    key.generate_identity_key()
    assert "management_key_fixed" in key.probe().features
    assert direct.applet.state.management_key == DEFAULT_MANAGEMENT_KEY
    again = DriverKey(PivDriver(direct.pipe()))
    assert again.identity().factory_key  # so the server answers for the one that it has
    asked = again.begin_authorization()
    again.finish_authorization(
        respond(ManagementAlgorithm.TRIPLE_DES, DEFAULT_MANAGEMENT_KEY, asked)
    )
    again.write(1, b"a license")
    assert "management_key_fixed" not in authorized("token")[0].probe().features


def test_a_document_that_does_not_fit_fills_nothing() -> None:
    key, _ = authorized("token")
    with pytest.raises(KeyFull):
        key.write(1, bytes(4_000))
    assert key.read(1) is None


@pytest.mark.parametrize("algorithm", [ManagementAlgorithm.AES_192, ManagementAlgorithm.TRIPLE_DES])
def test_a_key_without_a_card_id_gets_one_under_its_factory_key(
    algorithm: ManagementAlgorithm,
) -> None:
    profile = "token" if algorithm is ManagementAlgorithm.AES_192 else "standard"
    direct = DirectKey(profile)
    direct.applet.state.objects.pop(0x5FC102)
    key = DriverKey(PivDriver(direct.pipe()))
    assert key.identity().card_id is None
    key.give_card_id()
    given = key.identity().card_id
    assert given is not None
    assert len(given) == 16

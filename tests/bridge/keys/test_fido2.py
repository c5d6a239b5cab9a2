"""The FIDO2 driver beyond the contract: keys that lack something, counters that fall, records on disk, and any bytes."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from structlog.testing import capture_logs

from keypeg.management import DEFAULT_MANAGEMENT_KEY, respond
from keypeg.possession import FIDO2_RP_ID_HASH, check_possession
from keypeg.v1 import document_pb2 as d
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.keys import fido2_commands
from keypeg_bridge.keys.driver import KeyDriver
from keypeg_bridge.keys.errors import (
    KeyMissing,
    MalformedReply,
    NotSupported,
    NotTouched,
)
from keypeg_bridge.keys.fido2 import SAVE_EVERY, Fido2Driver
from keypeg_bridge.keys.fido2_commands import Info, NewCredential, Signed
from keypeg_bridge.keys.fido2_shelf import Shelf
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.transport import hid_pipe
from keypeg_bridge.transport.errors import DeviceBusy, DeviceRefused
from keypeg_bridge.transport.ports import CARD, FIDO, FoundDevice, HidPipe, OnGone, Problem
from keypeg_bridge.wire import ctaphid
from tests.bridge.security_keys import SecurityKey

CHALLENGE = bytes(range(32))


@pytest.fixture(autouse=True)
def quick_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the end of one wait of the reading thread."""
    monkeypatch.setattr(hid_pipe, "WATCH_MS", 10)


def authorize(driver: KeyDriver) -> None:
    asked = driver.begin_authorization()
    driver.finish_authorization(respond(asked.algorithm, DEFAULT_MANAGEMENT_KEY, asked.challenge))


def enroll(driver: KeyDriver) -> bytes:
    authorize(driver)
    return driver.generate_identity_key()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return tmp_path / "fido2"


@pytest.fixture
def key(disk: Path) -> SecurityKey:
    return SecurityKey(disk)


def record_of(disk: Path) -> Path:
    [file] = disk.glob("*.json")
    return file


# Keys that lack something


def test_a_key_that_wants_a_touch_each_time_is_refused_at_enrollment(disk: Path) -> None:
    key = SecurityKey(disk, silent=False, touch=TouchPolicy.COMMAND)
    driver = key.open()
    authorize(driver)
    key.finger.press()
    with pytest.raises(NotSupported, match=r"wants a touch before it signs.*cannot serve"):
        driver.generate_identity_key()
    assert not disk.exists()
    assert driver.identity().public_key is None
    assert not key.hid.wants_touch, "the key is left waiting"
    driver.close()


def test_a_key_that_claims_touches_that_never_were_is_refused(disk: Path) -> None:
    key = SecurityKey(disk, silent=False, touch=TouchPolicy.ALWAYS)
    driver = key.open()
    authorize(driver)
    with pytest.raises(NotSupported, match="says that it was touched"):
        driver.generate_identity_key()
    assert not disk.exists()
    driver.close()


def test_enrollment_waits_for_a_touch_only_so_long(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fido2_commands, "TOUCH_SECONDS", 0.1)
    key = SecurityKey(disk, touch=TouchPolicy.COMMAND)
    driver = key.open()
    authorize(driver)
    with pytest.raises(NotTouched, match="touch it when it blinks"):
        driver.generate_identity_key()
    assert not key.hid.wants_touch
    key.finger.press()
    assert driver.generate_identity_key() == driver.identity().public_key
    driver.close()


def test_a_key_says_what_it_has(key: SecurityKey) -> None:
    driver = key.open()
    before = driver.probe()
    assert (before.silent, before.counter) == (None, None)
    assert {"resident_keys", "large_blobs"} <= set(before.features)
    enroll(driver)
    after = driver.probe()
    assert (after.silent, after.counter) == (True, True)
    assert "attested" in after.features
    key.core.state = replace(key.core.state, pin_hash=bytes(16))
    driver.close()
    driver = key.open()
    assert "pin_set" in driver.probe().features
    driver.prove(CHALLENGE)  # a PIN is not asked for silently
    driver.close()


def test_a_key_that_speaks_only_u2f_is_refused(key: SecurityKey) -> None:
    def without_cbor(reports: list[bytes]) -> list[bytes]:
        [one] = reports
        return [one[:23] + bytes([one[23] & ~ctaphid.Capability.CBOR]) + one[24:]]

    key.change = without_cbor  # type: ignore[assignment]
    with pytest.raises(NotSupported, match="U2F"):
        key.open()


def test_a_key_that_was_reset_has_lost_its_credential(key: SecurityKey) -> None:
    driver = key.open()
    enroll(driver)
    key.core.state = key.core.state.reset()
    key.core.wallet = type(key.core.wallet)("a test", key.core.state)
    with pytest.raises(KeyMissing, match="was reset"):
        driver.prove(CHALLENGE)
    driver.close()
    driver = key.open()
    assert driver.identity().public_key is None
    driver.close()


# Counters


def test_a_counter_that_falls_is_told_once_and_kept_and_refuses_nothing(key: SecurityKey) -> None:
    driver = key.open()
    enroll(driver)
    for _ in range(5):
        driver.prove(CHALLENGE)
    key.count_back(4)
    with capture_logs() as logs:
        driver.prove(CHALLENGE)
        driver.prove(CHALLENGE)
    assert [one["event"] for one in logs] == ["clone suspected"]
    [signal] = driver.signals()
    assert "there may be a copy" in signal
    driver.close()
    driver = key.open()
    assert driver.signals()
    enroll(driver)  # a new credential: no copy has it
    assert driver.signals() == ()
    driver.close()


def test_a_fall_between_two_openings_is_seen_when_the_key_comes(key: SecurityKey) -> None:
    driver = key.open()
    enroll(driver)
    for _ in range(5):
        driver.prove(CHALLENGE)
    driver.close()
    key.count_back(3)
    driver = key.open()
    assert driver.signals()
    driver.close()


def test_a_key_that_counts_nothing_is_not_suspected(disk: Path) -> None:
    key = SecurityKey(disk, counts=False)
    driver = key.open()
    enroll(driver)
    driver.prove(CHALLENGE)
    driver.close()
    driver = key.open()
    assert driver.probe().counter is False
    assert driver.signals() == ()
    driver.close()


def test_a_crash_forgets_only_the_last_counts(key: SecurityKey, disk: Path) -> None:
    driver = key.open()
    enroll(driver)
    start = Shelf(disk).records()[0].counter
    key.core.state = replace(key.core.state, counter=start + SAVE_EVERY)
    driver.prove(CHALLENGE)
    assert Shelf(disk).records()[0].counter > start
    assert key.open().signals() == ()  # and the crashed one never closed


# Records


def test_a_record_is_this_users_alone_and_shows_no_secret(key: SecurityKey, disk: Path) -> None:
    driver = key.open()
    enroll(driver)
    driver.write(1, b"a license")
    driver.close()
    assert stat.S_IMODE(record_of(disk).stat().st_mode) == 0o600
    assert stat.S_IMODE(disk.stat().st_mode) == 0o700
    [record] = Shelf(disk).records()
    assert repr(DEFAULT_MANAGEMENT_KEY) not in repr(record)
    assert repr(record.credential) not in repr(record)
    assert type(record).decode(record.encode()) == record


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff", b'{"version": 2}', b"[" * 100_000, b'{"version": 1, "fall": 3}'],
)
def test_a_damaged_record_is_named_and_hides_no_other(
    key: SecurityKey, disk: Path, content: bytes
) -> None:
    driver = key.open()
    point = enroll(driver)
    driver.close()
    (disk / f"{'0' * 32}.json").write_bytes(content)
    with capture_logs() as logs:
        driver = key.open()
    assert driver.identity().public_key == point
    assert [one["event"] for one in logs] == ["key record unreadable"]
    driver.close()


def test_a_key_is_found_among_many(tmp_path: Path, disk: Path) -> None:
    points = []
    keys = [SecurityKey(disk) for _ in range(2)]
    for number, key in enumerate(keys):
        if number:  # another key, not a copy of the first
            key.core.state = key.core.state.reset()
            key.core.wallet = type(key.core.wallet)("another", key.core.state)
        driver = key.open()
        points.append(enroll(driver))
        driver.close()
    shelf = Shelf(disk)
    [first, *_] = shelf.records()
    for number in range(40):
        strange = replace(first, card_id=bytes([number + 1]) * 16, credential=bytes([number]) * 64)
        shelf.save(strange)
    assert points[0] != points[1]
    for key, point in zip(keys, points, strict=True):
        driver = key.open()
        assert driver.identity().public_key == point
        driver.close()


def test_a_record_of_another_bridge_is_not_needed(key: SecurityKey, tmp_path: Path) -> None:
    driver = key.open()
    enroll(driver)
    driver.close()
    key.drivers = replace(key.drivers, folder=tmp_path / "elsewhere")
    driver = key.open()
    assert driver.identity().public_key is None
    driver.close()


# Other programs


def test_reports_for_other_programs_are_passed_over(key: SecurityKey) -> None:
    others = ctaphid.fragment(0x77, ctaphid.Command.CBOR, bytes(200))

    def among_others(reports: list[bytes]) -> list[bytes]:
        return [one for report in reports for one in (*others, report)]

    driver = key.open()
    point = enroll(driver)
    key.change = among_others  # type: ignore[assignment]
    proof = driver.prove(CHALLENGE).value
    named = d.PublicKey(algorithm=d.KEY_ALGORITHM_FIDO2_P256, key=point)
    check_possession(named, CHALLENGE, proof)
    driver.close()


def busy(reports: list[bytes]) -> list[bytes]:
    channel = int.from_bytes(reports[0][:4], "big") if reports else 0
    code = bytes([ctaphid.ErrorCode.CHANNEL_BUSY])
    return ctaphid.fragment(channel, ctaphid.Command.ERROR, code) if reports else []


def test_a_key_that_another_program_uses_is_waited_for(
    key: SecurityKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = key.open()
    enroll(driver)
    left = [2]

    def busy_twice(reports: list[bytes]) -> list[bytes]:
        if reports and left[0]:
            left[0] -= 1
            return busy(reports)
        return reports

    key.change = busy_twice  # type: ignore[assignment]
    driver.prove(CHALLENGE)
    assert left == [0]
    key.change = busy  # type: ignore[assignment]
    monkeypatch.setattr(fido2_commands, "COMMAND_SECONDS", 0.15)
    with pytest.raises(DeviceBusy, match="Another program"):
        driver.prove(CHALLENGE)
    key.change = lambda reports: reports
    driver.prove(CHALLENGE)
    driver.close()


def test_after_nonsense_the_next_request_finds_a_clean_channel(key: SecurityKey) -> None:
    driver = key.open()
    enroll(driver)
    key.change = (
        lambda reports: [  # the wrong sequence number
            one[:4] + b"\x55" + one[5:] if number == 1 else one
            for number, one in enumerate(reports)
        ]
    )
    with pytest.raises(MalformedReply):
        driver.prove(CHALLENGE)
    key.change = lambda reports: reports
    driver.prove(CHALLENGE)
    driver.close()


# Other algorithms, other devices


class Ed25519Key:
    """A key that knows only Ed25519."""

    def __init__(self) -> None:
        self._private = ed25519.Ed25519PrivateKey.generate()
        self._counter = 0

    def info(self) -> Info:
        return Info(("FIDO_2_0",), {}, (), 1_024, 1, None)

    def make_credential(self, user: bytes, client_data_hash: bytes) -> NewCredential:
        raw = self._private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        return NewCredential(b"the only one", d.KEY_ALGORITHM_FIDO2_ED25519, raw, False)

    def get_assertion(self, credentials: list[bytes], client_data_hash: bytes) -> Signed:
        self._counter += 1
        data = FIDO2_RP_ID_HASH + b"\x00" + self._counter.to_bytes(4, "big")
        return Signed(None, data, self._private.sign(data + client_data_hash))

    def room_for(self, credentials: list[bytes], info: Info) -> Iterator[list[bytes]]:
        yield from ([one] for one in credentials)

    def close(self) -> None:
        """Nothing is held."""


def test_a_key_of_ed25519_serves_too(disk: Path) -> None:
    made = Ed25519Key()
    driver = Fido2Driver(made, Shelf(disk), gone=lambda: False)  # type: ignore[arg-type]
    point = enroll(driver)
    named = d.PublicKey(algorithm=d.KEY_ALGORITHM_FIDO2_ED25519, key=point)
    check_possession(named, CHALLENGE, driver.prove(CHALLENGE).value)
    again = Fido2Driver(made, Shelf(disk), gone=lambda: False)  # type: ignore[arg-type]
    found = again.identity()
    assert (found.public_key, found.key_algorithm) == (point, d.KEY_ALGORITHM_FIDO2_ED25519)


class OtherCard:
    """A card without PIV."""

    gone = False
    extended = False
    closed = False

    def restart(self) -> None:
        """Nothing changes."""

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        return b"\x6a\x82"

    def close(self) -> None:
        self.closed = True


class Composite:
    """A device with a card and a FIDO interface."""

    name = "composite"

    def __init__(self, key: SecurityKey) -> None:
        self._key = key
        self.card = OtherCard()
        self.device = FoundDevice("h", self.name, 1, 2, 3, 4, interfaces=frozenset({CARD, FIDO}))

    def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
        return [self.device], []

    def open(self, handle: str, on_gone: OnGone | None = None) -> OtherCard:
        return self.card

    def open_hid(self, handle: str, on_gone: OnGone | None = None) -> HidPipe:
        found, _ = self._key.backend.devices()
        return self._key.backend.open_hid(found[0].handle, on_gone)


def test_a_device_whose_card_is_no_piv_card_is_taken_as_a_security_key(key: SecurityKey) -> None:
    both = Composite(key)
    drivers = replace(key.drivers, order=("piv", "fido2"))
    driver = open_driver(both, both.device, drivers)
    assert driver.probe().driver == "fido2"
    assert both.card.closed
    driver.close()
    with pytest.raises(NotSupported, match="PIV"):
        open_driver(both, both.device, replace(drivers, order=("piv",)))
    with pytest.raises(DeviceRefused, match="fits"):
        open_driver(both, replace(both.device, interfaces=frozenset({CARD})), key.drivers)
    with pytest.raises(DeviceRefused, match="fits"):
        open_driver(both, both.device, Drivers(key.drivers.now, None, ("fido2",)))

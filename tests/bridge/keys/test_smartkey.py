"""The smartkey driver beyond its contract: counters that fall, keys that lie, and what they are told apart by."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from keypeg.errors import KeyRolledBack
from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, diversify, respond
from keypeg.possession import Counted, check_possession
from keypeg.v1.document_pb2 import KEY_ALGORITHM_SMARTKEY_P256, PublicKey
from keypeg_bridge.emulator.smartkey_state import SLOT_BYTES
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    CounterFell,
    KeyDriverError,
    MalformedReply,
    NotSupported,
    StorageFull,
)
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.keys.smartkey import SmartkeyDriver
from keypeg_bridge.keys.smartkey_counters import SmartkeyCounters
from keypeg_bridge.rack.sources import DriverKey
from keypeg_bridge.transport.errors import TransportError
from keypeg_bridge.transport.ports import CARD, CardPipe, FoundDevice, HidPipe, OnGone, Problem
from keypeg_bridge.wire import smartkey
from tests.bridge.smartkeys import DirectSmartkey

CHALLENGE = hashlib.sha256(b"a challenge").digest()
OK = b"\x90\x00"


def authorize(driver: SmartkeyDriver, key: bytes = DEFAULT_MANAGEMENT_KEY) -> None:
    asked = driver.begin_authorization()
    driver.finish_authorization(respond(asked.algorithm, key, asked.challenge))


def enroll(driver: SmartkeyDriver) -> bytes:
    authorize(driver)
    return driver.generate_identity_key()


@pytest.fixture
def key(tmp_path: Path) -> DirectSmartkey:
    return DirectSmartkey(counters=SmartkeyCounters(tmp_path / "smartkeys"))


def count_to(key: DirectSmartkey, counter: int) -> None:
    """The key's contents are put back, or those of a copy."""
    key.applet.state = replace(key.applet.state, counter=counter)


def counted(driver: SmartkeyDriver, point: bytes) -> int:
    named = PublicKey(algorithm=KEY_ALGORITHM_SMARTKEY_P256, key=point)
    found = check_possession(named, CHALLENGE, driver.prove(CHALLENGE).value)
    assert isinstance(found, Counted)
    return found.counter


# Counters


@pytest.mark.behaviour("KEY-7")
def test_a_counter_that_falls_is_refused_told_and_kept(key: DirectSmartkey) -> None:
    driver = key.open()
    point = enroll(driver)
    for _ in range(20):
        driver.prove(CHALLENGE)
    seen = counted(driver, point)
    count_to(key, 5)
    with capture_logs() as logs:
        for told in (6, 7):
            with pytest.raises(CounterFell) as refused:
                driver.prove(CHALLENGE)
            assert (refused.value.seen, refused.value.told) == (seen, told)
    assert [one["event"] for one in logs] == ["clone suspected"]
    [signal] = driver.signals()
    assert "told 7 after 22" in signal
    driver.close()

    again = key.open()
    assert again.signals() == driver.signals()
    count_to(key, seen)  # the one that was seen first
    assert counted(again, point) == seen + 1
    assert again.signals()  # and yet there are two
    again.close()


def test_a_fall_is_seen_when_the_key_comes(key: DirectSmartkey) -> None:
    driver = key.open()
    enroll(driver)
    for _ in range(5):
        driver.prove(CHALLENGE)
    driver.close()
    count_to(key, 3)
    driver = key.open()
    assert driver.probe().silent is True
    assert driver.signals()
    with pytest.raises(CounterFell):
        driver.prove(CHALLENGE)


def test_a_bridge_that_starts_again_remembers(tmp_path: Path) -> None:
    key = DirectSmartkey(counters=SmartkeyCounters(tmp_path))
    driver = key.open()
    point = enroll(driver)
    for _ in range(9):
        driver.prove(CHALLENGE)
    driver.close()
    key.counters = SmartkeyCounters(tmp_path)
    driver = key.open()
    assert counted(driver, point) == 11
    driver.close()
    key.counters = SmartkeyCounters(tmp_path)
    count_to(key, 8)
    with pytest.raises(CounterFell):
        key.open().prove(CHALLENGE)


def test_a_new_identity_key_begins_without_suspicion(key: DirectSmartkey) -> None:
    driver = key.open()
    enroll(driver)
    driver.prove(CHALLENGE)
    count_to(key, 0)
    with pytest.raises(CounterFell):
        driver.prove(CHALLENGE)
    assert driver.signals()
    point = enroll(driver)  # no copy has it
    assert driver.signals() == ()
    assert counted(driver, point) > 0


def test_a_key_is_told_from_others_by_its_own_numbers(tmp_path: Path) -> None:
    counters = SmartkeyCounters(tmp_path)
    busy, idle = DirectSmartkey("busy", counters), DirectSmartkey("idle", counters)
    first, second = busy.open(), idle.open()
    enroll(first)
    enroll(second)
    for _ in range(30):
        first.prove(CHALLENGE)
    assert second.prove(CHALLENGE)
    assert second.signals() == ()


def test_opening_signs_once_however_often_it_is_asked(key: DirectSmartkey) -> None:
    driver = key.open()
    enroll(driver)
    driver.close()
    driver = key.open()
    before = key.applet.state.counter
    for _ in range(3):
        driver.probe()
        driver.identity()
        driver.signals()
    assert key.applet.state.counter == before + 1
    able = driver.probe()
    assert (able.driver, able.counter, able.slot_bytes) == ("smartkey", True, SLOT_BYTES)


def test_the_rack_hears_of_it_as_a_reason_of_its_own(key: DirectSmartkey) -> None:
    driver = key.open()
    enroll(driver)
    driver.prove(CHALLENGE)
    count_to(key, 0)
    with pytest.raises(KeyRolledBack) as refused:
        DriverKey(driver).prove(CHALLENGE)
    assert refused.value.metadata == {"told": "1", "seen": "2"}


# Keys that answer wrongly


def test_a_card_without_the_applet_is_no_smartkey(key: DirectSmartkey) -> None:
    key.harm = lambda answer: b"\x6a\x82"
    with pytest.raises(NotSupported, match="no smartkey applet"):
        key.open()


def test_an_applet_of_another_version_is_not_spoken_to(key: DirectSmartkey) -> None:
    key.harm = lambda answer: b"\x02" + answer[1:] if answer[:1] == b"\x01" else answer
    with pytest.raises(NotSupported, match="version 02"):
        key.open()


Lie = Callable[[bytes], bytes]
LIES: list[tuple[str, Lie]] = [
    ("another name", lambda a: a.replace(b"keypeg\x01", b"keypeg\x02")),
    ("no name", lambda a: b"\x6f\x00" + OK if a[:1] == b"\x6f" else a),
    ("a cut template", lambda a: a[:5] + OK if a[:1] == b"\x6f" else a),
    ("little of itself", lambda a: a[:20] + OK if a[:1] == b"\x01" else a),
    ("no card id", lambda a: a[:10] + bytes(16) + a[26:] if a[:1] == b"\x01" else a),
    ("half a key", lambda a: a[:1] + b"\x02" + a[2:34] + b"\x04" * 30 + OK if a[:1] == b"\x01" else a),
    ("no point", lambda a: a[:1] + b"\x02" + a[2:34] + b"\x04" * 65 + OK if a[:1] == b"\x01" else a),
    ("one byte", lambda a: b"\x90"),
    ("nothing", lambda a: b""),
]  # fmt: skip


@pytest.mark.parametrize(("what", "lie"), LIES, ids=[lie[0] for lie in LIES])
def test_a_key_that_answers_wrongly_is_not_opened(key: DirectSmartkey, what: str, lie: Lie) -> None:
    key.harm = lie
    with pytest.raises(MalformedReply):
        key.open()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=120) | st.binary(max_size=120).map(lambda d: d + OK), max_size=6)
)
@pytest.mark.behaviour("KEY-14")
def test_any_answers_end_in_an_error_of_the_key_or_a_value(answers: list[bytes]) -> None:
    key = DirectSmartkey()
    left = list(answers)
    key.harm = lambda answer: left.pop(0) if left else answer
    try:
        driver = key.open()
        driver.probe()
        driver.identity()
        driver.read(1)
        enroll(driver)
        driver.write(1, bytes(600))
        driver.prove(CHALLENGE)
    except (KeyDriverError, TransportError):
        pass


def test_a_wrong_signature_is_no_fall(key: DirectSmartkey) -> None:
    driver = key.open()
    enroll(driver)
    driver.prove(CHALLENGE)
    for harm in (
        lambda answer: bytes(7) + b"\x01" + answer[8:],
        lambda answer: b"\xff" * 8 + answer[8:],
        lambda answer: answer[:-3] + bytes((answer[-3] ^ 1,)) + OK,
    ):
        key.harm = harm
        with pytest.raises(MalformedReply, match="signature is wrong"):
            driver.prove(CHALLENGE)
    key.harm = lambda answer: answer
    assert driver.signals() == ()
    driver.prove(CHALLENGE)


def test_a_worn_out_counter_says_so(key: DirectSmartkey) -> None:
    driver = key.open()
    enroll(driver)
    count_to(key, smartkey.MAX_COUNTER)
    with pytest.raises(KeyDriverError, match="worn out") as refused:
        driver.prove(CHALLENGE)
    assert refused.value.status_word == 0x6581


def test_a_slot_that_never_ends_is_given_up(key: DirectSmartkey) -> None:
    driver = key.open()
    key.harm = lambda answer: bytes(256) + OK
    with pytest.raises(MalformedReply, match="beyond"):
        driver.read(1)
    assert len(key.sent) < 40


def test_what_is_written_is_read_back(key: DirectSmartkey) -> None:
    driver = key.open()
    authorize(driver)
    key.harm = lambda answer: b"other" + OK if len(answer) > 2 else answer
    with pytest.raises(MalformedReply, match="does not give back"):
        driver.write(1, b"a license")


# Writing


def test_a_full_key_says_so_and_keeps_what_it_has(key: DirectSmartkey) -> None:
    driver = key.open()
    authorize(driver)
    data = [bytes([slot + 1]) * SLOT_BYTES for slot in range(15)]
    for slot, one in enumerate(data):
        driver.write(slot, one)
    with pytest.raises(StorageFull):
        driver.write(15, data[0])
    with pytest.raises(StorageFull):
        driver.write(1, bytes(70_000))
    assert [driver.read(slot) for slot in range(15)] == data
    assert driver.read(15) is None


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=SLOT_BYTES))
def test_any_data_is_given_back(data: bytes) -> None:
    key = DirectSmartkey()
    driver = key.open()
    authorize(driver)
    driver.write(7, data)
    assert driver.read(7) == (data or None)
    assert max(len(apdu) for apdu in key.sent) <= 261


@pytest.mark.parametrize("algorithm", ManagementAlgorithm)
def test_its_management_key_may_be_any_aes_key(
    key: DirectSmartkey, algorithm: ManagementAlgorithm
) -> None:
    driver = key.open()
    authorize(driver)
    new = diversify(bytes(32), driver.ensure_card_id(), algorithm)
    if algorithm is ManagementAlgorithm.TRIPLE_DES:
        with pytest.raises(NotSupported, match="AES"):
            driver.set_management_key(algorithm, new)
        return
    driver.set_management_key(algorithm, new)
    driver.end_authorization()
    with pytest.raises(AuthorizationFailed):
        driver.write(1, b"no")
    authorize(driver, new)
    driver.write(1, b"yes")
    assert driver.probe().management_algorithm is algorithm


def test_a_management_key_of_an_unknown_kind_is_named_as_missing(key: DirectSmartkey) -> None:
    key.harm = lambda a: a[:2] + b"\x77" + a[3:] if a[:1] == b"\x01" else a
    driver = key.open()
    [missing] = driver.probe().missing
    assert "unknown kind" in missing
    with pytest.raises(NotSupported):
        driver.begin_authorization()


# Opening


class OneCard:
    """A backend with one card in it, which has only the smartkey applet."""

    name = "one card"

    def __init__(self, key: DirectSmartkey) -> None:
        self.key = key
        self.pipes: list[CardPipe] = []

    def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
        found = FoundDevice(
            "1", self.name, 0x1209, 1, 1, 1, product_name="a smartkey", serial="7",
            interfaces=frozenset({CARD}),
        )  # fmt: skip
        return [found], []

    def open(self, handle: str, on_gone: OnGone | None = None) -> CardPipe:
        pipe = self.key.pipe(on_gone)
        self.pipes.append(pipe)
        return pipe

    def open_hid(self, handle: str, on_gone: OnGone | None = None) -> HidPipe:
        raise AssertionError("a card has no FIDO interface")


def test_a_card_that_has_no_piv_is_tried_as_a_smartkey(key: DirectSmartkey) -> None:
    backend = OneCard(key)
    [device], _ = backend.devices()
    driver = open_driver(backend, device, Drivers(lambda: 0.0, counters=key.counters))
    identity = driver.identity()
    assert (driver.probe().driver, identity.model, identity.serial) == (
        "smartkey",
        "a smartkey",
        "7",
    )
    assert identity.emulated
    assert len(backend.pipes) == 2  # that of PIV was let go
    with pytest.raises(TransportError):
        backend.pipes[0].exchange(b"", 1)

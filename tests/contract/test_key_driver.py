"""What every key driver promises: PIV and smartkey on a card fed directly, FIDO2 behind hidapi's module, and all on a
keypeg-emukey process over pyusb and USB/IP.

Each test gets a `Bench`: a fresh key that can be opened, unplugged and plugged in again.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final, Protocol

import pytest

from keypeg.clock import monotonic
from keypeg.errors import KeyProofInvalid
from keypeg.management import (
    DEFAULT_MANAGEMENT_KEY,
    ManagementAlgorithm,
    diversify,
    respond,
)
from keypeg.possession import check_possession
from keypeg.v1.document_pb2 import (
    KEY_ALGORITHM_ECDSA_P256,
    KEY_ALGORITHM_ECDSA_P384,
    KEY_ALGORITHM_ED25519,
    KEY_ALGORITHM_FIDO2_P256,
    KEY_ALGORITHM_RSA_2048,
    KEY_ALGORITHM_SMARTKEY_P256,
    PublicKey,
)
from keypeg_bridge.emulator import control, smartkey_state
from keypeg_bridge.emulator.piv.session import PROFILES
from keypeg_bridge.keys.driver import KeyDriver, ManagementChallenge
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    KeyMissing,
    NotSupported,
    StorageFull,
)
from keypeg_bridge.keys.fido2_telling import SLOT_BYTES
from keypeg_bridge.keys.opening import Drivers, open_driver
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.transport import hid_pipe
from keypeg_bridge.transport.backends import make_backend
from keypeg_bridge.transport.errors import DeviceGone, TransportError
from keypeg_bridge.transport.pcsc import PcscBackend
from keypeg_bridge.transport.ports import CardPipe
from tests.bridge.card_service import CardService
from tests.bridge.cards import DirectKey
from tests.bridge.emukey import Emukey, running
from tests.bridge.security_keys import SecurityKey
from tests.bridge.smartkeys import DirectSmartkey

MASTER = bytes(range(32))
CHALLENGE = hashlib.sha256(b"a challenge").digest()
GONE_SECONDS = 1.0  # in which an unplugged key must be noticed
SMARTKEYS = 24  # of one process: more than there are tests here, as none is ever fresh again


ALGORITHMS: Final = {  # of cards that know no P-256
    "p384": KEY_ALGORITHM_ECDSA_P384,
    "ed25519": KEY_ALGORITHM_ED25519,
    "rsa": KEY_ALGORITHM_RSA_2048,
}


class Bench(Protocol):
    """One fresh key."""

    algorithm: int  # of its identity key
    too_large: tuple[int, ...]  # for one slot
    born_with_id: bool  # it has a card id before it is enrolled, and slots

    def open(self, on_gone: Callable[[], None] | None = None) -> KeyDriver: ...

    def unplug(self) -> None: ...

    def plug(self) -> None: ...


class DirectBench:
    """A card in this process, behind a reader that takes extended APDUs or one that does not."""

    algorithm: int = KEY_ALGORITHM_ECDSA_P256
    too_large: tuple[int, ...] = (3_060, 70_000)
    born_with_id = True

    def __init__(self, profile: str) -> None:
        self._key = DirectKey(profile)
        self._extended = profile in ALGORITHMS
        self.algorithm = ALGORITHMS.get(profile, self.algorithm)
        self.unplug = self._key.unplug
        self.plug = self._key.plug

    def open(self, on_gone: Callable[[], None] | None = None) -> KeyDriver:
        return PivDriver(self._key.pipe(on_gone, extended=self._extended))


class ServiceBench(DirectBench):
    """A card in a reader of the card service."""

    def __init__(self, profile: str) -> None:
        super().__init__(profile)
        self._service = CardService()
        self._reader = self._service.plug("ACME reader 00 00")
        self._backend = PcscBackend(self._service, monotonic, lambda bus, address: None)
        self._pipes: list[CardPipe] = []
        self.unplug = self._take_out
        self.plug = self._put_in
        self._put_in()

    def open(self, on_gone: Callable[[], None] | None = None) -> KeyDriver:
        self.close()
        found, problems = self._backend.devices()
        assert problems == []
        if not found:
            raise DeviceGone("The card was taken out.")
        pipe = self._backend.open(found[0].handle, on_gone)
        self._pipes.append(pipe)
        return PivDriver(pipe)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._pipes.clear()

    def _put_in(self) -> None:
        self._key.card.power_on()
        self._service.insert(self._reader, self._key.card.transmit)
        self._until(lambda: bool(self._backend.devices()[0]))

    def _take_out(self) -> None:
        self._key.card.power_off()
        self._service.take_out(self._reader)
        self._until(lambda: not self._backend.devices()[0])

    def _until(self, seen: Callable[[], bool]) -> None:
        deadline = monotonic() + 10
        while not seen():
            assert monotonic() < deadline, "the service did not tell"
            self._backend.wait(1)


class SecurityKeyBench:
    """A security key in this process."""

    algorithm: int = KEY_ALGORITHM_FIDO2_P256
    too_large: tuple[int, ...] = (SLOT_BYTES + 1,)
    born_with_id = False

    def __init__(self, folder: Path) -> None:
        self._key = SecurityKey(folder)
        self._open: list[KeyDriver] = []
        self.unplug = self._key.unplug
        self.plug = self._key.plug

    def open(self, on_gone: Callable[[], None] | None = None) -> KeyDriver:
        self.close()
        driver = self._key.open(on_gone)
        self._open.append(driver)
        return driver

    def close(self) -> None:
        for driver in self._open:
            driver.close()
        self._open.clear()


class SmartkeyBench:
    """A smartkey in this process."""

    algorithm: int = KEY_ALGORITHM_SMARTKEY_P256
    too_large: tuple[int, ...] = (smartkey_state.SLOT_BYTES + 1, 70_000)
    born_with_id = True

    def __init__(self) -> None:
        self._key = DirectSmartkey()
        self.open = self._key.open
        self.unplug = self._key.unplug
        self.plug = self._key.plug


LIKE: dict[str, type[Bench]] = {
    "piv": DirectBench,
    "fido2": SecurityKeyBench,
    "smartkey": SmartkeyBench,
}


class UsbBench:
    """A process behind USB/IP."""

    def __init__(self, key: Emukey, folder: Path, driver: str) -> None:
        like = LIKE[driver]
        self.algorithm: int = like.algorithm
        self.too_large: tuple[int, ...] = like.too_large
        self.born_with_id: bool = like.born_with_id
        self._drivers = Drivers(monotonic, folder, (driver,))
        self._key = key
        self._backend = make_backend(key.backend, monotonic)
        self._open: list[KeyDriver] = []

    def open(self, on_gone: Callable[[], None] | None = None) -> KeyDriver:
        self.close()
        found, problems = self._backend.devices()
        assert problems == []
        if not found:
            raise DeviceGone("The device was unplugged.")
        driver = open_driver(self._backend, found[0], self._drivers, on_gone)
        self._open.append(driver)
        return driver

    def close(self) -> None:
        for driver in self._open:
            driver.close()
        self._open.clear()

    def unplug(self) -> None:
        self._key.unplug()

    def plug(self) -> None:
        self._key.plug()


class UsbSmartkeyBench(UsbBench):
    """One of many keys in a process; the only one that is plugged in."""

    def __init__(self, keys: Emukey, name: str, folder: Path) -> None:
        super().__init__(keys, folder, "smartkey")
        self._name = name
        self.plug()

    def unplug(self) -> None:
        control.call(self._key.control, "unplug", key=self._name)

    def plug(self) -> None:
        control.call(self._key.control, "plug", key=self._name)


@pytest.fixture(scope="module")
def smartkeys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emukey, Iterator[int]]]:
    """A process with many keys, and the numbers of those that are fresh."""
    folder = tmp_path_factory.mktemp("smartkeys")
    with running(folder, "--keys", str(SMARTKEYS), "--unplugged") as keys:
        yield keys, count(1)


@pytest.fixture(scope="module")
def shared_key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emukey]:
    """One process for all: a security key is fresh for every bridge that it was not enrolled at."""
    with running(tmp_path_factory.mktemp("emukey")) as key:
        yield key


@pytest.fixture(
    params=[
        "card-token-piv",
        "card-standard-piv",
        "card-p384-piv",
        "card-ed25519-piv",
        "card-rsa-piv",
        "card-token-smartkey",
        "service-token-piv",
        "hid-token-fido2",
        "usb-token-piv",
        "usb-standard-piv",
        "usb-token-fido2",
        "usb-token-smartkey",
    ]
)
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    kind, profile, driver = request.param.split("-")
    monkeypatch.setattr(hid_pipe, "WATCH_MS", 10)  # closing waits for one wait of the reader
    if kind == "card":
        yield SmartkeyBench() if driver == "smartkey" else DirectBench(profile)
    elif kind == "service":
        service = ServiceBench(profile)
        yield service
        service.close()
    elif kind == "hid":
        made = SecurityKeyBench(tmp_path / "disk")
        yield made
        made.close()
    elif driver == "fido2":
        key: Emukey = request.getfixturevalue("shared_key")
        if not key.status()["plugged"]:
            key.plug()
        usb = UsbBench(key, tmp_path / "disk", driver)
        yield usb
        usb.close()
    elif driver == "smartkey":
        keys, fresh = request.getfixturevalue("smartkeys")
        smart = UsbSmartkeyBench(keys, f"key-{next(fresh)}", tmp_path)
        yield smart
        smart.close()
        smart.unplug()
    else:
        with running(tmp_path, "--profile", profile) as own:
            usb = UsbBench(own, tmp_path, driver)
            yield usb
            usb.close()


@pytest.fixture
def stocked(bench: Bench) -> Bench:
    """A key whose slots can be used: those of some keys come with their identity key."""
    if not bench.born_with_id:
        driver = bench.open()
        authorize(driver)
        driver.generate_identity_key()
        driver.end_authorization()
    return bench


def authorize(driver: KeyDriver, key: bytes = DEFAULT_MANAGEMENT_KEY) -> None:
    """What the server does with a challenge."""
    driver.finish_authorization(answer(driver.begin_authorization(), key))


def answer(asked: ManagementChallenge, key: bytes = DEFAULT_MANAGEMENT_KEY) -> bytes:
    return respond(asked.algorithm, key[: asked.algorithm.key_bytes], asked.challenge)


def verify(bench: Bench, key: bytes | None, signature: bytes, challenge: bytes) -> None:
    assert key is not None
    check_possession(PublicKey(algorithm=bench.algorithm, key=key), challenge, signature)  # type: ignore[arg-type]


def test_a_fresh_key_says_who_and_what_it_is(bench: Bench) -> None:
    driver = bench.open()
    identity = driver.identity()
    assert identity.public_key is None
    assert (identity.card_id is not None) == bench.born_with_id
    assert len(identity.card_id or bytes(16)) == 16
    assert identity.emulated
    assert driver.signals() == ()
    capabilities = driver.probe()
    assert not capabilities.enrolled
    assert capabilities.slots == 20
    assert capabilities.missing == ()
    with pytest.raises(KeyMissing):
        driver.prove(CHALLENGE)


def test_a_key_is_enrolled_and_proves_itself(bench: Bench) -> None:
    driver = bench.open()
    authorize(driver)
    point = driver.generate_identity_key()
    verify(bench, point, driver.prove(CHALLENGE).value, CHALLENGE)
    assert driver.probe().silent is True
    assert driver.identity().key_algorithm == bench.algorithm

    reopened = bench.open()
    assert reopened.identity().public_key == point
    verify(bench, point, reopened.prove(CHALLENGE).value, CHALLENGE)


def test_a_new_identity_key_replaces_the_old_one(bench: Bench) -> None:
    driver = bench.open()
    authorize(driver)
    old, new = driver.generate_identity_key(), driver.generate_identity_key()
    assert old != new
    assert driver.identity().public_key == new
    with pytest.raises(KeyProofInvalid):
        verify(bench, old, driver.prove(CHALLENGE).value, CHALLENGE)


def test_a_diversified_management_key_replaces_the_default(bench: Bench) -> None:
    driver = bench.open()
    capabilities = driver.probe()
    authorize(driver)
    card_id = driver.ensure_card_id()
    key = diversify(MASTER, card_id)
    if not capabilities.can_change_management_key:
        with pytest.raises(NotSupported):
            driver.set_management_key(ManagementAlgorithm.AES_256, key)
        return
    assert capabilities.management_is_default
    driver.set_management_key(ManagementAlgorithm.AES_256, key)
    driver.generate_identity_key()

    reopened = bench.open()
    assert reopened.probe().management_is_default is False
    asked = reopened.begin_authorization()
    assert asked.algorithm is ManagementAlgorithm.AES_256
    with pytest.raises(AuthorizationFailed):
        reopened.finish_authorization(respond(asked.algorithm, bytes(32), asked.challenge))
    authorize(reopened, key)
    reopened.write(1, b"after")
    assert reopened.read(1) == b"after"


def test_slots_hold_bytes_until_they_are_replaced_or_emptied(stocked: Bench) -> None:
    bench = stocked
    driver = bench.open()
    assert [driver.read(slot) for slot in range(20)] == [None] * 20
    authorize(driver)
    license_bytes = bytes(i % 251 for i in range(2_900))
    driver.write(0, b"index")
    driver.write(19, license_bytes)
    assert bench.open().read(19) == license_bytes
    driver = bench.open()
    authorize(driver)
    driver.write(19, b"short")
    assert driver.read(19) == b"short"
    driver.write(19, b"")
    driver.write(18, b"")
    assert driver.read(19) is None
    assert driver.read(0) == b"index"


def test_data_that_does_not_fit_changes_nothing(stocked: Bench) -> None:
    driver = stocked.open()
    authorize(driver)
    driver.write(1, b"stays")
    for size in stocked.too_large:
        with pytest.raises(StorageFull):
            driver.write(1, bytes(size))
    assert driver.read(1) == b"stays"


def test_a_full_key_says_so_and_keeps_what_it_has() -> None:
    key = DirectKey("standard")
    driver = PivDriver(key.pipe())
    authorize(driver)
    written = PROFILES["standard"].storage // 2_910
    assert written < 20
    for slot in range(written):
        driver.write(slot, bytes([slot]) * 2_900)
    with pytest.raises(StorageFull):
        driver.write(written, bytes(2_900))
    assert [driver.read(slot) for slot in range(written)] == [
        bytes([slot]) * 2_900 for slot in range(written)
    ]


def test_a_wrong_answer_allows_nothing(bench: Bench) -> None:
    driver = bench.open()
    asked = driver.begin_authorization()
    wrong = bytes(asked.algorithm.block_bytes)
    with pytest.raises(AuthorizationFailed) as refused:
        driver.finish_authorization(wrong)
    assert refused.value.status_word in (0x6982, None)
    for change in (
        lambda: driver.write(1, b"no"),
        lambda: driver.generate_identity_key(),
    ):
        with pytest.raises(AuthorizationFailed):
            change()
    assert driver.read(1) is None
    assert driver.identity().public_key is None


def test_nothing_is_allowed_before_or_after_an_authorization(stocked: Bench) -> None:
    driver = stocked.open()
    with pytest.raises(AuthorizationFailed):
        driver.write(1, b"no")
    with pytest.raises(AuthorizationFailed):
        driver.finish_authorization(bytes(16))
    authorize(driver)
    driver.write(1, b"yes")
    driver.end_authorization()
    with pytest.raises(AuthorizationFailed):
        driver.write(1, b"no")
    assert driver.read(1) == b"yes"


def test_an_answer_serves_once(bench: Bench) -> None:
    driver = bench.open()
    asked = driver.begin_authorization()
    once = answer(asked)
    driver.finish_authorization(once)
    with pytest.raises(AuthorizationFailed):
        driver.finish_authorization(once)


def test_proving_does_not_disturb_an_authorization(bench: Bench) -> None:
    driver = bench.open()
    authorize(driver)
    driver.generate_identity_key()
    asked = driver.begin_authorization()
    driver.prove(CHALLENGE)
    driver.read(1)
    driver.finish_authorization(answer(asked))
    driver.prove(CHALLENGE)
    driver.write(1, b"yes")


def test_a_key_has_one_card_id(bench: Bench) -> None:
    driver = bench.open()
    authorize(driver)
    card_id = driver.ensure_card_id()
    assert driver.identity().card_id == card_id
    driver.generate_identity_key()
    assert driver.ensure_card_id() == card_id
    assert bench.open().identity().card_id == card_id


@pytest.mark.parametrize("slot", [-1, 20])
def test_slots_outside_are_refused(bench: Bench, slot: int) -> None:
    driver = bench.open()
    with pytest.raises(ValueError, match="slot"):
        driver.read(slot)


def test_challenges_have_thirty_two_bytes(bench: Bench) -> None:
    driver = bench.open()
    for size in (0, 31, 33):
        with pytest.raises(ValueError, match="32"):
            driver.prove(bytes(size))


def test_an_unplugged_key_is_noticed_at_once_and_comes_back(bench: Bench) -> None:
    driver = bench.open()
    authorize(driver)
    point = driver.generate_identity_key()
    driver.write(1, b"a license")

    noticed = threading.Event()
    driver = bench.open(noticed.set)
    busy = threading.Event()
    errors: list[Exception] = []

    def work() -> None:
        try:
            while True:
                driver.prove(CHALLENGE)
                busy.set()
        except Exception as error:
            errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    assert busy.wait(10)
    begun = monotonic()
    bench.unplug()
    assert noticed.wait(GONE_SECONDS)
    worker.join(GONE_SECONDS)
    assert monotonic() - begun < GONE_SECONDS
    assert [type(e) for e in errors] == [DeviceGone], errors
    with pytest.raises(DeviceGone):
        driver.read(1)
    with pytest.raises(TransportError):
        bench.open()

    bench.plug()
    again = bench.open()
    assert again.read(1) == b"a license"
    verify(bench, point, again.prove(CHALLENGE).value, CHALLENGE)


def test_closing_calls_nobody(bench: Bench) -> None:
    noticed = threading.Event()
    driver = bench.open(noticed.set)
    driver.close()
    driver.close()
    bench.unplug()
    with pytest.raises(DeviceGone):
        driver.prove(CHALLENGE)
    assert not noticed.is_set()

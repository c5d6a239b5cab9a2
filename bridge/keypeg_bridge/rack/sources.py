"""Fits transports and drivers to the rack's ports: their devices, their values, their errors.

Promises: whatever a transport or driver raises comes out as one of the rack's errors; nothing is decided here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from keypeg.errors import (
    KeyAuthorizationFailed,
    KeyFaulty,
    KeyFull,
    KeyNotEnrolled,
    KeyRolledBack,
    KeyUnplugged,
    KeyUnsuitable,
)
from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg_bridge.keys.driver import KeyDriver
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    CounterFell,
    KeyDriverError,
    KeyMissing,
    MalformedReply,
    NotSupported,
    NotTouched,
    StorageFull,
)
from keypeg_bridge.keys.opening import INTERFACES, Drivers, open_driver
from keypeg_bridge.rack.ports import (
    Capabilities,
    Identity,
    KeySource,
    Look,
    Notices,
    OpenKey,
    Seen,
    SlotMalformed,
)
from keypeg_bridge.transport.backends import make_backend
from keypeg_bridge.transport.errors import BackendUnavailable, DeviceGone, TransportError
from keypeg_bridge.transport.ports import (
    Backend,
    FoundDevice,
    NoticingBackend,
    SharingBackend,
)

ALGORITHM_NAMES: Final = {
    ManagementAlgorithm.TRIPLE_DES: "3des",
    ManagementAlgorithm.AES_128: "aes128",
    ManagementAlgorithm.AES_192: "aes192",
    ManagementAlgorithm.AES_256: "aes256",
}
_ALGORITHMS: Final = {name: algorithm for algorithm, name in ALGORITHM_NAMES.items()}
assert set(ALGORITHM_NAMES) == set(ManagementAlgorithm)


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Errors of transports and drivers, as the rack knows them."""
    try:
        yield
    except DeviceGone as error:
        raise KeyUnplugged("The key was unplugged. Plug it in again.") from error
    except (AuthorizationFailed, NotTouched) as error:
        raise KeyAuthorizationFailed(str(error)) from error
    except StorageFull as error:
        raise KeyFull(str(error)) from error
    except KeyMissing as error:
        raise KeyNotEnrolled(str(error)) from error
    except CounterFell as error:
        raise KeyRolledBack(str(error), told=str(error.told), seen=str(error.seen)) from error
    except NotSupported as error:
        raise KeyUnsuitable(str(error), capability="driver") from error
    except (KeyDriverError, TransportError) as error:
        raise KeyFaulty(str(error), detail=str(error)) from error


class DriverKey:
    """An open key, through its driver."""

    def __init__(self, driver: KeyDriver) -> None:
        self._driver = driver

    def identity(self) -> Identity:
        with _errors():
            found = self._driver.identity()
            able = self._driver.probe()
        default = able.management_is_default
        if able.can_change_management_key is False:
            default = True  # nobody here can have changed it
        return Identity(
            driver=able.driver,
            model=found.model,
            serial=found.serial or "",
            emulated=found.emulated,
            card_id=found.card_id,
            public_key=found.public_key,
            factory_key=not able.enrolled if default is None else default,
            key_algorithm=found.key_algorithm,
            attestation=found.attestation,
        )

    def probe(self) -> Capabilities:
        with _errors():
            able = self._driver.probe()
        return Capabilities(
            silent_proof=bool(able.silent),
            counter=bool(able.counter),
            slot_count=max(0, able.slots - 1),
            slot_size_bytes=able.slot_bytes or 0,
            management_algorithm=(
                ALGORITHM_NAMES[able.management_algorithm] if able.management_algorithm else ""
            ),
            features=able.features,
            missing=able.missing,
        )

    def signals(self) -> tuple[str, ...]:
        return self._driver.signals()

    def prove(self, challenge: bytes) -> bytes:
        with _errors():
            return self._driver.prove(challenge).value

    def read(self, slot: int) -> bytes | None:
        try:
            with _errors():
                return self._driver.read(slot)
        except KeyFaulty as error:
            if isinstance(error.__cause__, MalformedReply):
                raise SlotMalformed(f"slot {slot} cannot be read") from error
            raise

    def write(self, slot: int, data: bytes) -> None:
        with _errors():
            self._driver.write(slot, data)

    def give_card_id(self) -> None:
        with _errors():
            asked = self._driver.begin_authorization()
            factory = DEFAULT_MANAGEMENT_KEY[: asked.algorithm.key_bytes]
            if len(factory) != asked.algorithm.key_bytes:
                raise KeyUnsuitable(
                    "The key has no card id, and a management key of an unusual kind. Reset it"
                    " with its maker's tool.",
                    capability="card_id",
                )
            self._driver.finish_authorization(respond(asked.algorithm, factory, asked.challenge))
            self._driver.ensure_card_id()
            self._driver.end_authorization()

    def begin_authorization(self) -> bytes:
        with _errors():
            return self._driver.begin_authorization().challenge

    def finish_authorization(self, response: bytes) -> None:
        with _errors():
            self._driver.finish_authorization(response)

    def end_authorization(self) -> None:
        with _errors():
            self._driver.end_authorization()

    def set_management_key(self, algorithm: str, key: bytes) -> None:
        known = _ALGORITHMS.get(algorithm)
        if known is None or len(key) != known.key_bytes:
            raise KeyUnsuitable(
                f"The management key is none of {', '.join(_ALGORITHMS)}, or of another length."
                " Ask the server for a new one.",
                capability="management_algorithm",
            )
        with _errors():
            if self._driver.probe().can_change_management_key is False:
                return  # such keys keep theirs, and say so: `management_key_fixed`
            self._driver.set_management_key(known, key)

    def generate_identity_key(self) -> bytes:
        with _errors():
            return self._driver.generate_identity_key()

    def close(self) -> None:
        with contextlib.suppress(TransportError, KeyDriverError):
            self._driver.close()


class ClosedSource:
    """A way to keys that cannot be used on this computer; says so at each look."""

    notices = None

    def __init__(self, name: str, sentence: str) -> None:
        self._name = name
        self._sentence = sentence

    @property
    def name(self) -> str:
        """As in the settings."""
        return self._name

    def look(self) -> Look:
        """Never anything."""
        raise KeyFaulty(self._sentence, detail=self._sentence)

    def open(self, bus_id: str, side: str, gone: Callable[[], None]) -> OpenKey:
        """Never called: nothing was seen."""
        raise KeyFaulty(self._sentence, detail=self._sentence)


def make_source(name: str, drivers: Drivers) -> KeySource:
    """The way to keys that a setting names. ValueError with a sentence for anything else."""
    try:
        return BackendSource(make_backend(name, drivers.now), drivers)
    except BackendUnavailable as error:
        return ClosedSource(name, str(error))


class BackendSource:
    """A way to keys, through its backend."""

    def __init__(self, backend: Backend, drivers: Drivers) -> None:
        self._backend = backend
        self._drivers = drivers
        self._devices: dict[str, FoundDevice] = {}

    @property
    def name(self) -> str:
        """As in the settings."""
        return self._backend.name

    @property
    def notices(self) -> Notices | None:
        """The backend's own, if it has any."""
        return self._backend if isinstance(self._backend, NoticingBackend) else None

    def look(self) -> Look:
        """The devices that are there."""
        with _errors():
            devices, problems = self._backend.devices()
        self._devices = {device.handle: device for device in devices}
        claims, held = frozenset[str](), frozenset[str]()
        if isinstance(self._backend, SharingBackend):
            shares = self._backend.shares()
            held = shares.spots
            claims = frozenset(self._sides(shares.interfaces))
        return Look(
            [self._seen(device) for device in devices],
            tuple(problem.text for problem in problems),
            claims,
            held,
        )

    def open(self, bus_id: str, side: str, gone: Callable[[], None]) -> OpenKey:
        """A driver for one of them."""
        device = self._devices.get(bus_id)
        if device is None:
            raise KeyUnplugged("The key was unplugged. Plug it in again.")
        drivers = replace(self._drivers, order=(side,))
        with _errors():
            return DriverKey(open_driver(self._backend, device, drivers, gone))

    def _seen(self, device: FoundDevice) -> Seen:
        sides = self._sides(device.interfaces)
        if not sides:  # opening it says which drivers were tried
            sides = self._drivers.order[:1]
        return Seen(device.handle, sides, device.spot, device.alike)

    def _sides(self, interfaces: frozenset[str]) -> tuple[str, ...]:
        """The drivers that fit, in the chosen order."""
        return tuple(one for one in self._drivers.order if INTERFACES[one] in interfaces)

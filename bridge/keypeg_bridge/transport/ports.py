"""The ports of this package: what `keys/` and the rack may expect of any transport.

Calls block the calling thread, at most for their time limit; a pipe is used by one thread at a time, `close` and the
`on_gone` callback excepted. `Monotonic` is a clock in seconds, passed in by the composition root.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

CARD: Final = "card"  # a CCID interface: smart-card commands
FIDO: Final = "fido"  # a HID interface with FIDO's usage: CTAPHID

Monotonic = Callable[[], float]
OnGone = Callable[[], None]


class CardPipe(Protocol):
    """A powered card."""

    @property
    def gone(self) -> bool:
        """Whether the device was seen to disappear; never turns back."""
        ...

    @property
    def extended(self) -> bool:
        """Whether reader and card say that they take extended APDUs; a card may refuse them all the same."""
        ...

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        """Send one APDU, give the card's answer. `DeviceGone`, `DeviceTimeout` or another `TransportError`."""
        ...

    def restart(self) -> None:
        """Cut the card's power and give it again: nothing is selected and nothing is allowed then. Errors as above."""
        ...

    def close(self) -> None:
        """Let go of the device; safe to repeat, and from any thread. `on_gone` is not called for it."""
        ...


class HidPipe(Protocol):
    """An open FIDO interface: reports of 64 bytes, in and out."""

    @property
    def gone(self) -> bool:
        """Whether the device was seen to disappear; never turns back."""
        ...

    def write(self, report: bytes, timeout: float) -> None:
        """Send one report. `DeviceGone`, `DeviceTimeout` or another `TransportError`."""
        ...

    def read(self, timeout: float) -> bytes:
        """The next report. `DeviceTimeout` when none came in time, `DeviceGone` or another `TransportError`."""
        ...

    def close(self) -> None:
        """Let go of the device; safe to repeat, and from any thread. `on_gone` is not called for it."""
        ...


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """One device with a card in it, a FIDO interface, or both. `handle` is opaque and stays the same as long as the device stays plugged in."""

    handle: str
    backend: str
    vendor: int
    product: int
    bus: int
    address: int
    manufacturer: str | None = None
    product_name: str | None = None
    serial: str | None = None
    emulated: bool = False
    interfaces: frozenset[str] = frozenset({CARD})
    spot: str = ""
    """Where it is plugged in, in the words that all backends of this computer share (`strings.usb_spot`); empty when unknown."""
    is_local: bool = False
    """Whether it is plugged into this computer, so that other backends may show it too."""

    @property
    def alike(self) -> str:
        """What may tell it from others where the spot is unknown."""
        return self.serial or "" if self.is_local else ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why one backend, or one of its devices, could not be asked; a sentence."""

    backend: str
    text: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found. Devices of a backend in `failed` are unknown, not gone."""

    devices: tuple[FoundDevice, ...] = ()
    problems: tuple[Problem, ...] = ()
    failed: frozenset[str] = field(default_factory=frozenset)


class Backend(Protocol):
    """A way to reach devices."""

    @property
    def name(self) -> str:
        """As written in the settings."""
        ...

    def devices(self) -> tuple[list[FoundDevice], list[Problem]]:
        """The devices of use that are there now; `BackendUnavailable` when there is no telling. Cheap enough to poll."""
        ...

    def open(self, handle: str, on_gone: OnGone | None = None) -> CardPipe:
        """Power the card of a listed device. `on_gone` is called once, from another thread, if it disappears."""
        ...

    def open_hid(self, handle: str, on_gone: OnGone | None = None) -> HidPipe:
        """Open the FIDO interface of a listed device; `on_gone` as in `open`."""
        ...


@dataclass(frozen=True, slots=True)
class Shares:
    """What a backend shares with other programs, so that no other backend may take it."""

    interfaces: frozenset[str] = frozenset()
    """CARD, while a card service runs."""
    spots: frozenset[str] = frozenset()
    """Where it has them now."""


@runtime_checkable
class SharingBackend(Protocol):
    """A backend that stands between keys and several programs: a card service."""

    def shares(self) -> Shares:
        """As of the last `devices`."""
        ...


@runtime_checkable
class NoticingBackend(Protocol):
    """A backend that is told when something changes, so that it need not be polled."""

    def wait(self, seconds: float) -> None:
        """Come back when something may have changed, when woken, or after that time. Never raises."""
        ...

    def wake(self) -> None:
        """From any thread: end a wait, this one or the next."""
        ...

"""What the rack needs from the ways to keys, from an open key, and from time.

Promises: narrow protocols, declared by their user; drivers and transports are fitted to them in `sources`. Every call of
`KeySource` and `OpenKey` may block and is made from a thread of its own; nothing here is called from the event loop but
`Time`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keypeg.v1.document_pb2 import KEY_ALGORITHM_ECDSA_P256


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key is plugged in: the way that showed it first, and that way's own name for the place."""

    source: str
    bus_id: str

    def __str__(self) -> str:
        return f"{self.source} {self.bus_id}"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a key can do, as probed."""

    silent_proof: bool
    counter: bool
    slot_count: int
    """Slots for licenses, numbered from 1."""
    slot_size_bytes: int
    """0 when only a write tells."""
    management_algorithm: str
    features: tuple[str, ...] = ()
    """What else it has, words of its driver."""
    missing: tuple[str, ...] = ()
    """Sentences about what it lacks."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a key says it is; only `public_key` can be proved."""

    driver: str
    model: str
    serial: str
    emulated: bool
    card_id: bytes | None
    public_key: bytes | None
    """In the form of `key_algorithm`; None when the key has made none."""
    factory_key: bool
    """Whether the management key is still the one every such key is delivered with."""
    key_algorithm: int | None = KEY_ALGORITHM_ECDSA_P256
    """A keypeg.v1.KeyAlgorithm."""
    attestation: tuple[bytes, ...] = field(default=(), compare=False)
    """Certificates by which its maker vouches for the public key, once it has been enrolled here."""


class SlotMalformed(Exception):
    """A slot holds something that is no document of ours; the key itself is well."""


class OpenKey(Protocol):
    """One key, held open by one thread.

    Raises KeyUnplugged when it has left, KeyFaulty when it answers wrongly or not in time, and what each method names.
    """

    def identity(self) -> Identity:
        """Who it says it is, read anew."""
        ...

    def probe(self) -> Capabilities:
        """What it can do."""
        ...

    def signals(self) -> tuple[str, ...]:
        """What makes it suspicious, one clause each; asks nothing of it, and never raises."""
        ...

    def prove(self, challenge: bytes) -> bytes:
        """Its signature over 32 bytes, in the form of its algorithm. Leaves an authorization as it is."""
        ...

    def read(self, slot: int) -> bytes | None:
        """The contents of a slot, from 0; None when empty. Raises SlotMalformed."""
        ...

    def write(self, slot: int, data: bytes) -> None:
        """Replace a slot's contents. Raises KeyFull, KeyAuthorizationFailed."""
        ...

    def give_card_id(self) -> None:
        """Give it a card id, under the factory management key. Raises KeyAuthorizationFailed, KeyUnsuitable."""
        ...

    def begin_authorization(self) -> bytes:
        """A challenge under the management key; 8 or 16 bytes."""
        ...

    def finish_authorization(self, response: bytes) -> None:
        """Take the response. Raises KeyAuthorizationFailed."""
        ...

    def end_authorization(self) -> None:
        """Forget an authorization, finished or not."""
        ...

    def set_management_key(self, algorithm: str, key: bytes) -> None:
        """Replace the management key. Raises KeyAuthorizationFailed, KeyUnsuitable."""
        ...

    def generate_identity_key(self) -> bytes:
        """Make a new private key inside the key; its public key. Raises KeyUnsuitable, KeyAuthorizationFailed (not touched)."""
        ...

    def close(self) -> None:
        """Let go; never raises, safe to repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """One thing that a way to keys shows. Several ways may show the same key, or a side of it each."""

    bus_id: str
    """The way's own name for it; another one each time that it is plugged in."""
    sides: tuple[str, ...] = ()
    """The drivers that can be tried, in the order that was chosen."""
    spot: str = ""
    """Where it is plugged in, in the words that all ways of this computer share; empty where a way cannot tell."""
    alike: str = ""
    """Its serial number, for ways that cannot tell the spot; empty when it says none."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a way to keys found."""

    seen: Sequence[Seen]
    problems: tuple[str, ...] = ()
    """What could not be asked, one sentence each; nothing is known about those."""
    claims: frozenset[str] = frozenset()
    """Sides that are this way's where it has them, and for which it is waited for: it shares them with other programs."""
    held: frozenset[str] = frozenset()
    """The spots where it has them, whether it shows a key there or not."""


class Notices(Protocol):
    """A way that tells by itself when something has changed, so that it need not be polled."""

    def wait(self, seconds: float) -> None:
        """Come back when something may have changed, when woken, or after that time. Never raises."""
        ...

    def wake(self) -> None:
        """From any thread: end a wait, this one or the next."""
        ...


class KeySource(Protocol):
    """One way to keys: a USB library, the card service, a USB/IP server."""

    @property
    def name(self) -> str:
        """Names the way in logs, problems and places; unique on this bridge."""
        ...

    @property
    def notices(self) -> Notices | None:
        """None where it has to be polled."""
        ...

    def look(self) -> Look:
        """What is plugged in now, open ones included. Raises KeypegError or OSError when it cannot be told."""
        ...

    def open(self, bus_id: str, side: str, gone: Callable[[], None]) -> OpenKey:
        """Open one side of a key; `gone` is called from any thread, at once when the key leaves while it is open."""
        ...


class Timer(Protocol):
    """Something that will happen, unless it is canceled."""

    def cancel(self) -> None:
        """Make it not happen."""
        ...


class Time(Protocol):
    """The clock and the timers of the event loop."""

    def monotonic(self) -> float:
        """Seconds that only grow."""
        ...

    def wall(self) -> datetime:
        """Now, UTC; for people and license terms."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call back in the event loop, `delay` seconds from now."""
        ...

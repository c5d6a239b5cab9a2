"""The port of a key, whatever it is inside: what it can do, who it is, what it signs, and what it stores.

Promises of every implementation: calls block for a bounded time and end in a value, a `KeyDriverError` or a
`TransportError`; slots are numbered from 0 (the index) and hold bytes; no secret of the server's passes through but a new
management key, on its way into the key. One thread uses a driver at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from keypeg.management import ManagementAlgorithm
from keypeg.v1.document_pb2 import KEY_ALGORITHM_ECDSA_P256

CHALLENGE_BYTES: Final = 32
INDEX_SLOT: Final = 0  # the index and the delegation; slots 1 and up hold a license each


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What probing found, never what a model name promises."""

    driver: str
    enrolled: bool  # it has an identity key
    silent: bool | None  # that key signs without PIN and touch; None before there is one
    slots: int
    slot_bytes: int | None  # None: only a write tells
    management_algorithm: ManagementAlgorithm | None
    management_is_default: bool | None  # None: the key does not say
    can_change_management_key: bool | None  # None: only trying tells
    missing: tuple[str, ...] = ()  # sentences about what this key lacks
    counter: bool | None = False  # its signatures count; None before it has signed
    features: tuple[str, ...] = ()  # what else it has, words of its driver, for people


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """Who a key is. Only the public key is proof; the rest is for people and for finding records."""

    public_key: bytes | None  # its form is `key_algorithm`'s; None when not enrolled
    card_id: bytes | None  # 16 bytes, stable; None when the key has none yet
    serial: str | None
    model: str
    emulated: bool
    key_algorithm: int | None = KEY_ALGORITHM_ECDSA_P256  # keypeg.v1.KeyAlgorithm
    # X.509 certificates (DER) by which its maker vouches for the public key, that key's own first. Only after enrolling.
    attestation: tuple[bytes, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature over the challenge itself, in the form of the key's algorithm (docs/formats.md, "Challenges")."""

    value: bytes


@dataclass(frozen=True, slots=True)
class ManagementChallenge:
    """What the holder of the management key must answer, with `keypeg.management.respond`."""

    algorithm: ManagementAlgorithm
    challenge: bytes
    key_slot: int = 0x9B


class KeyDriver(Protocol):
    """One plugged-in key."""

    def probe(self) -> Capabilities:
        """Find out what the key can do, by asking it."""
        ...

    def identity(self) -> KeyIdentity:
        """Who the key is."""
        ...

    def signals(self) -> tuple[str, ...]:
        """What makes this key suspicious, one clause each, without asking it: nothing is refused for it here."""
        ...

    def prove(self, challenge: bytes) -> Signature:
        """Sign 32 bytes with the identity key. `KeyMissing` when not enrolled, `NotSupported` when it wants a PIN."""
        ...

    def read(self, slot: int) -> bytes | None:
        """The data in a slot, or None when it is empty."""
        ...

    def write(self, slot: int, data: bytes) -> None:
        """Replace a slot's data, which is on the key on return; no data empties it. Needs authorization.

        `StorageFull` changes nothing.
        """
        ...

    def begin_authorization(self) -> ManagementChallenge:
        """Ask the key for a challenge; the next `finish_authorization` answers it."""
        ...

    def finish_authorization(self, response: bytes) -> None:
        """Give the answer. `AuthorizationFailed` when the key does not take it: nothing is allowed then."""
        ...

    def end_authorization(self) -> None:
        """Let the key forget an authorization, begun or finished."""
        ...

    def ensure_card_id(self) -> bytes:
        """The card id, given to the key now when it has none (needs authorization then)."""
        ...

    def generate_identity_key(self) -> bytes:
        """Let the key make a new identity key, replacing an old one; its public key. Needs authorization.

        May wait for a touch: `NotTouched` when none came. `NotSupported` when that key does not sign silently.
        """
        ...

    def set_management_key(self, algorithm: ManagementAlgorithm, new_key: bytes) -> None:
        """Replace the management key. Needs authorization. `NotSupported` when the key cannot."""
        ...

    def close(self) -> None:
        """Let go of the key; safe to repeat."""
        ...

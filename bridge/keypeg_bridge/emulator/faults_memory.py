"""What goes wrong with what an emulated key keeps: full storage, a worn counter, copies, and PINs that nobody knows.

Promises: contents are values, and these functions give new ones; `Wear` stands between a key and its file and refuses
what a worn memory would. The same seed gives the same copies, but for private keys that have no seed (RSA).
"""

from __future__ import annotations

import errno
import hashlib
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from keypeg_bridge.emulator.state import KeyState

_ORDERS: Final = {  # of the curves that cards sign with
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
}


def stored_bytes(state: KeyState) -> int:
    """How much room the card's objects and slots take."""
    held = (*state.piv.objects.values(), *state.smartkey.slots.values())
    return sum(len(content) for content in held)


@dataclass(slots=True)
class Wear:
    """The state of one key's memory."""

    limit: int | None = None
    """The most bytes that the card's objects may take; None for what its kind has."""
    ended: bool = False
    """Whether counters can no longer be raised."""

    def check(self, before: KeyState, after: KeyState) -> None:
        """Let a change pass, or raise `OSError` as a file system would."""
        grown = stored_bytes(after) > stored_bytes(before)
        if self.limit is not None and grown and stored_bytes(after) > self.limit:
            raise OSError(errno.ENOSPC, "the card is full")
        if self.ended and _counters(after) != _counters(before):
            raise OSError(errno.EOVERFLOW, "the counter is at its end")


def _counters(state: KeyState) -> tuple[int, int]:
    return state.fido.counter, state.smartkey.counter


def forged(state: KeyState, seed: str) -> KeyState:
    """A key with the same contents and other private keys on every side."""
    keys = {
        slot: replace(key, pkcs8=_other_key(key.pkcs8, f"{seed}/{slot:02X}"))
        for slot, key in state.piv.private_keys.items()
    }
    return replace(state, seed=f"{state.seed}/{seed}", piv=replace(state.piv, private_keys=keys))


def with_objects_of(state: KeyState, old: KeyState) -> KeyState:
    """The card's objects and slots as they were; keys, PINs and counters as they are."""
    return replace(
        state,
        piv=replace(state.piv, objects=old.piv.objects),
        smartkey=replace(state.smartkey, slots=old.smartkey.slots),
    )


def with_other_pin(state: KeyState, seed: str) -> KeyState:
    """Another PIN than anybody knows; no try is spent yet."""
    digest = hashlib.sha256(b"keypeg emulated key other pin\x00" + seed.encode()).digest()
    hidden = None if state.fido.pin_hash is None else digest[16:32]
    return replace(
        state,
        piv=replace(state.piv, pin=replace(state.piv.pin, value=digest[:8])),
        fido=replace(state.fido, pin_hash=hidden),
    )


def with_blocked_pin(state: KeyState) -> KeyState:
    """No try is left; a FIDO side without a PIN stays as it is."""
    has_pin = state.fido.pin_hash is not None
    return replace(
        state,
        piv=replace(state.piv, pin=replace(state.piv.pin, tries=0)),
        fido=replace(state.fido, pin_tries=0) if has_pin else state.fido,
    )


def with_pin_of(state: KeyState, old: KeyState) -> KeyState:
    """The PINs and their tries as they were."""
    fido = replace(state.fido, pin_hash=old.fido.pin_hash, pin_tries=old.fido.pin_tries)
    return replace(state, piv=replace(state.piv, pin=old.piv.pin), fido=fido)


def _other_key(pkcs8: bytes, seed: str) -> bytes:
    """A private key of the same kind."""
    old = serialization.load_der_private_key(pkcs8, None)
    digest = hashlib.sha512(b"keypeg emulated key forged\x00" + seed.encode()).digest()
    new: PrivateKeyTypes
    if isinstance(old, ec.EllipticCurvePrivateKey):
        order = _ORDERS[old.curve.name]
        new = ec.derive_private_key(int.from_bytes(digest, "big") % (order - 1) + 1, old.curve)
    elif isinstance(old, ed25519.Ed25519PrivateKey):
        new = ed25519.Ed25519PrivateKey.from_private_bytes(digest[:32])
    elif isinstance(old, x25519.X25519PrivateKey):
        new = x25519.X25519PrivateKey.from_private_bytes(digest[:32])
    elif isinstance(old, rsa.RSAPrivateKey):
        new = rsa.generate_private_key(65_537, old.key_size)
    else:
        raise ValueError(f"a card has no {type(old).__name__}")
    return new.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

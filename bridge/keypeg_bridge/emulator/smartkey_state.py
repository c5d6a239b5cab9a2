"""What the smartkey applet of an emulated key keeps: its counter, its management key, its slots.

Promises: frozen values that read back from their JSON; the counter and the number of keys made are never lowered by any
change made here. Card id and private keys come from the seed. The file and its durability are `emulator/state.py`'s.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from keypeg_bridge.wire import smartkey

FACTORY_ALGORITHM: Final = 0x0A  # AES-192
# Of every new applet, as of every new PIV card; public knowledge, and no protection.
FACTORY_KEY: Final = bytes.fromhex("010203040506070801020304050607080102030405060708")
SLOTS: Final = 20
SLOT_BYTES: Final = 4_096  # bytes of one slot
STORAGE: Final = 64_000  # bytes of all slots together
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_WIDE: Final = 48  # bytes, so that reducing them favors no key


@dataclass(frozen=True, slots=True)
class SmartkeyState:
    """The contents."""

    card_id: bytes
    counter: int = 0  # of the last signature
    keys_made: int = 0  # the present identity key is the last of them
    management_algorithm: int = FACTORY_ALGORITHM
    management_key: bytes = field(default=FACTORY_KEY, repr=False)
    slots: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    def counted(self) -> SmartkeyState:
        """One signature more."""
        return replace(self, counter=self.counter + 1)

    def with_new_key(self) -> SmartkeyState:
        """Another identity key; the counter goes on."""
        return replace(self, keys_made=self.keys_made + 1)

    def with_slot(self, slot: int, data: bytes) -> SmartkeyState:
        """One slot replaced; no data empties it."""
        slots = {number: held for number, held in self.slots.items() if number != slot}
        if data:
            slots[slot] = data
        return replace(self, slots=slots)

    def room_beside(self, slot: int) -> int:
        """Bytes that fit besides the other slots."""
        return STORAGE - sum(len(data) for number, data in self.slots.items() if number != slot)

    @property
    def room(self) -> int:
        """Bytes that can still be stored."""
        return STORAGE - sum(map(len, self.slots.values()))


def fresh(seed: str) -> SmartkeyState:
    """As from the factory; the same seed gives the same card id."""
    card_id = hashlib.sha256(b"keypeg emulated smartkey id\x00" + seed.encode()).digest()
    return SmartkeyState(card_id[: smartkey.CARD_ID_BYTES])


def private_key(seed: str, number: int) -> ec.EllipticCurvePrivateKey:
    """The identity key that was made as the `number`th, from 1."""
    info = b"keypeg emulated smartkey key\x00" + number.to_bytes(8, "big")
    wide = HKDF(hashes.SHA256(), _WIDE, salt=None, info=info).derive(seed.encode())
    scalar = int.from_bytes(wide, "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def to_json(state: SmartkeyState) -> dict[str, Any]:
    """As JSON takes it."""
    return {
        "card_id": state.card_id.hex(),
        "counter": state.counter,
        "keys_made": state.keys_made,
        "management": {
            "algorithm": state.management_algorithm,
            "key": state.management_key.hex(),
        },
        "slots": {str(n): b64encode(data).decode() for n, data in sorted(state.slots.items())},
    }


def from_json(raw: Any) -> SmartkeyState:
    """The inverse; `KeyError`, `TypeError`, `AttributeError` or `ValueError` for anything else."""
    state = SmartkeyState(
        card_id=bytes.fromhex(raw["card_id"]),
        counter=int(raw["counter"]),
        keys_made=int(raw["keys_made"]),
        management_algorithm=int(raw["management"]["algorithm"]),
        management_key=bytes.fromhex(raw["management"]["key"]),
        slots={int(n): b64decode(data, validate=True) for n, data in raw["slots"].items()},
    )
    if len(state.card_id) != smartkey.CARD_ID_BYTES:
        raise ValueError("the smartkey's card id has the wrong length")
    if len(state.management_key) != smartkey.MANAGEMENT_SIZES[state.management_algorithm][0]:
        raise ValueError("the smartkey's management key has the wrong length")
    if not 0 <= state.counter <= smartkey.MAX_COUNTER or state.keys_made < 0:
        raise ValueError("a count of the smartkey is out of its range")
    if not all(0 <= n < SLOTS and 0 < len(data) <= SLOT_BYTES for n, data in state.slots.items()):
        raise ValueError("a slot of the smartkey is out of its range")
    return state

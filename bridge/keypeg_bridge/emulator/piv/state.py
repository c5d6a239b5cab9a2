"""What the PIV applet keeps: keys, PINs, the management key and objects, as values and as JSON.

Promises: immutable; `to_json` and `from_json` are inverse, and files from before there were PUK, policies and algorithms
are read as keys that have their defaults. `repr` shows no secret.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keypeg_bridge.emulator.piv.keys import ALGORITHMS, StoredKey
from keypeg_bridge.wire import piv, tlv

TRIES: Final = 3  # of a new card's PIN and PUK
DEFAULT_PIN: Final = b"123456\xff\xff"  # of every new PIV card, padded as on the wire
DEFAULT_PUK: Final = b"12345678"
# The management key of every new PIV card; public knowledge, and no protection.
DEFAULT_MANAGEMENT_KEY: Final = bytes.fromhex("010203040506070801020304050607080102030405060708")
_CARD_IDENTIFIER: Final = bytes.fromhex("a00000011602")  # then 15 bytes of the card's own
_PIN_POLICIES: Final = {
    piv.SLOT_SIGNATURE: piv.PIN_ALWAYS,
    piv.SLOT_CARD_AUTHENTICATION: piv.POLICY_NEVER,
}


def default_pin_policy(slot: int) -> int:
    """Which PIN policy a key in this slot has, as SP 800-73-4 says."""
    return _PIN_POLICIES.get(slot, piv.PIN_ONCE)


@dataclass(frozen=True, slots=True)
class Secret:
    """A PIN or PUK, padded to eight bytes, and how often it may still be wrong."""

    value: bytes
    tries: int = TRIES
    limit: int = TRIES

    def __repr__(self) -> str:
        return f"Secret(tries={self.tries}, limit={self.limit})"


@dataclass(frozen=True, slots=True)
class PivState:
    """The applet's contents. Objects are content bytes by tag, private keys by slot."""

    guid: bytes
    management_algorithm: int
    management_key: bytes
    management_touch: bool = False
    objects: dict[int, bytes] = field(default_factory=dict)
    private_keys: dict[int, StoredKey] = field(default_factory=dict)
    pin: Secret = field(default_factory=lambda: Secret(DEFAULT_PIN))
    puk: Secret = field(default_factory=lambda: Secret(DEFAULT_PUK))

    def __repr__(self) -> str:
        return f"PivState(keys={len(self.private_keys)}, objects={len(self.objects)})"

    def with_object(self, tag: int, content: bytes) -> PivState:
        """The same contents with one object replaced; empty content removes it."""
        objects = {t: c for t, c in self.objects.items() if t != tag}
        if content:
            objects[tag] = content
        return replace(self, objects=objects)

    def with_private_key(self, slot: int, key: StoredKey | None) -> PivState:
        """The same contents with one private key replaced, or removed."""
        keys = {s: k for s, k in self.private_keys.items() if s != slot}
        if key is not None:
            keys[slot] = key
        return replace(self, private_keys=keys)


def new_piv(guid: bytes, management_algorithm: int) -> PivState:
    """As it leaves the factory."""
    return PivState(
        guid=guid,
        management_algorithm=management_algorithm,
        management_key=factory_key(management_algorithm),
        objects={
            piv.OBJECT_CHUID: piv.Chuid(guid).encode(),
            piv.OBJECT_CAPABILITIES: _capabilities(guid),
        },
    )


def factory_key(algorithm: int) -> bytes:
    """The well-known key in the length that the algorithm wants; no card leaves its factory with AES-256."""
    size = piv.MANAGEMENT_SIZES[algorithm][0]
    if size > len(DEFAULT_MANAGEMENT_KEY):
        raise ValueError(f"there is no factory key of {size} bytes")
    return DEFAULT_MANAGEMENT_KEY[:size]


def _capabilities(guid: bytes) -> bytes:
    """A card capability container (SP 800-73-4 part 1, table 8), of no application but PIV."""
    filled = (
        (0xF0, _CARD_IDENTIFIER + guid[:15]),
        (0xF1, b"\x21"),  # capability container version
        (0xF2, b"\x21"),  # capability grammar version
        (0xF3, b""),
        (0xF4, b"\x00"),
        (0xF5, b"\x10"),  # data model
    )
    empty = (0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD, piv.CHECK_TAG)
    return b"".join(tlv.encode(t, v) for t, v in filled) + b"".join(
        tlv.encode(t, b"") for t in empty
    )


def to_json(state: PivState) -> dict[str, Any]:
    """The applet's part of the key's file."""
    return {
        "management": {
            "algorithm": state.management_algorithm,
            "key": state.management_key.hex(),
            "touch": state.management_touch,
        },
        "pin": _secret_to_json(state.pin),
        "puk": _secret_to_json(state.puk),
        "objects": {f"{t:06X}": b64encode(c).decode() for t, c in sorted(state.objects.items())},
        "private_keys": {
            f"{slot:02X}": {
                "algorithm": key.algorithm,
                "key": b64encode(key.pkcs8).decode(),
                "pin_policy": key.pin_policy,
                "touch_policy": key.touch_policy,
                "generated": key.generated,
            }
            for slot, key in sorted(state.private_keys.items())
        },
    }


def from_json(raw: dict[str, Any], guid: bytes) -> PivState:
    """The applet's part of the key's file; `ValueError`, `KeyError` or `TypeError` for anything else."""
    algorithm = int(raw["management"]["algorithm"])
    key = bytes.fromhex(raw["management"]["key"])
    if len(key) != piv.MANAGEMENT_SIZES[algorithm][0]:
        raise ValueError("the management key has the wrong length")
    keys = {int(s, 16): _key_from_json(int(s, 16), k) for s, k in raw["private_keys"].items()}
    return PivState(
        guid=guid,
        management_algorithm=algorithm,
        management_key=key,
        management_touch=bool(raw["management"].get("touch", False)),
        objects={int(t, 16): b64decode(c, validate=True) for t, c in raw["objects"].items()},
        private_keys=keys,
        pin=_secret_from_json(raw["pin"]),
        puk=_secret_from_json(raw["puk"]) if "puk" in raw else Secret(DEFAULT_PUK),
    )


def _secret_to_json(secret: Secret) -> dict[str, Any]:
    return {"value": secret.value.hex(), "tries": secret.tries, "limit": secret.limit}


def _secret_from_json(raw: dict[str, Any]) -> Secret:
    found = Secret(bytes.fromhex(raw["value"]), int(raw["tries"]), int(raw.get("limit", TRIES)))
    if len(found.value) != piv.PIN_BYTES or not 0 <= found.tries <= found.limit <= 255:
        raise ValueError("a PIN or PUK is not one of a card")
    return found


def _key_from_json(slot: int, raw: Any) -> StoredKey:
    if isinstance(raw, str):  # a file from when all keys were P-256
        return StoredKey(
            piv.ALGORITHM_P256, b64decode(raw, validate=True), default_pin_policy(slot)
        )
    found = StoredKey(
        int(raw["algorithm"]),
        b64decode(raw["key"], validate=True),
        int(raw["pin_policy"]),
        int(raw["touch_policy"]),
        bool(raw["generated"]),
    )
    if found.algorithm not in ALGORITHMS:
        raise ValueError(f"a key's algorithm {found.algorithm:#04x} is none of a card")
    return found

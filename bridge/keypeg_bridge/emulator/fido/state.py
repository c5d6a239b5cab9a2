"""What the FIDO side of an emulated key keeps: a signature counter, the PIN, resident credentials, large blobs.

Promises: frozen values that read back from their JSON; the counter and the generation of a key are never lowered by any
change made here, reset included. The file and its durability are `emulator/state.py`'s.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from typing import Any, Final

PIN_TRIES: Final = 8
EMPTY_BLOBS: Final = (
    b"\x80" + hashlib.sha256(b"\x80").digest()[:16]
)  # an empty array, and its check


@dataclass(frozen=True, slots=True)
class User:
    """The account that a credential is for."""

    id: bytes
    name: str | None = None
    display_name: str | None = None


@dataclass(frozen=True, slots=True)
class Resident:
    """One discoverable credential; `id` holds all that its keys are made from. `order` grows with each one made."""

    id: bytes
    rp_id: str
    rp_name: str | None
    user: User
    order: int
    blob_key: bool = False


@dataclass(frozen=True, slots=True)
class FidoState:
    """The contents. `generation` counts resets: all keys are derived from it, so that a reset makes the old ones void."""

    generation: int = 0
    counter: int = 0
    pin_hash: bytes | None = field(default=None, repr=False)
    pin_tries: int = PIN_TRIES
    residents: tuple[Resident, ...] = ()
    blobs: bytes = EMPTY_BLOBS

    def counted(self) -> FidoState:
        """One signature more."""
        return replace(self, counter=self.counter + 1)

    def reset(self) -> FidoState:
        """As from the factory, but for what must never come back: counter and generation."""
        return FidoState(generation=self.generation + 1, counter=self.counter)

    def with_resident(self, new: Resident) -> FidoState:
        """One credential more; it replaces the one of the same account at the same relying party."""
        kept = (r for r in self.residents if (r.rp_id, r.user.id) != (new.rp_id, new.user.id))
        return replace(self, residents=(*kept, new))

    def without_resident(self, credential: bytes) -> FidoState:
        """One credential less."""
        return replace(self, residents=tuple(r for r in self.residents if r.id != credential))


def to_json(state: FidoState) -> dict[str, Any]:
    """As JSON takes it."""
    return {
        "generation": state.generation,
        "counter": state.counter,
        "pin": {
            "hash": None if state.pin_hash is None else state.pin_hash.hex(),
            "tries": state.pin_tries,
        },
        "residents": [
            {
                "id": _b64(r.id),
                "rp": r.rp_id,
                "rp_name": r.rp_name,
                "user": _b64(r.user.id),
                "name": r.user.name,
                "display_name": r.user.display_name,
                "order": r.order,
                "blob_key": r.blob_key,
            }
            for r in state.residents
        ],
        "blobs": _b64(state.blobs),
    }


def from_json(raw: Any) -> FidoState:
    """The inverse; `KeyError`, `TypeError`, `AttributeError` or `ValueError` for anything else."""
    pin = raw["pin"]["hash"]
    state = FidoState(
        generation=int(raw["generation"]),
        counter=int(raw["counter"]),
        pin_hash=None if pin is None else bytes.fromhex(pin),
        pin_tries=int(raw["pin"]["tries"]),
        residents=tuple(_resident(r) for r in raw["residents"]),
        blobs=b64decode(raw["blobs"], validate=True),
    )
    if min(state.generation, state.counter) < 0 or not 0 <= state.pin_tries <= PIN_TRIES:
        raise ValueError("a FIDO counter is out of its range")
    return state


def _resident(raw: Any) -> Resident:
    texts = {name: raw[name] for name in ("rp_name", "name", "display_name")}
    if not all(text is None or isinstance(text, str) for text in texts.values()):
        raise ValueError("a name in a FIDO credential is not text")
    return Resident(
        id=b64decode(raw["id"], validate=True),
        rp_id=str(raw["rp"]),
        rp_name=texts["rp_name"],
        user=User(b64decode(raw["user"], validate=True), texts["name"], texts["display_name"]),
        order=int(raw["order"]),
        blob_key=bool(raw["blob_key"]),
    )


def _b64(data: bytes) -> str:
    return b64encode(data).decode()

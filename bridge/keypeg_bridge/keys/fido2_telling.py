"""What a FIDO2 key is said to be: what it told of itself, and what its enrollment has shown.

Promises: pure; nothing is asked of the key.

Leaves to others: the key (fido2.py), what stands on the disk of it (fido2_shelf.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm
from keypeg_bridge.keys.driver import Capabilities
from keypeg_bridge.keys.fido2_commands import Info
from keypeg_bridge.keys.fido2_shelf import CredentialRecord

SLOTS: Final = 20
SLOT_BYTES: Final = 65_536  # an envelope of the largest size that is read


@dataclass(frozen=True, slots=True)
class Blank:
    """What is known of a key before it has a credential; nothing of it is on disk."""

    card_id: bytes | None = None
    algorithm: ManagementAlgorithm = ManagementAlgorithm.AES_192
    key: bytes = DEFAULT_MANAGEMENT_KEY


def capabilities(
    info: Info, record: CredentialRecord | None, blank: Blank, refusal: str
) -> Capabilities:
    """What the key can do; `refusal` is why it can not sign silently, or empty."""
    options = info.options
    features = [
        *(["resident_keys"] if options.get("rk") else []),
        *(["large_blobs"] if options.get("largeBlobs") else []),
        *(["pin_set"] if options.get("clientPin") else []),
        *(["always_pin"] if options.get("alwaysUv") else []),
        *(["attested"] if record and record.attested else []),
    ]
    missing = [refusal] if refusal else []
    default = record.management_is_default if record else blank.key == DEFAULT_MANAGEMENT_KEY
    return Capabilities(
        driver="fido2",
        enrolled=record is not None,
        silent=True if record else None,
        slots=SLOTS,
        slot_bytes=SLOT_BYTES,
        management_algorithm=record.management_algorithm if record else blank.algorithm,
        management_is_default=default,
        can_change_management_key=True,
        missing=tuple(missing),
        counter=record.counts if record else None,
        features=tuple(features),
    )


def signals(record: CredentialRecord | None) -> tuple[str, ...]:
    """Whether there may be two of the key."""
    fall = record.fall if record else None
    if fall is None:
        return ()
    return (
        f"its counter told {fall.told} after {fall.seen}: there may be a copy of it; enroll it"
        " anew, or another one",
    )

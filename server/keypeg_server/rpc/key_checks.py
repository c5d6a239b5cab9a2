"""What requests about locations and keys have to be: rules for validate.py.

Promises: as there: one rule for every field, as the contract's comments say.

Leaves to others: what a key proves (service/locations.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keypeg import names
from keypeg_server.rpc import borrow_checks
from keypeg_server.rpc.checks import (
    PAGE,
    anything,
    each,
    matching,
    message,
    name,
    size,
    size_between,
    text,
    uuid,
)
from keypeg_server.rpc.parts import (
    ACCOUNT,
    DEVICE,
    KEY_ATTESTATION,
    OPTIONAL_LABEL,
    PUBLIC_KEY,
    Fields,
)

_CARD_ID: Final = matching(r"[0-9a-f]{32}", "16 bytes in lower-case hexadecimal")

RULES: Final[Mapping[str, Fields]] = {
    "GetLocationRequest": {"name": name(names.LOCATION)},
    "ListLocationsRequest": {"parent": ACCOUNT, **PAGE},
    "AuthorizeKeyWriteRequest": {
        "parent": ACCOUNT,
        "card_id": _CARD_ID,
        "management_algorithm": matching("3des|aes128|aes192|aes256", "3des or aes128, 192, 256"),
        "challenge": size(8, 16),
        "factory_key": anything,
        "emulated": anything,
    },
    "CreateKeyLocationRequest": {
        "parent": ACCOUNT,
        "request_id": uuid,
        "card_id": _CARD_ID,
        "public_key": message(PUBLIC_KEY),
        "enrollment_nonce": size(32),
        "signature": size_between(1, 1_024),
        "display_name": OPTIONAL_LABEL,
        "model": OPTIONAL_LABEL,
        "serial": OPTIONAL_LABEL,
        "emulated": anything,
        "attestation": message(KEY_ATTESTATION, required=False),
    },
    "CreateHostLocationRequest": {
        "parent": ACCOUNT,
        "request_id": uuid,
        "device": message(DEVICE),
        "fingerprint": borrow_checks.whole_fingerprint,
    },
    "CheckKeyRequest": {
        "parent": ACCOUNT,
        "card_id": _CARD_ID,
        "public_key": message(PUBLIC_KEY),
        "contents": each(message(borrow_checks.ENVELOPE), high=32),
        "suspicions": each(text(1, 256), high=16),
    },
    "ReportKeyLostRequest": {
        "name": name(names.LOCATION),
        "request_id": uuid,
        "reason": text(1, 500),
    },
    "ReplaceKeyRequest": {
        "name": name(names.LOCATION),
        "request_id": uuid,
        "replacement": name(names.LOCATION),
    },
}

"""What requests and frames are made of: one rule for every field of the messages within them.

Promises: every message of the contract that comes within a request is in PARTS, or a table of validate.py has its
fields.

Leaves to others: the requests themselves, and saying what is wrong (validate.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from keypeg import names
from keypeg.v1.document_pb2 import KeyAlgorithm
from keypeg.v1.location_pb2 import LocationKind
from keypeg.v1.pool_rules_pb2 import SeatCounting
from keypeg_server.rpc import borrow_checks, life_checks
from keypeg_server.rpc.checks import (
    Check,
    Problem,
    anything,
    duration,
    each,
    matching,
    message,
    name,
    number,
    one_of,
    optional,
    size,
    size_between,
    text,
    timestamp,
    uuid,
)

Fields = Mapping[str, Check]

OPTIONAL_LABEL = text(0, 128)
FEATURE = matching(r"[a-z0-9][a-z0-9_.-]{0,62}", "1 to 63 characters of [a-z0-9_.-]")
VERSION = matching(r"(v?\d{1,9}(\.\d{1,9}){0,7}.{0,64})?", "dotted numbers")
ACCOUNT = name(names.ACCOUNT)
PRODUCT = name(names.PRODUCT)
POOL = name(names.POOL)
KINDS = each(one_of(LocationKind), high=4, key=int)


def same_feature(value: Any) -> str:
    feature: str = value.feature
    return feature


DEVICE: Final[Fields] = {
    "id": matching(r"[a-z0-9-]{8,64}", "8 to 64 characters of [a-z0-9-]"),
    "host_name": text(0, 255),
}
APP: Final[Fields] = {
    "name": OPTIONAL_LABEL,
    "version": VERSION,
    "sdk": OPTIONAL_LABEL,
    "process_id": anything,
    "release_time": timestamp,
}
FEATURE_GRANT: Final[Fields] = {"feature": FEATURE, "seat_count": number(0, 1_000_000)}
FEATURE_UNITS: Final[Fields] = {"feature": FEATURE, "units": number(1, 10_000)}
PUBLIC_KEY: Final[Fields] = {"algorithm": one_of(KeyAlgorithm), "key": size(32, 65, 97, 256)}
KEY_ATTESTATION: Final[Fields] = {"certificates": each(size_between(1, 4_096), high=8)}
KEY_LOSS_POLICY: Final[Fields] = {
    "move_count": number(0, 1_000),
    "period": duration(timedelta(days=1), timedelta(days=3_650)),
    "wait": duration(timedelta(0), timedelta(days=365)),
}
UNITS = each(message(FEATURE_UNITS), high=64, key=same_feature)
_SEQUENCE = number(1, 2**63 - 1)

DEVICE_MARK: Final[Fields] = {
    "id": matching(r"[0-9a-f]{32}", "32 characters of [0-9a-f]"),
    "secret": size(32),
}
OPEN: Final[Fields] = {
    "sequence": _SEQUENCE,
    "protocol_version": anything,  # another one is PROTOCOL_UNSUPPORTED
    "device": message(DEVICE),
    "app": message(APP),
    "product": PRODUCT,
    "nonce": size(32),
    "key_share": size(32),
    "location_kinds": KINDS,
    "mark": message(DEVICE_MARK, required=False),
}
RESUME: Final[Fields] = {
    "sequence": _SEQUENCE,
    "protocol_version": anything,
    "session": name(names.SESSION),
    "resume_ticket": size_between(1, 4_096),
    "nonce": size(32),
    "key_share": size(32),
    "mac": size(16),
    "mark": message(DEVICE_MARK, required=False),
}
DEVICE_PROOF: Final[Fields] = {
    "sequence": _SEQUENCE,
    "mark": matching(r"[0-9a-f]{32}", "32 characters of [0-9a-f]"),
    "mac": size(0, 32),
}
RENEW: Final[Fields] = {"sequence": _SEQUENCE, "nonce": size(0, 32), "mac": size(16)}
ACQUIRE: Final[Fields] = {
    "sequence": _SEQUENCE,
    "request_id": uuid,
    "pool": optional(POOL),
    "units": number(0, 10_000),
    "features": UNITS,
    "wait": anything,
    "priority": number(-100, 100),
}
RELEASE: Final[Fields] = {"sequence": _SEQUENCE, "name": name(names.LEASE, names.PLACE)}
CLOSE: Final[Fields] = {"sequence": _SEQUENCE}

_SUBJECT_NAME = text(0, 255)
POOL_SUBJECT: Final[Fields] = {
    "user": _SUBJECT_NAME,
    "group": _SUBJECT_NAME,
    "host": _SUBJECT_NAME,
    "network": _SUBJECT_NAME,
}


def _subject(value: Any) -> Iterable[Problem]:
    kind = None if value is None else value.WhichOneof("subject")
    if kind is None:
        return (("", "names nobody: set a user, a group, a host or a network"),)
    return text(1, 255)(getattr(value, kind))


PERIOD = duration(timedelta(0), timedelta(days=30))
_ENTRIES = 1_000
POOL_GROUP: Final[Fields] = {"name": FEATURE, "members": each(_subject, high=10_000)}
POOL_RESERVATION: Final[Fields] = {"subject": _subject, "units": number(1, 1_000_000)}
POOL_LIMIT: Final[Fields] = {"subject": _subject, "units": number(0, 1_000_000)}
POOL_DENIAL: Final[Fields] = {"subject": _subject, "cut": anything}
POOL_BORROWING: Final[Fields] = {
    "longest": duration(timedelta(0), timedelta(days=366)),
    "floor_units": number(0, 1_000_000),
    "most_units": number(0, 1_000_000),
    "allowed": each(_subject, high=_ENTRIES),
}
POOL_RULES: Final[Fields] = {
    "counting": one_of(SeatCounting, unset=True),
    "reservations": each(message(POOL_RESERVATION), high=_ENTRIES),
    "limits": each(message(POOL_LIMIT), high=_ENTRIES),
    "allowed": each(_subject, high=_ENTRIES),
    "denied": each(message(POOL_DENIAL), high=_ENTRIES),
    "groups": each(message(POOL_GROUP), high=_ENTRIES),
    "linger": PERIOD,
    "overdraft_units": number(0, 1_000_000),
    "ageing": PERIOD,
    "queue_length": number(0, 1_000_000),
    "etag": text(0, 64),
    "borrowing": message(POOL_BORROWING, required=False),
    "write_off_units": number(0, 1_000_000),
}

FRAMES: Final[Mapping[str, Fields]] = {
    "open": OPEN,
    "resume": RESUME,
    "renew": RENEW,
    "acquire": ACQUIRE,
    "release": RELEASE,
    "close": CLOSE,
    "device_proof": DEVICE_PROOF,
}

# Messages within requests, for the test that looks for fields without a rule.
PARTS: Final[Mapping[str, Fields]] = {
    **life_checks.PARTS,
    "Device": DEVICE,
    "App": APP,
    "FeatureGrant": FEATURE_GRANT,
    "FeatureUnits": FEATURE_UNITS,
    "PublicKey": PUBLIC_KEY,
    "KeyAttestation": KEY_ATTESTATION,
    "KeyLossPolicy": KEY_LOSS_POLICY,
    "DeviceMark": DEVICE_MARK,
    "DeviceProof": DEVICE_PROOF,
    "Open": OPEN,
    "Resume": RESUME,
    "Renew": RENEW,
    "Acquire": ACQUIRE,
    "Release": RELEASE,
    "Close": CLOSE,
    "PoolRules": POOL_RULES,
    "PoolSubject": POOL_SUBJECT,
    "PoolGroup": POOL_GROUP,
    "PoolReservation": POOL_RESERVATION,
    "PoolLimit": POOL_LIMIT,
    "PoolDenial": POOL_DENIAL,
    "PoolBorrowing": POOL_BORROWING,
    "HostFingerprint": borrow_checks.FINGERPRINT,
    "FingerprintComponent": borrow_checks.COMPONENT,
    "Envelope": borrow_checks.ENVELOPE,
    "Signature": borrow_checks.SIGNATURE,
}

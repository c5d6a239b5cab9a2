"""Whether a request is well-formed: one rule for every field, as the contract's comments say.

Promises: every message of the contract that this server takes has a table here, every field of it a rule
(a test walks the descriptors); all that is wrong is said at once, field by field, in FieldInvalid.
`frame` is cheap for the frame that comes most, `renew`.

Leaves to others: what only the server's data can tell (services), who may ask (authorization.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from keypeg import names
from keypeg.errors import FieldInvalid, ProtocolViolation
from keypeg.v1.account_pb2 import ROLE_ADMIN, ROLE_MEMBER, Role
from keypeg.v1.document_pb2 import KeyAlgorithm
from keypeg.v1.license_pb2 import LicenseType
from keypeg.v1.location_pb2 import LocationKind
from keypeg.v1.pool_event_pb2 import PoolEventKind
from keypeg.v1.pool_rules_pb2 import SeatCounting
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg_server.rpc import borrow_checks
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
    value_of,
)
from keypeg_server.rpc.frame_checks import PLAINLY_RIGHT

Fields = Mapping[str, Check]
PACKAGE: Final = "keypeg.v1"

_ID = matching(r"[a-z][a-z0-9-]{2,62}", "3 to 63 characters of [a-z0-9-], a letter first")
_LOGIN = matching(
    r"[^\sA-Z\x00-\x20\x7f]{3,128}", "3 to 128 characters, lower case, without spaces"
)
_PASSWORD = text(8, 1_024)
_LABEL = text(1, 128)
_OPTIONAL_LABEL = text(0, 128)
_CARD_ID = matching(r"[0-9a-f]{32}", "16 bytes in lower-case hexadecimal")
_FEATURE = matching(r"[a-z0-9][a-z0-9_.-]{0,62}", "1 to 63 characters of [a-z0-9_.-]")
_VERSION = matching(r"(v?\d{1,9}(\.\d{1,9}){0,7}.{0,64})?", "dotted numbers")
_ACCOUNT, _PRODUCT = name(names.ACCOUNT), name(names.PRODUCT)
_POOL, _LEASE, _BORROW = name(names.POOL), name(names.LEASE), name(names.BORROW)
_CLOUD, _ACTIVATION = name(names.CLOUD_SESSION), name(names.ACTIVATION)
_KINDS = each(one_of(LocationKind), high=4, key=int)
_TTL = duration(timedelta(seconds=10), timedelta(hours=1))
_PAGE: Fields = {"page_size": number(0, 1_000), "page_token": text(0, 256)}


def _same(value: Any) -> str:
    feature: str = value.feature
    return feature


DEVICE: Final[Fields] = {
    "id": matching(r"[a-z0-9-]{8,64}", "8 to 64 characters of [a-z0-9-]"),
    "host_name": text(0, 255),
}
APP: Final[Fields] = {
    "name": _OPTIONAL_LABEL,
    "version": _VERSION,
    "sdk": _OPTIONAL_LABEL,
    "process_id": anything,
}
FEATURE_GRANT: Final[Fields] = {"feature": _FEATURE, "seat_count": number(0, 1_000_000)}
FEATURE_UNITS: Final[Fields] = {"feature": _FEATURE, "units": number(1, 10_000)}
PUBLIC_KEY: Final[Fields] = {"algorithm": one_of(KeyAlgorithm), "key": size(32, 65)}
_UNITS = each(message(FEATURE_UNITS), high=64, key=_same)
_SEQUENCE = number(1, 2**63 - 1)

OPEN: Final[Fields] = {
    "sequence": _SEQUENCE,
    "protocol_version": anything,  # another one is PROTOCOL_UNSUPPORTED
    "device": message(DEVICE),
    "app": message(APP),
    "product": _PRODUCT,
    "nonce": size(32),
    "key_share": size(32),
    "location_kinds": _KINDS,
}
RESUME: Final[Fields] = {
    "sequence": _SEQUENCE,
    "protocol_version": anything,
    "session": name(names.SESSION),
    "resume_ticket": size_between(1, 4_096),
    "nonce": size(32),
    "key_share": size(32),
    "mac": size(16),
}
RENEW: Final[Fields] = {"sequence": _SEQUENCE, "nonce": size(0, 32), "mac": size(16)}
ACQUIRE: Final[Fields] = {
    "sequence": _SEQUENCE,
    "request_id": uuid,
    "pool": optional(_POOL),
    "units": number(0, 10_000),
    "features": _UNITS,
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


_PERIOD = duration(timedelta(0), timedelta(days=30))
_ENTRIES = 1_000
POOL_GROUP: Final[Fields] = {"name": _FEATURE, "members": each(_subject, high=10_000)}
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
    "linger": _PERIOD,
    "overdraft_units": number(0, 1_000_000),
    "ageing": _PERIOD,
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
}

RULES: Final[Mapping[str, Fields]] = {
    "SignInRequest": {"login": text(1, 128), "password": _PASSWORD},
    "SignOutRequest": {},
    "GetCallerRequest": {},
    "CreateAccountRequest": {
        "request_id": uuid,
        "account_id": optional(_ID),
        "display_name": _LABEL,
    },
    "GetAccountRequest": {"name": _ACCOUNT},
    "ListAccountsRequest": _PAGE,
    "CreateUserRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "login": _LOGIN,
        "password": _PASSWORD,
        "display_name": _OPTIONAL_LABEL,
        "role": one_of(Role, ROLE_MEMBER, ROLE_ADMIN, unset=True),
    },
    "ListUsersRequest": {"parent": _ACCOUNT, **_PAGE},
    "DeleteUserRequest": {"name": name(names.USER), "request_id": uuid},
    "GetPublisherRequest": {"name": name(names.PUBLISHER)},
    "CreateProductRequest": {
        "parent": name(names.PUBLISHER),
        "request_id": uuid,
        "product_id": _ID,
        "display_name": _LABEL,
        "bundle_products": each(_PRODUCT, high=256, key=str),
        "allowed_locations": each(one_of(LocationKind), low=1, high=4, key=int),
        "offline_grace": duration(timedelta(seconds=10), timedelta(days=30)),
        "unplug_grace": duration(timedelta(0), timedelta(hours=24)),
        "minimum_app_version": _VERSION,
        "features": each(_FEATURE, high=256, key=str),
    },
    "GetProductRequest": {"name": _PRODUCT},
    "ListProductsRequest": {"parent": name(names.PUBLISHER), **_PAGE},
    "CreateLicenseRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "product": _PRODUCT,
        "type": one_of(LicenseType, unset=True),
        "allowed_locations": _KINDS,
        "activation_count": number(0, 10_000),
        "seat_count": number(0, 1_000_000),
        "features": each(message(FEATURE_GRANT), high=256, key=_same),
        "expire_time": timestamp,
        "term_days": number(0, 36_500),
        "maintenance_end_time": timestamp,
        "external_reference": _OPTIONAL_LABEL,
    },
    "GetLicenseRequest": {"name": name(names.LICENSE)},
    "ListLicensesRequest": {"parent": _ACCOUNT, **_PAGE},
    "CreateActivationRequest": {
        "parent": name(names.LICENSE),
        "request_id": uuid,
        "location": name(names.LOCATION),
    },
    "GetActivationRequest": {"name": _ACTIVATION},
    "ListActivationsRequest": {"parent": name(names.ACCOUNT, names.LICENSE), **_PAGE},
    "DeleteActivationRequest": {"name": _ACTIVATION, "request_id": uuid},
    "GetCloudSessionRequest": {"name": _CLOUD},
    "OpenCloudSessionRequest": {
        "name": _CLOUD,
        "request_id": uuid,
        "device": message(DEVICE),
        "keep_elsewhere": anything,
    },
    "CloseCloudSessionRequest": {"name": _CLOUD, "request_id": uuid, "device": message(DEVICE)},
    "GetLocationRequest": {"name": name(names.LOCATION)},
    "ListLocationsRequest": {"parent": _ACCOUNT, **_PAGE},
    "AuthorizeKeyWriteRequest": {
        "parent": _ACCOUNT,
        "card_id": _CARD_ID,
        "management_algorithm": matching("3des|aes128|aes192|aes256", "3des or aes128, 192, 256"),
        "challenge": size(8, 16),
        "factory_key": anything,
        "emulated": anything,
    },
    "CreateKeyLocationRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "card_id": _CARD_ID,
        "public_key": message(PUBLIC_KEY),
        "enrollment_nonce": size(32),
        "signature": size_between(1, 1_024),
        "display_name": _OPTIONAL_LABEL,
        "model": _OPTIONAL_LABEL,
        "serial": _OPTIONAL_LABEL,
        "emulated": anything,
    },
    "HoldSessionRequest": {kind: message(fields) for kind, fields in FRAMES.items()},
    "CloseSessionRequest": {"session": name(names.SESSION), "release_token": size_between(1, 64)},
    "AcquireSeatRequest": {
        "request_id": uuid,
        "pool": _POOL,
        "units": number(0, 10_000),
        "features": _UNITS,
        "ttl": _TTL,
        "device": message(DEVICE),
        "app": message(APP),
        "wait": duration(timedelta(0), timedelta(seconds=60)),
        "priority": number(-100, 100),
    },
    "LeaveQueueRequest": {"name": name(names.PLACE)},
    "RenewSeatRequest": {"name": _LEASE, "fencing_number": anything, "ttl": _TTL},
    "ReleaseSeatRequest": {"name": _LEASE, "fencing_number": anything},
    "FreeSeatRequest": {
        "name": _LEASE,
        "request_id": uuid,
        "reason": text(1, 500),
        "hold_off": _PERIOD,
    },
    "GetPoolRequest": {"name": _POOL},
    "ListPoolsRequest": {"parent": _ACCOUNT, "product": optional(_PRODUCT), **_PAGE},
    "ListLeasesRequest": {"parent": _POOL, **_PAGE},
    "ListQueuePlacesRequest": {"parent": _POOL, **_PAGE},
    "GetPoolRulesRequest": {"name": _POOL},
    "UpdatePoolRulesRequest": {
        "name": _POOL,
        "rules": message(POOL_RULES),
        "dry_run": anything,
    },
    "WatchPoolRequest": {"parent": name(names.POOL, names.ACCOUNT)},
    "ListPoolEventsRequest": {
        "parent": name(names.POOL, names.ACCOUNT),
        "begin_time": timestamp,
        "end_time": timestamp,
        "kinds": each(one_of(PoolEventKind), high=20, key=int),
        **_PAGE,
    },
    "ExplainRequest": {
        "pool": _POOL,
        "units": number(0, 10_000),
        "features": _UNITS,
        "device": message(DEVICE),
        "app": message(APP),
        "wait": anything,
        "priority": number(-100, 100),
    },
    "CreateBorrowRequest": {
        "request_id": uuid,
        "pool": _POOL,
        "units": number(0, 10_000),
        "features": _UNITS,
        "duration": borrow_checks.borrow_duration,
        "device": message(DEVICE),
        "app": message(APP),
        "fingerprint": borrow_checks.fingerprint,
        "return_key": borrow_checks.RETURN_KEY,
    },
    "RenewBorrowRequest": {
        "name": _BORROW,
        "request_id": uuid,
        "duration": borrow_checks.borrow_duration,
    },
    "ReturnBorrowRequest": {"name": _BORROW, "statement": message(borrow_checks.ENVELOPE)},
    "WriteOffBorrowRequest": {
        "name": _BORROW,
        "request_id": optional(uuid),
        "reason": text(0, 500),
        "dry_run": anything,
    },
    "GetBorrowRequest": {"name": _BORROW},
    "ListBorrowsRequest": {"parent": name(names.POOL, names.ACCOUNT), **_PAGE},
    "ExportLogRequest": {"parent": name(names.ACCOUNT, names.PUBLISHER)},
    "SimulateSeatsRequest": {
        "parent": _ACCOUNT,
        "pool": _POOL,
        "seat_counts": each(number(1, 1_000_000), high=16),
        "begin_time": timestamp,
        "end_time": timestamp,
        "rules": message(POOL_RULES, required=False),
    },
}

# Messages within requests, for the test that looks for fields without a rule.
PARTS: Final[Mapping[str, Fields]] = {
    "Device": DEVICE,
    "App": APP,
    "FeatureGrant": FEATURE_GRANT,
    "FeatureUnits": FEATURE_UNITS,
    "PublicKey": PUBLIC_KEY,
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


def request(request: Any) -> None:
    """Refuse a request of the contract that is not well-formed; requests of others pass."""
    descriptor = request.DESCRIPTOR
    if descriptor.file.package == PACKAGE:
        _check(request, RULES[descriptor.name])


def frame(frame: HoldSessionRequest) -> None:
    """Refuse a frame of a session that is not well-formed."""
    kind = frame.WhichOneof("frame")
    if kind is None:
        raise ProtocolViolation(
            "The frame is empty, or of a kind that is not known here; send one that is known.",
            frame="none",
        )
    plainly_right = PLAINLY_RIGHT.get(kind)
    if plainly_right is not None and plainly_right(getattr(frame, kind)):
        return
    _check(getattr(frame, kind), FRAMES[kind])


def _check(holder: Any, fields: Fields) -> None:
    problems: dict[str, str] = {}
    for field, check in fields.items():
        for path, what in check(value_of(holder, field)):
            problems.setdefault(field + path, what)
    if problems:
        said = "; ".join(f"{field} {what}" for field, what in list(problems.items())[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise FieldInvalid(f"The request is not well-formed: {said}{more}.", fields=problems)

"""Whether a request is well-formed: one rule for every field, as the contract's comments say.

Promises: every message of the contract that this server takes has a table here, every field of it a rule
(a test walks the descriptors); all that is wrong is said at once, field by field, in FieldInvalid.
`frame` is cheap for the frame that comes most, `renew`.

Leaves to others: what only the server's data can tell (services), who may ask (authorization.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from keypeg import names
from keypeg.errors import FieldInvalid, ProtocolViolation
from keypeg.v1.account_pb2 import AccountKind, Role
from keypeg.v1.cloud_session_pb2 import CloudMode
from keypeg.v1.license_pb2 import LicenseType
from keypeg.v1.location_pb2 import LocationKind
from keypeg.v1.pool_event_pb2 import PoolEventKind
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg_server.rpc import (
    borrow_checks,
    certificate_checks,
    credential_checks,
    identity_checks,
    life_checks,
    people_checks,
)
from keypeg_server.rpc.checks import (
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
from keypeg_server.rpc.frame_checks import PLAINLY_RIGHT, REQUESTS_PLAINLY_RIGHT
from keypeg_server.rpc.parts import (
    APP,
    DEVICE,
    FEATURE,
    FEATURE_GRANT,
    FRAMES,
    KEY_ATTESTATION,
    KEY_LOSS_POLICY,
    KINDS,
    OPTIONAL_LABEL,
    PERIOD,
    POOL,
    POOL_RULES,
    PRODUCT,
    PUBLIC_KEY,
    UNITS,
    VERSION,
    Fields,
    same_feature,
)
from keypeg_server.rpc.quotas import TooLarge

PACKAGE: Final = "keypeg.v1"

_ID = matching(r"[a-z][a-z0-9-]{2,62}", "3 to 63 characters of [a-z0-9-], a letter first")
_LABEL = text(1, 128)
_NEWEST = matching(r"\d{1,9}(\.\d{1,9}){0,7}", "dotted numbers, for example 7 or 7.2")
_CARD_ID = matching(r"[0-9a-f]{32}", "16 bytes in lower-case hexadecimal")
_ACCOUNT, _LEASE, _BORROW = name(names.ACCOUNT), name(names.LEASE), name(names.BORROW)
_CLOUD = name(names.CLOUD_SESSION, names.MEMBER_CLOUD_SESSION)
_MEMBER_CLOUD, _ACTIVATION = name(names.MEMBER_CLOUD_SESSION), name(names.ACTIVATION)
_TTL = duration(timedelta(seconds=10), timedelta(hours=1))
_PAGE: Fields = {"page_size": number(0, 1_000), "page_token": text(0, 256)}

RULES: Final[Mapping[str, Fields]] = {
    "SignInRequest": {
        "login": text(1, 128),
        "password": people_checks.PASSWORD,
        "client_name": OPTIONAL_LABEL,
        "code": text(0, 32),
    },
    "RefreshSignInRequest": {"refresh_token": text(1, 256), "request_id": uuid},
    "ListSignInsRequest": _PAGE,
    "EndSignInRequest": {"name": name(names.SIGN_IN), "request_id": uuid},
    "SignOutEverywhereRequest": {},
    "BeginDeviceSignInRequest": {"client_name": OPTIONAL_LABEL},
    "FinishDeviceSignInRequest": {"device_code": text(1, 64)},
    "GetDeviceSignInRequest": {"user_code": text(1, 16)},
    "DecideDeviceSignInRequest": {
        "user_code": text(1, 16),
        "approve": anything,
        "request_id": uuid,
    },
    "BeginOneTimeCodesRequest": {"password": people_checks.PASSWORD},
    "ConfirmOneTimeCodesRequest": {"code": text(1, 32)},
    "RemoveOneTimeCodesRequest": {"password": people_checks.PASSWORD, "code": text(1, 32)},
    "EndUserSignInsRequest": {"name": name(names.USER), "request_id": uuid},
    **life_checks.RULES,
    **people_checks.RULES,
    **identity_checks.RULES,
    **certificate_checks.RULES,
    "SignOutRequest": {},
    "GetCallerRequest": {},
    "CreateAccountRequest": {
        "request_id": uuid,
        "account_id": optional(_ID),
        "display_name": _LABEL,
        "kind": one_of(AccountKind, unset=True),
    },
    "SetAccountKindRequest": {
        "name": _ACCOUNT,
        "request_id": uuid,
        "kind": one_of(AccountKind),
    },
    "GetAccountRequest": {"name": _ACCOUNT},
    "ListAccountsRequest": _PAGE,
    "CreateUserRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "login": people_checks.LOGIN,
        "password": people_checks.PASSWORD,
        "display_name": OPTIONAL_LABEL,
        "role": one_of(Role, unset=True),
    },
    "ListUsersRequest": {"parent": _ACCOUNT, **_PAGE},
    "DeleteUserRequest": {"name": name(names.USER), "request_id": uuid},
    "GetPublisherRequest": {"name": name(names.PUBLISHER)},
    "CreateProductRequest": {
        "parent": name(names.PUBLISHER),
        "request_id": uuid,
        "product_id": _ID,
        "display_name": _LABEL,
        "bundle_products": each(PRODUCT, high=256, key=str),
        "allowed_locations": each(one_of(LocationKind), low=1, high=4, key=int),
        "offline_grace": duration(timedelta(seconds=10), timedelta(days=30)),
        "unplug_grace": duration(timedelta(0), timedelta(hours=24)),
        "minimum_app_version": VERSION,
        "features": each(FEATURE, high=256, key=str),
        "key_loss": message(KEY_LOSS_POLICY, required=False),
        "switches": message(life_checks.LICENSE_SWITCHES, required=False),
    },
    "GetProductRequest": {"name": PRODUCT},
    "ListProductsRequest": {"parent": name(names.PUBLISHER), **_PAGE},
    "CreateLicenseRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "product": PRODUCT,
        "type": one_of(LicenseType, unset=True),
        "allowed_locations": KINDS,
        "activation_count": number(0, 10_000),
        "seat_count": number(0, 1_000_000),
        "features": each(message(FEATURE_GRANT), high=256, key=same_feature),
        "expire_time": timestamp,
        "term_days": number(0, 36_500),
        "maintenance_end_time": timestamp,
        "external_reference": OPTIONAL_LABEL,
        "newest_version": optional(_NEWEST),
    },
    "AddLicenseCapacityRequest": {
        "parent": name(names.LICENSE),
        "request_id": uuid,
        "seat_count": number(0, 1_000_000),
        "activation_count": number(0, 10_000),
        "start_time": timestamp,
        "duration": duration(timedelta(seconds=1), timedelta(days=3_650)),
        "note": OPTIONAL_LABEL,
    },
    "ListLicenseCapacitiesRequest": {"parent": name(names.LICENSE)},
    "RemoveLicenseCapacityRequest": {"name": name(names.CAPACITY), "request_id": uuid},
    "GetLicenseRequest": {"name": name(names.LICENSE)},
    "ListLicensesRequest": {"parent": _ACCOUNT, **_PAGE},
    "CreateActivationRequest": {
        "parent": name(names.LICENSE),
        "request_id": uuid,
        "location": name(names.LOCATION),
    },
    "GetActivationRequest": {"name": _ACTIVATION},
    "ListActivationsRequest": {"parent": name(names.ACCOUNT, names.LICENSE), **_PAGE},
    "BeginDeactivationRequest": {"name": _ACTIVATION, "request_id": uuid},
    "DeleteActivationRequest": {
        "name": _ACTIVATION,
        "request_id": uuid,
        "receipt": message(borrow_checks.ENVELOPE, required=False),
    },
    "GetCloudSessionRequest": {"name": _CLOUD},
    "OpenCloudSessionRequest": {
        "name": _CLOUD,
        "request_id": uuid,
        "device": message(DEVICE),
        "keep_elsewhere": anything,
    },
    "CloseCloudSessionRequest": {"name": _CLOUD, "request_id": uuid, "device": message(DEVICE)},
    "SetCloudSessionModeRequest": {"name": _CLOUD, "request_id": uuid, "mode": one_of(CloudMode)},
    "ChooseCloudLicensesRequest": {
        "name": _CLOUD,
        "request_id": uuid,
        "add_licenses": each(name(names.LICENSE), high=100, key=str),
        "remove_licenses": each(name(names.LICENSE), high=100, key=str),
    },
    "WatchCloudSessionRequest": {"name": _CLOUD},
    "ListCloudSessionsRequest": {"parent": _ACCOUNT, **_PAGE},
    "EndCloudSessionRequest": {
        "name": _MEMBER_CLOUD,
        "request_id": uuid,
        "reason": text(1, 255),
        "suspend": anything,
    },
    "ResumeCloudSessionRequest": {"name": _MEMBER_CLOUD, "request_id": uuid},
    **credential_checks.RULES,
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
        "display_name": OPTIONAL_LABEL,
        "model": OPTIONAL_LABEL,
        "serial": OPTIONAL_LABEL,
        "emulated": anything,
        "attestation": message(KEY_ATTESTATION, required=False),
    },
    "CheckKeyRequest": {
        "parent": _ACCOUNT,
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
    "HoldSessionRequest": {kind: message(fields) for kind, fields in FRAMES.items()},
    "CloseSessionRequest": {"session": name(names.SESSION), "release_token": size_between(1, 64)},
    "AcquireSeatRequest": {
        "request_id": uuid,
        "pool": POOL,
        "units": number(0, 10_000),
        "features": UNITS,
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
        "hold_off": PERIOD,
    },
    "GetPoolRequest": {"name": POOL},
    "ListPoolsRequest": {"parent": _ACCOUNT, "product": optional(PRODUCT), **_PAGE},
    "ListLeasesRequest": {"parent": POOL, **_PAGE},
    "ListQueuePlacesRequest": {"parent": POOL, **_PAGE},
    "GetPoolRulesRequest": {"name": POOL},
    "UpdatePoolRulesRequest": {
        "name": POOL,
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
        "pool": POOL,
        "units": number(0, 10_000),
        "features": UNITS,
        "device": message(DEVICE),
        "app": message(APP),
        "wait": anything,
        "priority": number(-100, 100),
    },
    "CreateBorrowRequest": {
        "request_id": uuid,
        "pool": POOL,
        "units": number(0, 10_000),
        "features": UNITS,
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
        "pool": POOL,
        "seat_counts": each(number(1, 1_000_000), high=16),
        "begin_time": timestamp,
        "end_time": timestamp,
        "rules": message(POOL_RULES, required=False),
    },
}


def request(request: Any) -> None:
    """Refuse a request of the contract that is not well-formed; requests of others pass."""
    plainly_right = REQUESTS_PLAINLY_RIGHT.get(type(request))
    if plainly_right is not None and plainly_right(request):
        return
    descriptor = request.DESCRIPTOR
    if descriptor.file.package == PACKAGE:
        _check(request, RULES[descriptor.name])


def frame(frame: HoldSessionRequest | TooLarge) -> None:
    """Refuse a frame of a session that is not well-formed, or was too large to be parsed."""
    if isinstance(frame, TooLarge):
        raise frame.refusal()
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

"""What requests about the life of licenses are made of: one rule for every field.

Promises: tables as those of validate.py and parts.py, which take them in.

Leaves to others: saying what is wrong (validate.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keypeg import names
from keypeg.v1.license_switches_pb2 import AccountAccess
from keypeg.v1.location_pb2 import LocationKind
from keypeg_server.rpc import borrow_checks
from keypeg_server.rpc.checks import (
    PAGE,
    Check,
    anything,
    each,
    matching,
    message,
    name,
    number,
    one_of,
    optional,
    text,
    timestamp,
    uuid,
)

Fields = Mapping[str, Check]

_ACCESS = one_of(AccountAccess, unset=True)
_REASON = text(1, 500)
_FEATURE: Final[Fields] = {
    "feature": matching(r"[a-z0-9][a-z0-9_.-]{0,62}", "1 to 63 characters of [a-z0-9_.-]"),
    "seat_count": number(0, 1_000_000),
}


def _feature_of(value: Any) -> str:
    feature: str = value.feature
    return feature


LICENSE_SWITCHES: Final[Fields] = {
    "move": _ACCESS,
    "recover": _ACCESS,
    "change": _ACCESS,
    "suspend": _ACCESS,
    "revoke": _ACCESS,
    "borrow": _ACCESS,
}
FEATURE_LIST: Final[Fields] = {"features": each(message(_FEATURE), high=256, key=_feature_of)}
KIND_LIST: Final[Fields] = {"kinds": each(one_of(LocationKind), low=1, high=4, key=int)}
# Of a number that is unset, only 0 is there to be seen; the service asks which.
LICENSE_EDIT: Final[Fields] = {
    "activation_count": number(0, 10_000),
    "seat_count": number(0, 1_000_000),
    "features": message(FEATURE_LIST, required=False),
    "allowed_locations": message(KIND_LIST, required=False),
    "expire_time": timestamp,
    "without_expire_time": anything,
    "term_days": number(0, 36_500),
    "maintenance_end_time": timestamp,
}
PARTS: Final[Mapping[str, Fields]] = {
    "LicenseSwitches": LICENSE_SWITCHES,
    "FeatureList": FEATURE_LIST,
    "LocationKindList": KIND_LIST,
    "LicenseEdit": LICENSE_EDIT,
}

_COMMAND: Final[Fields] = {
    "name": name(names.LICENSE),
    "request_id": uuid,
    "reason": _REASON,
    "apply_time": timestamp,
}
_ACTIVATION = name(names.ACTIVATION)
_CHANGE = name(names.LICENSE_CHANGE)
RULES: Final[Mapping[str, Fields]] = {
    "SetLicenseSwitchesRequest": {
        "name": name(names.PRODUCT),
        "request_id": uuid,
        "switches": message(LICENSE_SWITCHES),
    },
    "SuspendLicenseRequest": _COMMAND,
    "ResumeLicenseRequest": _COMMAND,
    "RevokeLicenseRequest": _COMMAND,
    "EditLicenseRequest": {**_COMMAND, "edit": message(LICENSE_EDIT)},
    "MoveLicenseRequest": {
        **_COMMAND,
        "name": _ACTIVATION,
        "target": optional(name(names.LOCATION)),
        "receipt": message(borrow_checks.ENVELOPE, required=False),
    },
    "RecoverLicenseRequest": {"name": _ACTIVATION, "request_id": uuid, "reason": _REASON},
    "ListLicenseChangesRequest": {
        "parent": name(names.ACCOUNT, names.LICENSE),
        **PAGE,
    },
    "BeginLicenseChangeRequest": {"name": _CHANGE},
    "ApplyLicenseChangeRequest": {
        "name": _CHANGE,
        "request_id": uuid,
        "receipt": message(borrow_checks.ENVELOPE),
    },
    "CancelLicenseChangeRequest": {"name": _CHANGE, "request_id": uuid, "reason": _REASON},
}

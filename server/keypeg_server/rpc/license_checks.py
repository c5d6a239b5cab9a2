"""What requests about products, licenses and activations have to be: rules for validate.py.

Promises: as there: one rule for every field, as the contract's comments say.

Leaves to others: what a license allows (domain/license.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.v1.license_pb2 import LicenseType
from keypeg.v1.location_pb2 import LocationKind
from keypeg_server.rpc import borrow_checks, life_checks
from keypeg_server.rpc.checks import (
    PAGE,
    duration,
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
from keypeg_server.rpc.parts import (
    ACCOUNT,
    FEATURE,
    FEATURE_GRANT,
    KEY_LOSS_POLICY,
    KINDS,
    OPTIONAL_LABEL,
    PRODUCT,
    VERSION,
    Fields,
    same_feature,
)

_ID: Final = matching(r"[a-z][a-z0-9-]{2,62}", "3 to 63 characters of [a-z0-9-], a letter first")
_LABEL: Final = text(1, 128)
_NEWEST: Final = matching(r"\d{1,9}(\.\d{1,9}){0,7}", "dotted numbers, for example 7 or 7.2")
_ACTIVATION: Final = name(names.ACTIVATION)

RULES: Final[Mapping[str, Fields]] = {
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
    "ListProductsRequest": {"parent": name(names.PUBLISHER), **PAGE},
    "CreateLicenseRequest": {
        "parent": ACCOUNT,
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
    "ListLicensesRequest": {"parent": ACCOUNT, **PAGE},
    "CreateActivationRequest": {
        "parent": name(names.LICENSE),
        "request_id": uuid,
        "location": name(names.LOCATION),
    },
    "GetActivationRequest": {"name": _ACTIVATION},
    "ListActivationsRequest": {"parent": name(names.ACCOUNT, names.LICENSE), **PAGE},
    "BeginDeactivationRequest": {"name": _ACTIVATION, "request_id": uuid},
    "DeleteActivationRequest": {
        "name": _ACTIVATION,
        "request_id": uuid,
        "receipt": message(borrow_checks.ENVELOPE, required=False),
    },
}

"""Licenses and activations as rows of their tables, and rows as what they stand for.

Promises: what is written is read back as it was.

Leaves to others: statements and transactions (license_store.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain import capacity
from keypeg_server.domain.license import (
    Activation,
    Feature,
    License,
    LicenseState,
    LicenseType,
)
from keypeg_server.domain.location import LocationKind
from keypeg_server.service.site_documents import site_license
from keypeg_server.storage.tables import ActivationRow


def document_keys(activation: Activation) -> str | None:
    """By which keys its document is believed; None where that is another's matter than this server's."""
    if activation.location_kind is not LocationKind.SITE:
        return None
    return site_license(activation.document).keys


def activation_row(activation: Activation) -> ActivationRow:
    """With its document."""
    return ActivationRow(
        id=activation.id,
        account=activation.account,
        license=activation.license,
        location=activation.location,
        location_kind=activation.location_kind,
        create_time_us=to_us(activation.create_time),
        generation=activation.generation,
        document=activation.document,
        return_nonce=activation.return_nonce or None,
        document_keys=document_keys(activation),
        capacity=activation.capacity,
        expire_time_us=_us(activation.expire_time),
    )


def _us(moment: datetime | None) -> int | None:
    return None if moment is None else to_us(moment)


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def as_row(license: License) -> dict[str, Any]:
    """The columns of its LicenseRow."""
    return {
        "id": license.id,
        "account": license.account,
        "product": license.product,
        "type": license.type,
        "state": license.state,
        "allowed_locations": sorted(license.allowed_locations),
        "activation_count": license.activation_count,
        "seat_count": license.seat_count,
        "features": [[feature.id, feature.seat_count] for feature in license.features],
        "deposit_time_us": to_us(license.deposit_time),
        "expire_time_us": _us(license.expire_time),
        "term_days": license.term_days,
        "first_activate_time_us": _us(license.first_activate_time),
        "maintenance_end_time_us": _us(license.maintenance_end_time),
        "external_reference": license.external_reference,
        "newest_version": license.newest_version,
        "state_reason": license.state_reason,
        "state_by_publisher": license.state_by_publisher,
        "waits_for": license.waits_for,
        "waiting_change": license.waiting_change,
        "next_change_time_us": _us(license.next_change_time),
        "capacities": capacity.to_json(license.capacities),
    }


def license_of(row: Any) -> License:
    """Of a LicenseRow, or of a row with its columns."""
    return License(
        account=row.account,
        id=row.id,
        product=row.product,
        type=LicenseType(row.type),
        state=LicenseState(row.state),
        allowed_locations=frozenset(LocationKind(kind) for kind in row.allowed_locations),
        activation_count=row.activation_count,
        seat_count=row.seat_count,
        features=tuple(Feature(id, seat_count) for id, seat_count in row.features),
        deposit_time=from_us(row.deposit_time_us),
        expire_time=_moment(row.expire_time_us),
        term_days=row.term_days,
        first_activate_time=_moment(row.first_activate_time_us),
        maintenance_end_time=_moment(row.maintenance_end_time_us),
        external_reference=row.external_reference,
        newest_version=row.newest_version,
        state_reason=row.state_reason,
        state_by_publisher=bool(row.state_by_publisher),
        waits_for=row.waits_for,
        waiting_change=row.waiting_change,
        next_change_time=_moment(row.next_change_time_us),
        capacities=capacity.from_json(row.capacities),
    )


def activation_of(row: Any) -> Activation:
    """Of an ActivationRow, or of a row with its columns."""
    return Activation(
        account=row.account,
        license=row.license,
        id=row.id,
        location=row.location,
        location_kind=LocationKind(row.location_kind),
        create_time=from_us(row.create_time_us),
        generation=row.generation,
        document=row.document,
        return_nonce=row.return_nonce or b"",
        capacity=row.capacity,
        expire_time=_moment(row.expire_time_us),
    )

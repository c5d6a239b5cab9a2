"""What more than one kind of proof must agree with: where a license lives, what it opens, how much it has.

Promises: pure checks, each with the error of its step (docs/formats.md).

Leaves to others: which proof needs which of them (proof.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from keypeg import names
from keypeg.errors import (
    DocumentOtherDevice,
    DocumentOtherProduct,
    DocumentType,
    FeatureUnknown,
    PoolTooSmall,
)
from keypeg.instants import BEGIN_TOLERANCE, after, instant
from keypeg.v1 import location_pb2
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.document_pb2 import Grant, GrantedLease, LicenseDocument
from keypeg.versions import Coverage, Release


def check_kind(what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DocumentType(
            f"The {what} is for location kind {_kind_name(found)}, and the proof is of kind "
            f"{_kind_name(expected)}; activate the license where it is used.",
            location_kind=_kind_name(found),
            expected=_kind_name(expected),
        )


def check_product(what: str, product: str, allowed: Iterable[str]) -> None:
    if product not in allowed:
        opened = sorted(allowed)
        shown = ", ".join(opened[:3]) + (" and others" if len(opened) > 3 else "")
        raise DocumentOtherProduct(
            f"The {what} does not open {product!r}; it opens {shown or 'nothing'}. "
            "Activate a license of the product.",
            product=product,
        )


def check_release(license_: LicenseDocument, product: str, release: Release) -> None:
    """Step 11: the license opens this version of the app."""
    coverage_of(license_).check(license_.license, product, release)


def coverage_of(license_: LicenseDocument) -> Coverage:
    """Which versions of the app a license opens."""
    ends = None
    if license_.HasField("maintenance_end_time"):
        ends = instant(license_.maintenance_end_time)
    return Coverage(license_.newest_version, ends)


def check_within(
    signed: Grant | BorrowDocument,
    leases: Sequence[GrantedLease],
    license_: LicenseDocument,
    now: datetime,
) -> None:
    """Step 15: what a site signs stays within the license that the publisher gave the site."""
    what = "borrow" if isinstance(signed, BorrowDocument) else "grant"
    account = names.parent(license_.license) if names.LICENSE.matches(license_.license) else ""
    if not account or signed.activation != license_.activation or signed.account != account:
        raise DocumentOtherDevice(
            f"The {what} is of {signed.activation!r}, and the site's license is {license_.activation!r}; "
            "ask the site's administrator.",
            activation=signed.activation,
            expected=license_.activation,
        )
    for product in signed.products:
        check_product("site's license", product, license_.opens_products)
    counts = {one.feature: one.seat_count for one in license_.features}
    held: dict[str, int] = {}
    for lease in leases:
        for units in lease.features:
            held[units.feature] = held.get(units.feature, 0) + units.units
    unknown = sorted({*signed.features, *held} - set(counts))
    if unknown:
        raise FeatureUnknown(
            f"The {what} has feature {unknown[0]!r}, and the site's license has not; "
            "ask the site's administrator.",
            feature=unknown[0],
        )
    _check_units(what, "seats", sum(lease.units for lease in leases), _seats(license_, now))
    for feature, units_held in held.items():
        if counts[feature]:  # 0: not counted by itself
            _check_units(what, f"seats of {feature}", units_held, counts[feature])


def _seats(license_: LicenseDocument, now: datetime) -> int:
    """The seats of a license, with those that are there for a time; these are taken a little early."""
    there = (
        one.seat_count
        for one in license_.capacities
        if after(now + BEGIN_TOLERANCE, one.start_time) and not after(now, one.end_time)
    )
    return license_.seat_count + sum(there)


def _check_units(which: str, what: str, units: int, allowed: int) -> None:
    if units > allowed:
        raise PoolTooSmall(
            f"The {which} has {units} {what}, and the site's license has {allowed}; "
            "ask the site's administrator.",
            units=str(units),
            seat_count=str(allowed),
        )


def _kind_name(kind: int) -> str:
    known = location_pb2.LocationKind.DESCRIPTOR.values_by_number.get(kind)
    return known.name.removeprefix("LOCATION_KIND_").lower() if known else str(kind)

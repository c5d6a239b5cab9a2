"""Frames of a session from and to the domain's words.

Promises: frames that go out show exactly what their arguments hold.

Leaves to others: whether a frame that came is well-formed (whoever read it), the order of frames
(conversation.py), codes and proofs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from keypeg import names
from keypeg.errors import KeypegError, LeaseRecalled
from keypeg.status import explain
from keypeg.v1 import explanation_pb2, product_pb2, seat_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.domain.borrow import CLOCK_MARGIN_US
from keypeg_server.domain.lease import Features, Lease, Place, lease_prefix, place_prefix
from keypeg_server.domain.pool import Pool
from keypeg_server.service.ports import AppInfo, DeviceInfo

DIGESTS_KNOWN: Final = 4_096  # of acquires


def device(message: session_pb2.Device) -> DeviceInfo:
    """The computer."""
    return DeviceInfo(message.id, message.host_name)


def app(message: session_pb2.App) -> AppInfo:
    """The app."""
    release_us = None
    if message.HasField("release_time"):
        release_us = message.release_time.ToMicroseconds()
    return AppInfo(message.name, message.version, message.sdk, message.process_id, release_us)


def wanted(wanted_features: Sequence[product_pb2.FeatureUnits]) -> Features:
    """The features of a request, in the one order in which they are kept."""
    if not wanted_features:
        return ()
    return tuple(sorted((one.feature, one.units) for one in wanted_features))


def digest(*parts: object) -> bytes:
    """What tells one request body from another."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


@lru_cache(DIGESTS_KNOWN)
def acquire_digest(pool: str, units: int, features: Features, wait: bool, priority: int) -> bytes:
    """The digest of an acquire: most ask for the same."""
    return digest(pool, units, features, wait, priority)


def duration(value: timedelta) -> Duration:
    """A time span as the contract carries it."""
    found = Duration()
    found.FromTimedelta(value)
    return found


def timestamp(us: int) -> Timestamp:
    """Microseconds since 1970 as the contract carries a moment."""
    seconds, rest = divmod(us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def features(held: Features) -> list[product_pb2.FeatureUnits]:
    """Features with their units."""
    return [product_pb2.FeatureUnits(feature=feature, units=units) for feature, units in held]


def lease_name(lease: Lease) -> str:
    """The name of a lease."""
    return lease_prefix(lease.pool) + lease.id


def place_name(place: Place) -> str:
    """The name of a queue place."""
    return place_prefix(place.pool) + place.id


def pool(shown: Pool) -> seat_pb2.Pool:
    """A pool as it is now."""
    return seat_pb2.Pool(
        name=shown.name,
        account=shown.account,
        product=shown.product,
        activation=shown.activation,
        seat_count=shown.capacity,
        held_count=shown.held,
        waiting_count=shown.waiting,
        features=[
            seat_pb2.PoolFeature(
                feature=feature, seat_count=count, held_count=shown.feature_held(feature)
            )
            for feature, count in sorted(shown.feature_capacity.items())
        ],
        fencing_number=shown.fencing_number,
        lingering_count=shown.lingering,
        overdraft_count=shown.overdrawn,
    )


def own_lease(name: str, session: str, lease: Lease) -> seat_pb2.Lease:
    """A lease as its holder sees it; `name` and `session` are names, `session` may be empty."""
    shown = seat_pb2.Lease()
    show_lease(shown, name, session, lease)
    return shown


def show_lease(shown: seat_pb2.Lease, name: str, session: str, lease: Lease) -> None:
    """The same, in an empty message in its place: a message that is put into another is copied."""
    holder = lease.holder
    shown.name = name
    shown.session = session
    shown.units = lease.units
    if lease.features:
        shown.features.extend(features(lease.features))
    shown.fencing_number = lease.fencing_number
    shown.user = holder.user
    shown.device = holder.device
    shown.host_name = holder.host_name
    shown.app = holder.app
    shown.process_id = holder.process_id
    if lease.overdraft:
        shown.overdraft = True
    if lease.borrowed_until_us:
        shown.borrowed_until_time.CopyFrom(timestamp(lease.borrowed_until_us))
        shown.expire_time.CopyFrom(timestamp(lease.borrowed_until_us + CLOCK_MARGIN_US))
    if holder.address:
        shown.address = holder.address
    seconds, us = divmod(lease.acquire_time_us, 1_000_000)
    shown.acquire_time.seconds = seconds
    shown.acquire_time.nanos = us * 1_000


def queue_place(
    place: Place,
    position: int,
    waiting: int,
    session: str,
    explanation: explanation_pb2.Explanation | None = None,
    estimated_wait: timedelta | None = None,
) -> seat_pb2.QueuePlace:
    """A place in the queue; `session` is a name, empty for who may not know it."""
    return seat_pb2.QueuePlace(
        name=place_name(place),
        session=session,
        position=position,
        waiting_count=waiting,
        units=place.units,
        features=features(place.features) if place.features else None,
        priority=place.priority,
        explanation=explanation,
        estimated_wait=None if estimated_wait is None else duration(estimated_wait),
        create_time=timestamp(place.create_time_us),
    )


def denied(sequence: int, request_id: str, error: KeypegError) -> HoldSessionResponse:
    """No, and why."""
    return HoldSessionResponse(
        denied=session_pb2.Denied(
            sequence=sequence, request_id=request_id, explanation=explain(error)
        )
    )


def recalled(lease: str, error: LeaseRecalled) -> HoldSessionResponse:
    """A seat is taken back, and why; until when, as the explanation says."""
    told = HoldSessionResponse()
    told.recalled.lease = lease
    told.recalled.explanation.CopyFrom(explain(error))
    if told.recalled.explanation.HasField("earliest_time"):
        told.recalled.hold_off_until_time.CopyFrom(told.recalled.explanation.earliest_time)
    return told


def parse_holding(name: str) -> tuple[str, str]:
    """Pool and id of a lease or a place by its name; FieldInvalid when it is neither's."""
    if "/places/" in name:
        pool, id = names.PLACE.parse(name)
    else:
        pool, id = names.LEASE.parse(name)
    return pool, id

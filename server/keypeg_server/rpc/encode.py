"""From the domain to the contract's messages, one function a message.

Promises: total functions; what is None or zero there is unset here.

Leaves to others: the way back (each service decodes its own requests), seats (seat_service.py).
"""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from keypeg import names
from keypeg.v1 import (
    account_pb2,
    cloud_session_pb2,
    license_pb2,
    location_pb2,
    people_pb2,
    product_pb2,
    sign_in_pb2,
)
from keypeg_server.domain.access import ApiKey, Invitation
from keypeg_server.domain.account import Account, PublisherPeople, User
from keypeg_server.domain.capacity import activations_at, seats_at, us
from keypeg_server.domain.cloud_change import CloudChange
from keypeg_server.domain.license import Activation
from keypeg_server.domain.location import Location
from keypeg_server.domain.product import Product, Publisher
from keypeg_server.domain.second_factor import FactorReset
from keypeg_server.service.capacities import CapacityView
from keypeg_server.service.cloud import CloudView
from keypeg_server.service.licenses import LicenseView


def account(value: Account) -> account_pb2.Account:
    message = account_pb2.Account(
        name=value.name,
        display_name=value.display_name,
        second_factor_required=value.second_factor_required,
        kind=value.kind.value,  # type: ignore[arg-type]  # equal by test
    )
    message.create_time.FromDatetime(value.create_time)
    return message


def group(value: Account | PublisherPeople) -> account_pb2.Account:
    """An account, or the little that there is to say of those outside."""
    if isinstance(value, Account):
        return account(value)
    return account_pb2.Account(
        name=value.name,
        display_name="The publisher's people",
        second_factor_required=value.second_factor_required,
    )


def factor_reset(value: FactorReset) -> sign_in_pb2.SecondFactorReset:
    message = sign_in_pb2.SecondFactorReset(
        by=value.by,
        by_login=value.by_login,
        one_time_codes=value.one_time_codes,
        passkey_count=value.passkey_count,
    )
    message.reset_time.FromDatetime(value.reset_time)
    return message


def user(value: User) -> account_pb2.User:
    message = account_pb2.User(
        name=value.name,
        display_name=value.display_name,
        login=value.login,
        role=value.role.value,  # type: ignore[arg-type]  # equal by test
        service=value.service,
    )
    message.create_time.FromDatetime(value.create_time)
    return message


def invitation(value: Invitation) -> people_pb2.Invitation:
    message = people_pb2.Invitation(
        name=value.name,
        address=value.address,
        role=value.role.value,  # type: ignore[arg-type]  # equal by test
        inviter=value.created_by,
    )
    message.create_time.FromDatetime(value.create_time)
    message.expire_time.FromDatetime(value.expire_time)
    return message


def api_key(value: ApiKey) -> people_pb2.ApiKey:
    message = people_pb2.ApiKey(
        name=value.name,
        display_name=value.display_name,
        scopes=sorted(scope.value for scope in value.scopes),
    )
    message.create_time.FromDatetime(value.create_time)
    message.expire_time.FromDatetime(value.expire_time)
    if value.last_use_time is not None:
        message.last_use_time.FromDatetime(value.last_use_time)
    return message


def publisher(value: Publisher) -> product_pb2.Publisher:
    message = product_pb2.Publisher(
        name=names.PUBLISHER.build(value.id),
        display_name=value.display_name,
        root_public_key=value.root_public_key,
    )
    message.create_time.FromDatetime(value.create_time)
    return message


def product(value: Product) -> product_pb2.Product:
    message = product_pb2.Product(
        name=value.name,
        display_name=value.display_name,
        bundle_products=value.bundle_products,
        allowed_locations=sorted(value.allowed_locations),  # type: ignore[arg-type]
        minimum_app_version=value.minimum_app_version,
        features=value.features,
    )
    message.offline_grace.FromTimedelta(value.offline_grace)
    message.unplug_grace.FromTimedelta(value.unplug_grace)
    message.key_loss.move_count = value.key_loss.move_count
    message.key_loss.period.FromTimedelta(value.key_loss.period)
    message.key_loss.wait.FromTimedelta(value.key_loss.wait)
    message.create_time.FromDatetime(value.create_time)
    return message


def license(view: LicenseView, now: datetime) -> license_pb2.License:
    """With its state as of `now`."""
    value = view.license
    message = license_pb2.License(
        name=value.name,
        product=value.product,
        product_display_name=view.product.display_name,
        opens_products=view.product.opens,
        bundle=bool(view.product.bundle_products),
        type=value.type.value,  # type: ignore[arg-type]  # equal by test
        state=value.state_at(now).value,  # type: ignore[arg-type]  # equal by test
        allowed_locations=sorted(value.allowed_locations),  # type: ignore[arg-type]
        activation_count=value.activation_count,
        activations_used_count=view.used_count,
        seat_count=value.seat_count,
        term_days=value.term_days,
        external_reference=value.external_reference,
        newest_version=value.newest_version,
        publisher=names.PUBLISHER.build(view.product.publisher),
        state_reason=value.state_reason,
        waits_for=names.LOCATION.build(value.account, value.waits_for) if value.waits_for else "",
        temporary_seat_count=seats_at(value.capacities, us(now)),
        temporary_activation_count=activations_at(value.capacities, us(now)),
    )
    _set(message.next_change_time, value.next_change_time)
    for feature in value.features:
        message.features.add(feature=feature.id, seat_count=feature.seat_count)
    message.deposit_time.FromDatetime(value.deposit_time)
    _set(message.expire_time, value.ends_at)
    _set(message.first_activate_time, value.first_activate_time)
    _set(message.maintenance_end_time, value.maintenance_end_time)
    return message


def capacity(view: CapacityView, now: datetime) -> license_pb2.Capacity:
    """With its state as of `now`."""
    one = view.capacity
    message = license_pb2.Capacity(
        name=names.CAPACITY.build(view.license.account, view.license.id, one.id),
        seat_count=one.seat_count,
        activation_count=one.activation_count,
        note=one.note,
        state=one.state_at(us(now)).value,  # type: ignore[arg-type]  # equal by test
    )
    message.start_time.FromMicroseconds(one.start_us)
    message.end_time.FromMicroseconds(one.end_us)
    return message


def activation(value: Activation) -> license_pb2.Activation:
    message = license_pb2.Activation(
        name=value.name,
        license=names.LICENSE.build(value.account, value.license),
        location=value.location_name,
        location_kind=value.location_kind.value,  # type: ignore[arg-type]  # equal by test
        pools=[pool.name for pool in value.pools],
        generation=value.generation,
        deactivating=bool(value.return_nonce),
    )
    if value.capacity:
        message.capacity = names.CAPACITY.build(value.account, value.license, value.capacity)
    _set(message.expire_time, value.expire_time)
    message.create_time.FromDatetime(value.create_time)
    return message


def location(value: Location) -> location_pb2.Location:
    message = location_pb2.Location(
        name=names.LOCATION.build(value.account, value.id),
        kind=value.kind.value,  # type: ignore[arg-type]  # equal by test
        display_name=value.display_name,
        serial=value.serial,
        model=value.model,
        emulated=value.emulated,
        card_id=value.card_id,
        lost_reason=value.lost_reason,
        device=value.device,
    )
    _set(message.lost_time, value.lost_time)
    _set(message.suspect_time, value.suspect_time)
    _set(message.create_time, value.create_time)
    return message


def cloud_session(view: CloudView) -> cloud_session_pb2.CloudSession:
    value = view.session
    holder = value.holder
    message = cloud_session_pb2.CloudSession(
        name=value.name,
        state=value.state.value,  # type: ignore[arg-type]  # equal by test
        mode=value.mode.value,  # type: ignore[arg-type]  # equal by test
        device=holder.device if holder else "",
        host_name=holder.host_name if holder else "",
        user=value.user,
        activations=view.activations,
        generation=value.generation,
        mode_letter=value.mode.letter,
        implies=value.implies,
        member=value.member_name,
        suspend_reason=value.suspended,
    )
    _set(message.open_time, value.open_time)
    return message


def cloud_change(value: CloudChange) -> cloud_session_pb2.CloudChange:
    message = cloud_session_pb2.CloudChange(
        sequence=value.sequence,
        kind=value.kind.value,  # type: ignore[arg-type]  # equal by test
        user=value.user,
        device=value.device,
        host_name=value.host_name,
        from_device=value.from_device,
        mode=value.mode.value if value.mode else 0,  # type: ignore[arg-type]  # equal by test
        activation=value.activation,
        product=value.product,
    )
    message.time.FromMicroseconds(value.time_us)
    return message


def _set(timestamp: Timestamp, moment: datetime | None) -> None:
    if moment is not None:
        timestamp.FromDatetime(moment)

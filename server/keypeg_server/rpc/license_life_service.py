"""The life of licenses over gRPC: the methods of LicenseService from SuspendLicense on; decode, call, encode."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg.v1 import license_life_pb2, license_switches_pb2
from keypeg.v1 import license_service_pb2 as pb
from keypeg_server.domain.license import Feature
from keypeg_server.domain.license_change import ChangeKind, Edit, LicenseChange
from keypeg_server.domain.license_life import Access, Switch, Switches, who_is
from keypeg_server.domain.location import LocationKind
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.service.license_life import Asked, LicenseLife, Lived
from keypeg_server.service.ports import Clock


class LifeCalls:
    """A part of LicenseRpc."""

    def __init__(self, life: LicenseLife, clock: Clock) -> None:
        self._life = life
        self._clock = clock

    async def SuspendLicense(
        self, request: pb.SuspendLicenseRequest, context: Any
    ) -> pb.SuspendLicenseResponse:
        answer = await self._command(request, ChangeKind.SUSPEND, pb.SuspendLicenseResponse)
        return pb.SuspendLicenseResponse.FromString(answer)

    async def ResumeLicense(
        self, request: pb.ResumeLicenseRequest, context: Any
    ) -> pb.ResumeLicenseResponse:
        answer = await self._command(request, ChangeKind.RESUME, pb.ResumeLicenseResponse)
        return pb.ResumeLicenseResponse.FromString(answer)

    async def RevokeLicense(
        self, request: pb.RevokeLicenseRequest, context: Any
    ) -> pb.RevokeLicenseResponse:
        answer = await self._command(request, ChangeKind.REVOKE, pb.RevokeLicenseResponse)
        return pb.RevokeLicenseResponse.FromString(answer)

    async def _command(self, request: Any, kind: ChangeKind, response: Any) -> bytes:
        asked = _asked(request, *names.LICENSE.parse(request.name))
        return await self._life.command(
            once(request, lambda lived: self._shown(lived, response)), asked, kind
        )

    async def EditLicense(
        self, request: pb.EditLicenseRequest, context: Any
    ) -> pb.EditLicenseResponse:
        asked = _asked(request, *names.LICENSE.parse(request.name))
        answer = await self._life.edit(
            once(request, lambda lived: self._shown(lived, pb.EditLicenseResponse)),
            asked,
            _edit(request.edit),
        )
        return pb.EditLicenseResponse.FromString(answer)

    async def MoveLicense(
        self, request: pb.MoveLicenseRequest, context: Any
    ) -> pb.MoveLicenseResponse:
        account, license, activation = names.ACTIVATION.parse(request.name)
        target = ""
        if request.target:
            owner, target = names.LOCATION.parse(request.target, "target")
            if owner != account:
                what = "is of another account than the license"
                raise FieldInvalid(
                    f"{request.target} {what}; name one of accounts/{account}.",
                    fields={"target": what},
                )

        def moved(lived: Lived) -> pb.MoveLicenseResponse:
            message: pb.MoveLicenseResponse = self._shown(lived, pb.MoveLicenseResponse)
            message.switched_to_managed = lived.switched
            if lived.activation is not None:
                message.activation.CopyFrom(encode.activation(lived.activation))
            for field in ("document", "delegation", "contents"):
                envelope = getattr(lived, field)
                if envelope is not None:
                    getattr(message, field).CopyFrom(envelope)
            return message

        answer = await self._life.move(
            once(request, moved),
            _asked(request, account, license),
            activation,
            target,
            request.receipt if request.HasField("receipt") else None,
        )
        return pb.MoveLicenseResponse.FromString(answer)

    async def RecoverLicense(
        self, request: pb.RecoverLicenseRequest, context: Any
    ) -> pb.RecoverLicenseResponse:
        account, license, activation = names.ACTIVATION.parse(request.name)
        answer = await self._life.recover(
            once(request, lambda lived: self._shown(lived, pb.RecoverLicenseResponse)),
            _asked(request, account, license),
            activation,
        )
        return pb.RecoverLicenseResponse.FromString(answer)

    async def ListLicenseChanges(
        self, request: pb.ListLicenseChangesRequest, context: Any
    ) -> pb.ListLicenseChangesResponse:
        license: str | None = None
        if names.LICENSE.matches(request.parent):
            account, license = names.LICENSE.parse(request.parent, "parent")
        else:
            (account,) = names.ACCOUNT.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._life.list_changes(account, license, page), page, lambda change: change.id
        )
        return pb.ListLicenseChangesResponse(changes=map(change_of, found), next_page_token=token)

    async def BeginLicenseChange(
        self, request: pb.BeginLicenseChangeRequest, context: Any
    ) -> pb.BeginLicenseChangeResponse:
        made = await self._life.begin_change(*names.LICENSE_CHANGE.parse(request.name))
        return pb.BeginLicenseChangeResponse(
            activation=encode.activation(made.activation),
            nonce=made.nonce,
            contents=made.statement.contents,
            delegation=made.statement.delegation,
        )

    async def ApplyLicenseChange(
        self, request: pb.ApplyLicenseChangeRequest, context: Any
    ) -> pb.ApplyLicenseChangeResponse:
        account, license, id = names.LICENSE_CHANGE.parse(request.name)
        answer = await self._life.apply_change(
            once(request, lambda lived: self._shown(lived, pb.ApplyLicenseChangeResponse)),
            _asked(request, account, license),
            id,
            request.receipt,
        )
        return pb.ApplyLicenseChangeResponse.FromString(answer)

    async def CancelLicenseChange(
        self, request: pb.CancelLicenseChangeRequest, context: Any
    ) -> pb.CancelLicenseChangeResponse:
        account, license, id = names.LICENSE_CHANGE.parse(request.name)
        answer = await self._life.cancel_change(
            once(request, lambda lived: self._shown(lived, pb.CancelLicenseChangeResponse)),
            _asked(request, account, license),
            id,
        )
        return pb.CancelLicenseChangeResponse.FromString(answer)

    def _shown(self, lived: Lived, response: Any) -> Any:
        message = response(license=encode.license(lived.view, self._clock.wall()))
        if lived.change is not None:
            message.change.CopyFrom(change_of(lived.change))
        return message


def change_of(value: LicenseChange) -> license_life_pb2.LicenseChange:
    """A change as the contract has it."""
    message = license_life_pb2.LicenseChange(
        name=value.name,
        kind=value.kind.value,  # type: ignore[arg-type]  # equal by test
        reason=value.reason,
        user=value.user,
        activation=_name(names.ACTIVATION, value.account, value.license, value.activation),
        target=_name(names.LOCATION, value.account, value.target),
        waits_for=_name(names.LOCATION, value.account, value.waits_for),
    )
    message.create_time.FromDatetime(value.create_time)
    if value.apply_time is not None:
        message.apply_time.FromDatetime(value.apply_time)
    if value.kind is ChangeKind.EDIT:
        _put_edit(message.edit, value.edit)
    return message


def switches_of(message: license_switches_pb2.LicenseSwitches) -> dict[Switch, Access]:
    """The switches that are set in a message."""
    return {
        switch: Access(getattr(message, switch.value))
        for switch in Switch
        if getattr(message, switch.value)
    }


def switches(value: Switches) -> license_switches_pb2.LicenseSwitches:
    """All switches, the defaults too."""
    return license_switches_pb2.LicenseSwitches(
        **{switch.value: value.of(switch).value for switch in Switch}  # type: ignore[arg-type]  # equal by test
    )


def moment(message: Any, field: str) -> datetime | None:
    """A time of a message; None when it is unset."""
    return getattr(message, field).ToDatetime(tzinfo=UTC) if message.HasField(field) else None


def _asked(request: Any, account: str, license: str, *_: str) -> Asked:
    caller = current()
    fields = request.DESCRIPTOR.fields_by_name
    return Asked(
        account=account,
        license=license,
        who=who_is(caller),
        user=caller.user,
        reason=request.reason if "reason" in fields else "",
        apply_time=moment(request, "apply_time") if "apply_time" in fields else None,
    )


def _name(pattern: names.Pattern, *ids: str) -> str:
    return pattern.build(*ids) if ids[-1] else ""


def _edit(message: license_life_pb2.LicenseEdit) -> Edit:
    def number(field: Any, least: int) -> int | None:
        if not message.HasField(field):
            return None
        value: int = getattr(message, field)
        if value < least:
            what = f"is {value}, not {least} or more"
            raise FieldInvalid(f"edit.{field} {what}.", fields={f"edit.{field}": what})
        return value

    features = kinds = None
    if message.HasField("features"):
        features = tuple(Feature(one.feature, one.seat_count) for one in message.features.features)
    if message.HasField("allowed_locations"):
        kinds = frozenset(map(LocationKind, message.allowed_locations.kinds))
    if message.without_expire_time and message.HasField("expire_time"):
        what = "is there together with without_expire_time"
        raise FieldInvalid(
            f"The end of the term {what}; say one of both.", fields={"edit.expire_time": what}
        )
    return Edit(
        activation_count=number("activation_count", 1),
        seat_count=number("seat_count", 1),
        features=features,
        allowed_locations=kinds,
        expire_time=moment(message, "expire_time"),
        without_expire_time=message.without_expire_time,
        term_days=number("term_days", 0),
        maintenance_end_time=moment(message, "maintenance_end_time"),
    )


def _put_edit(message: license_life_pb2.LicenseEdit, value: Edit) -> None:
    for field in ("activation_count", "seat_count", "term_days"):
        number = getattr(value, field)
        if number is not None:
            setattr(message, field, number)
    if value.features is not None:
        message.features.SetInParent()
        for one in value.features:
            message.features.features.add(feature=one.id, seat_count=one.seat_count)
    if value.allowed_locations is not None:
        message.allowed_locations.kinds.extend(sorted(value.allowed_locations))  # type: ignore[arg-type]
    for field in ("expire_time", "maintenance_end_time"):
        when = getattr(value, field)
        if when is not None:
            getattr(message, field).FromDatetime(when)
    message.without_expire_time = value.without_expire_time

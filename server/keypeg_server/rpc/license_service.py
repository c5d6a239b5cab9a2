"""LicenseService over gRPC: decode, call, encode."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg.v1.license_service_pb2 import (
    AddLicenseCapacityRequest,
    AddLicenseCapacityResponse,
    CreateLicenseRequest,
    CreateLicenseResponse,
    GetLicenseRequest,
    GetLicenseResponse,
    ListLicenseCapacitiesRequest,
    ListLicenseCapacitiesResponse,
    ListLicensesRequest,
    ListLicensesResponse,
    RemoveLicenseCapacityRequest,
    RemoveLicenseCapacityResponse,
)
from keypeg.v1.license_service_pb2_grpc import LicenseServiceServicer
from keypeg_server.domain.capacity import Capacity, us
from keypeg_server.domain.license import Feature, License, LicenseState, LicenseType
from keypeg_server.domain.location import LocationKind
from keypeg_server.rpc import encode
from keypeg_server.rpc.calls import cut, once, page_of
from keypeg_server.rpc.license_life_service import LifeCalls, moment
from keypeg_server.service.capacities import CapacityService, Lent
from keypeg_server.service.license_life import LicenseLife
from keypeg_server.service.licenses import LicenseService
from keypeg_server.service.ports import Clock

LONGEST: Final = timedelta(days=3_650)  # that capacity is planned ahead
_US: Final = timedelta(microseconds=1)
_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)  # the service sets the time


class LicenseRpc(LifeCalls, LicenseServiceServicer):
    """Serves licenses."""

    def __init__(
        self,
        licenses: LicenseService,
        life: LicenseLife,
        capacities: CapacityService,
        lent: Lent,
        clock: Clock,
    ) -> None:
        LifeCalls.__init__(self, life, clock)
        self._licenses = licenses
        self._capacities = capacities
        self._lent = lent
        self._clock = clock

    async def CreateLicense(
        self, request: CreateLicenseRequest, context: Any
    ) -> CreateLicenseResponse:
        now = self._clock.wall()
        answer = await self._licenses.create_license(
            once(request, lambda made: CreateLicenseResponse(license=encode.license(made, now))),
            _new_license(request),
        )
        return CreateLicenseResponse.FromString(answer)

    async def GetLicense(self, request: GetLicenseRequest, context: Any) -> GetLicenseResponse:
        view = await self._licenses.get_license(*names.LICENSE.parse(request.name))
        return GetLicenseResponse(license=encode.license(view, self._clock.wall()))

    async def ListLicenses(
        self, request: ListLicensesRequest, context: Any
    ) -> ListLicensesResponse:
        (account,) = names.ACCOUNT.parse(request.parent, "parent")
        page = page_of(request)
        found, token = cut(
            await self._licenses.list_licenses(account, page), page, lambda view: view.license.id
        )
        now = self._clock.wall()
        licenses = [encode.license(view, now) for view in found]
        return ListLicensesResponse(licenses=licenses, next_page_token=token)

    async def AddLicenseCapacity(
        self, request: AddLicenseCapacityRequest, context: Any
    ) -> AddLicenseCapacityResponse:
        now = self._clock.wall()
        account, license = names.LICENSE.parse(request.parent, "parent")
        answer = await self._capacities.add(
            once(
                request,
                lambda made: AddLicenseCapacityResponse(
                    capacity=encode.capacity(made, self._clock.wall())
                ),
            ),
            account,
            license,
            _new_capacity(request, now),
        )
        return AddLicenseCapacityResponse.FromString(answer)

    async def ListLicenseCapacities(
        self, request: ListLicenseCapacitiesRequest, context: Any
    ) -> ListLicenseCapacitiesResponse:
        found = await self._capacities.list(*names.LICENSE.parse(request.parent, "parent"))
        now = self._clock.wall()
        return ListLicenseCapacitiesResponse(capacities=[encode.capacity(v, now) for v in found])

    async def RemoveLicenseCapacity(
        self, request: RemoveLicenseCapacityRequest, context: Any
    ) -> RemoveLicenseCapacityResponse:
        account, license, id = names.CAPACITY.parse(request.name)
        await self._capacities.remove(
            once(request, lambda _: RemoveLicenseCapacityResponse()),
            account,
            license,
            id,
            self._lent,
        )
        return RemoveLicenseCapacityResponse()


def _new_capacity(request: AddLicenseCapacityRequest, now: datetime) -> Capacity:
    now_us, start_us = us(now), 0
    if request.HasField("start_time"):
        start_us = request.start_time.ToMicroseconds()
    if start_us > now_us + LONGEST // _US:
        raise FieldInvalid(
            f"Temporary capacity is planned at most {LONGEST.days} days ahead.",
            fields={"start_time": f"is more than {LONGEST.days} days ahead"},
        )
    if not request.seat_count and not request.activation_count:
        what = "seats or activations are needed"
        raise FieldInvalid(
            f"Temporary capacity is of nothing: {what}.", fields={"seat_count": what}
        )
    if not request.HasField("duration"):
        raise FieldInvalid(
            "Temporary capacity needs a duration: how long it is there.",
            fields={"duration": "is needed"},
        )
    start_us = max(start_us, now_us)
    return Capacity(
        "",  # the service gives one
        request.seat_count,
        request.activation_count,
        start_us,
        start_us + request.duration.ToMicroseconds(),
        request.note,
    )


def _new_license(request: CreateLicenseRequest) -> License:
    (account,) = names.ACCOUNT.parse(request.parent, "parent")
    return License(
        account=account,
        id="",  # the service gives one
        product=request.product,
        type=LicenseType(request.type or LicenseType.PERPETUAL),
        state=LicenseState.ACTIVE,
        allowed_locations=frozenset(map(LocationKind, request.allowed_locations)),
        activation_count=request.activation_count or 1,
        seat_count=request.seat_count,
        features=tuple(Feature(one.feature, one.seat_count) for one in request.features),
        deposit_time=_UNKNOWN,
        expire_time=moment(request, "expire_time"),
        term_days=request.term_days,
        first_activate_time=None,
        maintenance_end_time=moment(request, "maintenance_end_time"),
        external_reference=request.external_reference,
        newest_version=request.newest_version,
    )

"""Finding out what an account owns of a product, and what of it this computer could use.

Promises: only what a member of the account may see is asked for; a bridge that does not answer is no bridge. What
the server refuses is the error of its reason.

Leaves to others: what follows from it (launch_survey).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio

from keypeg import calls, names, sign_in
from keypeg.cloud import CALL_TIMEOUT
from keypeg.credential_sign_in import signed_in
from keypeg.errors import KeypegError, LicenseMissing, TimedOut
from keypeg.launch_survey import Cloud, Key, Owned, Survey, Used
from keypeg.request import KINDS, Request
from keypeg.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    activation_service_pb2,
    activation_service_pb2_grpc,
    cloud_session_pb2,
    cloud_session_service_pb2,
    cloud_session_service_pb2_grpc,
    key_service_pb2,
    key_service_pb2_grpc,
    license_pb2,
    license_service_pb2,
    license_service_pb2_grpc,
    location_service_pb2,
    location_service_pb2_grpc,
)

if TYPE_CHECKING:
    from keypeg.v1 import location_pb2

PAGE_SIZE: Final = 1_000
PAGES: Final = 10  # of licenses: an account with more is surveyed in part
LICENSES: Final = 20  # whose activations are looked at
BRIDGE_TIME: Final = 3.0  # s

_KIND_NAMES: Final = {number: kind for kind, number in KINDS.items()}


async def find(request: Request, product: str) -> Survey:
    """What the account of whoever is signed in owns of a product."""
    profile = request.profile
    ca = None if profile.server.startswith("unix:") else profile.ca_certificates()
    token = await sign_in.token_for(profile)
    if token is None:
        token = (await signed_in(profile, request.pinned.device)).token
    is_blind = bool(profile.credential and not profile.token)
    async with calls.connect(profile.server, ca=ca, token=token) as channel:
        caller = await _call(
            account_service_pb2_grpc.AccountServiceStub(channel).GetCaller,
            account_service_pb2.GetCallerRequest(),
        )
        account = caller.account
        if not names.ACCOUNT.matches(account):
            raise LicenseMissing(
                f"{caller.user.login} works for the publisher and has no licenses; sign in as a member of "
                "an account.",
                product=product,
            )
        cloud = await _call(
            cloud_session_service_pb2_grpc.CloudSessionServiceStub(channel).GetCloudSession,
            cloud_session_service_pb2.GetCloudSessionRequest(
                name=names.CLOUD_SESSION.build(*names.ACCOUNT.parse(account))
            ),
        )
        licenses = () if is_blind else await _licenses(channel, account, product)
    return Survey(
        user=caller.user.name,
        login=caller.user.login,
        account=account,
        licenses=licenses,
        cloud=_cloud(cloud.cloud_session),
        device=request.pinned.device,
        now=request.clock.wall().astimezone(),
        keys=await _keys(request.bridge),
        is_blind=is_blind,
    )


def too_slow(seconds: float) -> TimedOut:
    """The error when finding out took too long."""
    return TimedOut(f"The server did not say within {seconds:g} s what your account owns.")


async def _licenses(channel: grpc.aio.Channel, account: str, product: str) -> tuple[Owned, ...]:
    stub = license_service_pb2_grpc.LicenseServiceStub(channel)
    asked = license_service_pb2.ListLicensesRequest(parent=account, page_size=PAGE_SIZE)
    found: list[license_pb2.License] = []
    for _ in range(PAGES):
        page = await _call(stub.ListLicenses, asked)
        found += [one for one in page.licenses if product in one.opens_products]
        asked.page_token = page.next_page_token
        if not asked.page_token or len(found) >= LICENSES:
            break
    if not found:
        return ()
    called = await _called(channel, account)
    activations = activation_service_pb2_grpc.ActivationServiceStub(channel)
    owned = []
    for one in found[:LICENSES]:
        used = await _call(
            activations.ListActivations,
            activation_service_pb2.ListActivationsRequest(parent=one.name, page_size=PAGE_SIZE),
        )
        owned.append(_owned(one, used.activations, called))
    return tuple(owned)


async def _called(channel: grpc.aio.Channel, account: str) -> dict[str, str]:
    """What people call the account's keys and computers, by name."""
    places = await _call(
        location_service_pb2_grpc.LocationServiceStub(channel).ListLocations,
        location_service_pb2.ListLocationsRequest(parent=account, page_size=PAGE_SIZE),
    )
    found: Iterable[location_pb2.Location] = places.locations
    return {one.name: one.display_name for one in found if one.display_name}


def _owned(
    one: license_pb2.License,
    activations: Iterable[license_pb2.Activation],
    called: dict[str, str],
) -> Owned:
    def used(activation: license_pb2.Activation) -> Used:
        kind = _KIND_NAMES.get(activation.location_kind, "site")
        words = {"cloud": "in the cloud", "site": "at the server"}
        where = called.get(activation.location) or activation.location.rpartition("/")[2]
        return Used(kind, words.get(kind) or f"on {where}")

    state = license_pb2.LicenseState.Name(one.state).removeprefix("LICENSE_STATE_").lower()
    return Owned(
        name=one.name,
        state=state,
        allowed=frozenset(_KIND_NAMES[k] for k in one.allowed_locations if k in _KIND_NAMES),
        activation_count=one.activation_count,
        used=tuple(map(used, activations)),
    )


def _cloud(message: cloud_session_pb2.CloudSession) -> Cloud:
    opened = message.open_time.ToDatetime(tzinfo=UTC) if message.HasField("open_time") else None
    return Cloud(
        is_open=message.state == cloud_session_pb2.CLOUD_SESSION_STATE_OPEN,
        mode="managed" if message.mode == cloud_session_pb2.CLOUD_MODE_MANAGED else "automatic",
        device=message.device,
        host_name=message.host_name,
        open_time=opened,
    )


async def _keys(bridge: str | None) -> tuple[Key, ...] | None:
    """The keys that are plugged in; None when no bridge says so."""
    if bridge is None:
        return None
    async with calls.connect(bridge) as channel:
        stub = key_service_pb2_grpc.KeyServiceStub(channel)
        try:
            answer = await _call(
                stub.ListKeys, key_service_pb2.ListKeysRequest(), timeout=BRIDGE_TIME
            )
        except KeypegError:
            return None
    return tuple(
        Key(" ".join(filter(None, (key.model, key.serial))) or "the key", key.enrolled)
        for key in answer.keys
    )


async def _call(
    method: Callable[..., Awaitable[Any]], request: Any, *, timeout: float = CALL_TIMEOUT
) -> Any:
    try:
        return await method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise calls.translate(error) from None

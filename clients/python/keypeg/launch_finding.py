"""Finding out what an account owns of a product, and what of it this computer could use.

Promises: only what a member of the account may see is asked for; a bridge that does not answer is no bridge. What
the server refuses is the error of its reason.

Leaves to others: what follows from it (launch_survey).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Final

import grpc.aio

from keypeg import calls, fingerprint, hostinfo, names
from keypeg.errors import KeypegError, LicenseMissing, TimedOut
from keypeg.launch_calls import at_server
from keypeg.launch_survey import Cloud, Host, Key, Owned, Survey, Used
from keypeg.request import KINDS, Request
from keypeg.v1 import (
    account_service_pb2,
    account_service_pb2_grpc,
    activation_service_pb2,
    activation_service_pb2_grpc,
    cloud_session_pb2,
    cloud_session_service_pb2,
    cloud_session_service_pb2_grpc,
    key_pb2,
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

TELLS_NOTHING: Final = "this computer tells nothing of itself by which it could be known again"

_HERE: Final = frozenset(
    {key_pb2.KEY_STATE_PRESENT, key_pb2.KEY_STATE_FAULTY, key_pb2.KEY_STATE_DRAINING}
)
_KIND_NAMES: Final = {number: kind for kind, number in KINDS.items()}


async def find(request: Request, product: str) -> Survey:
    """What the account of whoever is signed in owns of a product."""
    profile = request.profile
    is_blind = bool(profile.credential and not profile.token)
    async with at_server(request) as channel:
        caller = await calls.call(
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
        cloud = await calls.call(
            cloud_session_service_pb2_grpc.CloudSessionServiceStub(channel).GetCloudSession,
            cloud_session_service_pb2.GetCloudSessionRequest(
                name=names.CLOUD_SESSION.build(*names.ACCOUNT.parse(account))
            ),
        )
        licenses: tuple[Owned, ...] = ()
        places: tuple[location_pb2.Location, ...] = ()
        if not is_blind and (found := await _licenses(channel, account, product)):
            places = await _places(channel, account)
            licenses = await _owned(channel, found, places)
    return Survey(
        user=caller.user.name,
        login=caller.user.login,
        account=account,
        licenses=licenses,
        cloud=_cloud(cloud.cloud_session),
        device=request.pinned.device,
        now=request.clock.wall().astimezone(),
        keys=await _keys(request.bridge, places),
        is_blind=is_blind,
        host=_host(request, places),
    )


def too_slow(seconds: float) -> TimedOut:
    """The error when finding out took too long."""
    return TimedOut(f"The server did not say within {seconds:g} s what your account owns.")


async def _licenses(
    channel: grpc.aio.Channel, account: str, product: str
) -> list[license_pb2.License]:
    stub = license_service_pb2_grpc.LicenseServiceStub(channel)
    asked = license_service_pb2.ListLicensesRequest(parent=account, page_size=PAGE_SIZE)
    found: list[license_pb2.License] = []
    for _ in range(PAGES):
        page = await calls.call(stub.ListLicenses, asked)
        found += [one for one in page.licenses if product in one.opens_products]
        asked.page_token = page.next_page_token
        if not asked.page_token or len(found) >= LICENSES:
            break
    return found[:LICENSES]


async def _places(channel: grpc.aio.Channel, account: str) -> tuple[location_pb2.Location, ...]:
    """The account's keys and computers; of very many the first."""
    stub = location_service_pb2_grpc.LocationServiceStub(channel)
    asked = location_service_pb2.ListLocationsRequest(parent=account, page_size=PAGE_SIZE)
    found: list[location_pb2.Location] = []
    for _ in range(PAGES):
        page = await calls.call(stub.ListLocations, asked)
        found += page.locations
        asked.page_token = page.next_page_token
        if not asked.page_token:
            break
    return tuple(found)


async def _owned(
    channel: grpc.aio.Channel,
    licenses: Iterable[license_pb2.License],
    places: Iterable[location_pb2.Location],
) -> tuple[Owned, ...]:
    called = {one.name: one.display_name for one in places if one.display_name}
    stub = activation_service_pb2_grpc.ActivationServiceStub(channel)
    owned = []
    for one in licenses:
        asked = activation_service_pb2.ListActivationsRequest(parent=one.name, page_size=PAGE_SIZE)
        used = await calls.call(stub.ListActivations, asked)
        owned.append(_one(one, used.activations, called))
    return tuple(owned)


def _one(
    one: license_pb2.License,
    activations: Iterable[license_pb2.Activation],
    called: dict[str, str],
) -> Owned:
    def used(activation: license_pb2.Activation) -> Used:
        kind = _KIND_NAMES.get(activation.location_kind, "site")
        words = {"cloud": "in the cloud", "site": "at the server"}
        where = called.get(activation.location) or activation.location.rpartition("/")[2]
        return Used(kind, words.get(kind) or f"on {where}", activation.location)

    state = license_pb2.LicenseState.Name(one.state).removeprefix("LICENSE_STATE_").lower()
    return Owned(
        name=one.name,
        state=state,
        allowed=frozenset(_KIND_NAMES[k] for k in one.allowed_locations if k in _KIND_NAMES),
        activation_count=one.activation_count,
        used=tuple(map(used, activations)),
        is_counted=one.seat_count > 0,
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


async def _keys(
    bridge: str | None, places: Iterable[location_pb2.Location]
) -> tuple[Key, ...] | None:
    """The keys that are plugged in; None when no bridge says so."""
    if bridge is None:
        return None
    cards = {one.card_id: one for one in places if one.card_id}
    cards.update({one.card_id: one for one in places if one.card_id and not _is_lost(one)})
    async with calls.connect(bridge) as channel:
        stub = key_service_pb2_grpc.KeyServiceStub(channel)
        try:
            answer = await calls.call(
                stub.ListKeys, key_service_pb2.ListKeysRequest(), timeout=BRIDGE_TIME
            )
        except KeypegError:
            return None
    return tuple(_key(key, cards.get(key.card_id)) for key in answer.keys if key.state in _HERE)


def _key(key: key_pb2.Key, place: location_pb2.Location | None) -> Key:
    hardware = " ".join(filter(None, (key.model, key.serial))) or "the key"
    problem = ""
    if key.state != key_pb2.KEY_STATE_PRESENT:
        problem = key.fault or "it does not answer"
    elif place is not None and _is_lost(place):
        problem = "it was reported lost, and is refused"
    slots = key.capabilities.slot_count
    return Key(
        called=(place.display_name if place else "") or hardware,
        enrolled=key.enrolled,
        name=key.name,
        location=place.name if place else "",
        problem=problem.rstrip("."),
        is_full=bool(slots) and len(key.licenses) >= slots,
    )


def _is_lost(place: location_pb2.Location) -> bool:
    return place.HasField("lost_time")


def _host(request: Request, places: Iterable[location_pb2.Location]) -> Host:
    """This computer, by its device id."""
    device = request.pinned.device
    location = next((one.name for one in places if one.device == device), "")
    problem = "" if fingerprint.usable(request.read_parts()) else TELLS_NOTHING
    return Host(hostinfo.host_name(), location, problem)

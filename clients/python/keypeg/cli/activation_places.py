"""Where licenses are placed, and taken from: locations of the server, keys that are plugged in here, this computer.

Promises: on a key or this computer, a license is there to be used when this returns.

Leaves to others: options and printing (activation), keys (keypeg.keys, keypeg.key_care).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keypeg.cli.context import Cli

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.keys import KeyActivation
    from keypeg.v1 import activation_service_pb2, license_pb2, location_pb2


async def onto_location(
    link: Link, license_id: str, location: str, account: str | None
) -> activation_service_pb2.CreateActivationResponse:
    """On a location that the server answers for."""
    from keypeg import names
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import activation_service_pb2 as pb
    from keypeg.v1 import activation_service_pb2_grpc as rpc

    license_name = await resolve.license_name(link, license_id, account)
    place = await resolve.location_name(link, location, names.parent(license_name))
    return await link.call(
        rpc.ActivationServiceStub(link.channel).CreateActivation,
        pb.CreateActivationRequest(parent=license_name, request_id=request_id(), location=place),
    )


async def onto_key(
    cli: Cli, link: Link, license_id: str, key_id: str, account: str | None
) -> KeyActivation:
    """On a key that is plugged in here, which keeps the license."""
    from keypeg import keys, names
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id

    async with cli.bridge() as bridge:
        key = await resolve.key(bridge, key_id)
        license_name = await resolve.license_name(link, license_id, account)
        made = await keys.activate_onto_key(
            link, bridge, key, license_name, names.parent(license_name), request_id=request_id()
        )
    cli.printer.note(f"Written to the key {key.name}: {len(made.key.licenses)} on it now.")
    return made


async def onto_host(
    cli: Cli, link: Link, license_id: str, account: str | None
) -> license_pb2.Activation:
    """On this computer, which keeps the document."""
    from keypeg import hostinfo, hosts, names
    from keypeg import profile as profiles
    from keypeg.cli import resolve

    license_name = await resolve.license_name(link, license_id, account)
    owner = names.parent(license_name)
    activation, path = await hosts.activate_onto_host(
        link, license_name, owner, cli.device(), hostinfo.parts(), profiles.licenses_dir()
    )
    cli.printer.note(f"It works on this computer from now on; its document is {path}.")
    return activation


async def key_of(link: Link, activation: license_pb2.Activation) -> location_pb2.Location | None:
    """The key that has to confirm; None for what lives elsewhere, or on a key that was reported lost."""
    from keypeg.v1 import location_pb2
    from keypeg.v1 import location_service_pb2 as pb
    from keypeg.v1 import location_service_pb2_grpc as rpc

    if activation.location_kind != location_pb2.LOCATION_KIND_KEY:
        return None
    stub = rpc.LocationServiceStub(link.channel)
    request = pb.GetLocationRequest(name=activation.location)
    place = (await link.call(stub.GetLocation, request)).location
    return None if place.HasField("lost_time") else place


async def from_key(
    cli: Cli, link: Link, activation: license_pb2.Activation, place: location_pb2.Location
) -> None:
    """Off a key, which confirms it with its signature."""
    from keypeg import errors, key_care, names

    account = names.ACCOUNT.build(activation.name.split("/")[1])
    try:
        async with cli.bridge() as bridge:
            key = await key_care.plugged_in(bridge, place)
            if key is None:
                raise key_care.not_here(activation, place)
            left = await key_care.deactivate_from_key(link, bridge, key, activation, account)
    except errors.Unreachable as error:
        if error.metadata.get("target") == link.target or "servers" in error.metadata:
            raise
        raise key_care.not_here(activation, place) from error
    cli.printer.note(f"Removed from the key {left.name}: {len(left.licenses)} on it now.")

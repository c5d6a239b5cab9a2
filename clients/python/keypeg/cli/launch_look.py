"""Looking for a license as an app does, from the command line.

Promises: the license is really opened, proof and all, and closed again at once; the publisher's root is the one
that was named, else the one that the server names, which is enough to look, not to protect. A sign-in that is
not to be remembered reaches the app by its environment alone.

Leaves to others: the flow (keypeg.launch_flow), asking (keypeg.launch_asking).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from keypeg import launch_asking, launch_sign_in, launching, names
from keypeg import profile as profiles
from keypeg.cli.context import Cli
from keypeg.errors import FieldInvalid, SignInRequired
from keypeg.event_hub import OnEvent
from keypeg.launch_flow import LaunchFlow
from keypeg.launch_memory import Memory
from keypeg.launch_steps import Step
from keypeg.launch_work import Worker, open_session
from keypeg.request import Request, root_bytes

if TYPE_CHECKING:
    from keypeg.profile import Profile

_UNKNOWN: Final = "00" * 32  # until the server names the root


@dataclass(frozen=True)
class FoundLicense:
    """What an app would run by."""

    product: str
    location: str
    features: tuple[str, ...]
    seat_required: bool
    profile: Profile  # who was asked

    @property
    def environment(self) -> Mapping[str, str]:
        """What an app needs to find it, too; raises where it can not be told."""
        return environment_of(self.profile)


async def look(
    cli: Cli, product: str, *, root: str | None, family: str | None, app_version: str
) -> FoundLicense:
    """Finds a license, asking on the way; raises why there is none."""
    name = product_name(product)
    made = launching.request_of(
        name, root or _UNKNOWN, {"app_name": "keypeg", "app_version": app_version}
    )
    request = replace(made, profile=cli.profile(), bridge=cli.bridge_target(), clock=cli.clock)
    terms = launching.terms_of(request, None, family)

    async def opens(wanted: Request, on_event: OnEvent | None) -> FoundLicense:
        pinned = wanted.pinned
        if root is None:
            pinned = replace(pinned, root=await _root(wanted.profile, name))
        session = await open_session(replace(wanted, pinned=pinned), on_event)
        try:
            return FoundLicense(
                name, session.location, session.features, session.seat_required, wanted.profile
            )
        finally:
            await session.close()

    way = launch_asking.Showing()
    worker = Worker(request, terms, Memory(), opens=opens, tell=way.tell)
    flow = LaunchFlow(terms)
    end = await launching.shown(way, launching.until_asked(flow, worker, flow.begin()))
    while isinstance(end, Step):
        answer = await asyncio.to_thread(way.ask, end)
        turn = flow.answered(answer)
        end = await launching.shown(way, launching.until_asked(flow, worker, turn))
    if end.error is not None:
        raise end.error
    found: FoundLicense = end.session
    return replace(found, profile=worker.profile)


def product_name(text: str) -> str:
    """`acme/cad` or a whole name as a product's name."""
    publisher, _, product = text.partition("/")
    whole = text if text.startswith("publishers/") else f"publishers/{publisher}/products/{product}"
    if not names.PRODUCT.matches(whole):
        raise FieldInvalid(f"{text!r} is no product; write it as acme/cad.", field="product")
    return whole


async def _root(profile: Profile, product: str) -> bytes:
    """The root that the server names for a product's publisher."""
    from keypeg.cli.link import Link
    from keypeg.v1 import catalog_service_pb2 as pb
    from keypeg.v1 import catalog_service_pb2_grpc as rpc

    if not profile.readable().token:
        raise SignInRequired("Nobody is signed in; sign in first, or name the publisher's --root.")
    publisher, _ = names.PRODUCT.parse(product)
    link = Link.to_server(profile)
    try:
        answer = await link.call(
            rpc.CatalogServiceStub(link.channel).GetPublisher,
            pb.GetPublisherRequest(name=names.PUBLISHER.build(publisher)),
        )
    finally:
        await link.close()
    return root_bytes(answer.publisher.root_public_key)


def environment_of(profile: Profile) -> dict[str, str]:
    """What an app needs to be signed in as the one who was asked."""
    if profile.opened is not None:
        if launch_sign_in.is_sealed(profile.credential):
            raise FieldInvalid(
                "The credential file is sealed and was not kept, so the app can not use it: keep it on this computer, or run "
                f"keypeg credential import {profile.credential} --once -- COMMAND.",
                field="credential",
            )
        return {"KEYPEG_CREDENTIAL": profile.credential, "KEYPEG_TOKEN": ""}
    if profile.credential and profile.name in profiles.names():
        return {"KEYPEG_PROFILE": profile.name}
    if not profile.token or os.environ.get("KEYPEG_TOKEN") == profile.token:
        return {}
    if profile.in_memory is None and profile.name in profiles.names():
        return {"KEYPEG_PROFILE": profile.name}
    found = {"KEYPEG_TOKEN": profile.token, "KEYPEG_SERVER": profile.server}
    if profile.ca_file:
        found["KEYPEG_CA_FILE"] = profile.ca_file
    return found

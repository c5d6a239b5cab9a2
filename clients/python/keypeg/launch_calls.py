"""Whom a launch calls: the server, and a bridge.

Promises: a call ends within its time; a failure is the KeypegError of its reason.

Leaves to others: calling (calls), what is asked (launch_finding, launch_placing, launch_sign_in).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from keypeg import calls, sign_in
from keypeg.credential_sign_in import signed_in

if TYPE_CHECKING:
    from keypeg.profile import Profile
    from keypeg.request import Request


@dataclass(frozen=True)
class Side:
    """One side of what is relayed between a server and a bridge; implements `activations.Side`."""

    channel: grpc.aio.Channel
    seconds: float = calls.CALL_TIMEOUT  # for one call

    async def call(self, method: Callable[..., Awaitable[Any]], request: Any) -> Any:
        """One call; raises KeypegError."""
        return await calls.call(method, request, timeout=self.seconds)


@asynccontextmanager
async def at_server(request: Request) -> AsyncGenerator[grpc.aio.Channel, None]:
    """A channel to the server, as whoever is signed in: with tokens, or by a credential file."""
    profile = request.profile
    token = await sign_in.token_for(profile)
    if token is None:
        token = (await signed_in(profile, request.pinned.device)).token
    async with calls.connect(profile.server, ca=certificates(profile), token=token) as channel:
        yield channel


def certificates(profile: Profile) -> bytes | None:
    """What is trusted; nothing is asked of a socket of this computer."""
    return None if profile.server.startswith("unix:") else profile.ca_certificates()

"""The ports of a server: the one for everyone, and those for administration and for certificates when there are any.

Promises: all have the same services; reflection, and whatever only the publisher's staff and resellers may do, are
served at the port for administration alone, when there is one; gRPC's view of its connections (channelz) only there.

Leaves to others: binding ports (listening.py), the services, what may be done at all (authorization.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import grpc.aio

from keypeg.errors import PermissionDenied
from keypeg_server.domain.rights import OUTSIDE, RIGHTS, Right, Role

ADMINISTRATION: Final[frozenset[Right]] = frozenset(Right).difference(
    *(RIGHTS[role] for role in Role if role not in OUTSIDE)
)
"""What nobody of an account may do."""


def check_port(right: Right | None, method: str) -> None:
    """Refuse at the port for everyone what is served at the one for administration."""
    if right in ADMINISTRATION:
        raise PermissionDenied(
            f"{method.rpartition('.')[2]} is served at the port for administration alone "
            "(server.admin_listen); call it there.",
            method=method,
        )


def show_channels(admin: grpc.aio.Server) -> None:
    """Serve at this port what gRPC knows of its connections and calls: channelz, for who looks for a fault."""
    from grpc_channelz.v1 import channelz, channelz_pb2_grpc  # loaded where it is served

    channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), admin)


class Doors:
    """Servers with the same services."""

    def __init__(
        self,
        everyone: grpc.aio.Server,
        admin: grpc.aio.Server | None = None,
        machines: grpc.aio.Server | None = None,
    ) -> None:
        self.reflecting: Final = everyone if admin is None else admin
        self.all: Final[Sequence[grpc.aio.Server]] = tuple(
            one for one in (everyone, admin, machines) if one is not None
        )

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """As grpc.aio.Server has it: what the generated code calls."""
        for server in self.all:
            server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        """As grpc.aio.Server has it: what the generated code calls."""
        for server in self.all:
            server.add_registered_method_handlers(service, handlers)

    async def start(self) -> None:
        """Serve."""
        for server in self.all:
            await server.start()

    async def stop(self, grace: float | None) -> None:
        """Let calls end for so many seconds."""
        await asyncio.gather(*(server.stop(grace) for server in self.all))

"""The way of one session to its server: one channel at a time, to where its route says.

Promises: a channel is kept while its server is the one to speak to, and closed when another is. Names are
looked up again when every server behind them has failed. Of several servers, one that takes no connection
within a short time is given up.

Leaves to others: when to go on and where (servers.Route), and the stream itself (stream_driver).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc.aio

from keypeg import dialing
from keypeg.dialing import Dialer
from keypeg.errors import KeypegError
from keypeg.servers import Route, Server

FOLLOW: Final = ("keypeg-follow", "1")  # says that the address of another server will be followed


class Line:
    """Where a session's streams are opened."""

    def __init__(self, given: Sequence[Server], dialer: Dialer, route: Route) -> None:
        self._given = tuple(given)
        self._dialer = dialer
        self._route = route
        self._server: Server | None = None
        self._channel: grpc.aio.Channel | None = None

    @classmethod
    async def to(cls, given: Sequence[Server], dialer: Dialer, *, follows: bool) -> Line:
        """The line to the first of these servers, in the order of this process."""
        route = Route(await dialing.look_up(given), follows=follows)
        return cls(given, dialer, route)

    @property
    def route(self) -> Route:
        """Which server is spoken to, and which is next."""
        return self._route

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with a stream that is opened now."""
        return (FOLLOW,) if self._route.follows else ()

    async def connect(self) -> tuple[grpc.aio.Channel, KeypegError | None]:
        """The channel to the server of this moment; the error when it should be given up."""
        if self._route.is_new_round and any(server.is_named for server in self._given):
            self._route.renew(await dialing.look_up(self._given))
        try:
            dialer = await self._dialer.fresh()
        except KeypegError as error:
            return await self._to_current(self._dialer), error
        channel = await self._to_current(dialer)
        if not self._route.has_others:
            return channel, None
        assert self._server is not None
        return channel, await dialing.reach(channel, self._server)

    async def close(self) -> None:
        """Hangs up."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _to_current(self, dialer: Dialer) -> grpc.aio.Channel:
        server = self._route.current
        if self._channel is None or server != self._server or dialer != self._dialer:
            await self.close()
            self._server = server
            self._dialer = dialer
            self._channel = dialer.channel(server)
        return self._channel

"""One channel over several servers: a call that one of them can not serve goes on at the next.

Promises: a unary call is answered by the first server that can, within the time that it was given; it
stays with the server that worked last, and passes over one that takes no connection within a short time.
When none can, the error names each and what it said. A server that says "later" is asked again while there
is time. Calls may be repeated: those that change anything carry a request id.

A stream is of the server that worked last, and ends with it; the next one begins elsewhere.

Leaves to others: sessions, which go on by themselves (stream_driver); opening a stream anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Self

import grpc
import grpc.aio

from keypeg import dialing, status
from keypeg.dialing import Dialer
from keypeg.errors import KeypegError, Reason
from keypeg.rpc_errors import translate
from keypeg.servers import Server, summary

ROUNDS: Final = 2  # through the servers, when nobody says "later"
PATIENCE: Final = 6.0  # s to go on asking servers that say "later": a takeover takes less
FIRST_PAUSE: Final = 0.2  # s between rounds, doubled from round to round
LONGEST_PAUSE: Final = 1.0  # s

# CANCELLED is not ours, that would be no error: a server that is ended cuts its calls with it.
_GOES_ON: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def _of_the_last(kind: str) -> Any:
    """How a channel makes methods of a kind: each call is of the server that worked last, and tells when it did not."""

    def method(
        self: Failover,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            server = self._now
            make = getattr(self._channel(server), kind)
            stream = make(method, request_serializer, response_deserializer)(*args, **options)
            stream.add_done_callback(lambda _: self._ended(server, stream))
            return stream

        return call

    return method


class Failover(grpc.aio.Channel):
    """A channel whose unary calls find a server that works; each call is a coroutine."""

    def __init__(self, servers: Sequence[Server], dialer: Dialer) -> None:
        self._given = tuple(servers)
        self._dialer = dialer
        self._servers: tuple[Server, ...] | None = None  # once the names were looked up
        self._current = 0
        self._channels: dict[Server, grpc.aio.Channel] = {}
        self._closed = False
        self._looking: set[asyncio.Task[None]] = set()  # at how streams have ended

    # Calls.

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: bool | None = False,
    ) -> Any:
        """A method that is called at whichever server works."""

        async def call(request: Any, *, timeout: float | None = None, **options: Any) -> Any:
            def once(channel: grpc.aio.Channel, left: float | None) -> Any:
                stub = channel.unary_unary(method, request_serializer, response_deserializer)
                return stub(request, timeout=left, **options)

            return await self._first(once, timeout)

        return call

    unary_stream = _of_the_last("unary_stream")
    stream_unary = _of_the_last("stream_unary")
    stream_stream = _of_the_last("stream_stream")

    # The channel itself.

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Of the server that worked last."""
        return self._channel(self._now).get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Of the server that worked last."""
        await self._channel(self._now).wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Of the server that worked last."""
        await self._channel(self._now).channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Closes the channels to all servers."""
        self._closed = True
        channels, self._channels = tuple(self._channels.values()), {}
        await asyncio.gather(*(channel.close(grace) for channel in channels))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    # Going on.

    @property
    def _now(self) -> Server:
        return (self._servers or self._given)[self._current]

    def _channel(self, server: Server) -> grpc.aio.Channel:
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")
        found = self._channels.get(server)
        if found is None:
            several = len(self._servers or self._given) > 1
            found = self._channels[server] = self._dialer.channel(server, several=several)
        return found

    async def _first(
        self,
        once: Callable[[grpc.aio.Channel, float | None], Coroutine[Any, Any, Any]],
        timeout: float | None,
    ) -> Any:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if self._servers is None:
            self._servers = await dialing.look_up(self._given)
        patience = PATIENCE if timeout is None else min(PATIENCE, timeout)
        pause, rounds = FIRST_PAUSE, 0
        while True:
            left = None if timeout is None else max(0.0, begun + timeout - loop.time())
            said: dict[Server, KeypegError] = {}
            last: grpc.aio.AioRpcError | None = None
            for server in self._from_current():
                channel = self._channel(server)
                late = await self._reach(channel, server)
                if late is not None:
                    said[server] = late
                    continue
                if timeout is not None:
                    left = max(0.0, begun + timeout - loop.time())
                try:
                    answer = await once(channel, left)
                except grpc.aio.AioRpcError as error:
                    self._leave(server, error)
                    if error.code() not in _GOES_ON:
                        raise
                    said[server], last = translate(error), error
                else:
                    self._stay(server)
                    return answer
            rounds += 1
            later = any(_says_later(error, len(said)) for error in said.values())
            wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load)
            is_late = loop.time() + wait - begun >= patience
            if is_late or not (later or (len(said) > 1 and rounds < ROUNDS)):
                raise _refusal(said, last)
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _reach(self, channel: grpc.aio.Channel, server: Server) -> KeypegError | None:
        if len(self._servers or ()) < 2:
            return None  # there is no other: the call itself waits, and says what is wrong
        return await dialing.reach(channel, server)

    def _from_current(self) -> tuple[Server, ...]:
        assert self._servers is not None
        return self._servers[self._current :] + self._servers[: self._current]

    def _stay(self, server: Server) -> None:
        assert self._servers is not None
        self._current = self._servers.index(server)

    def _ended(self, server: Server, stream: grpc.aio.Call) -> None:
        """The next stream does not begin at a server that lost this one."""

        async def look() -> None:
            if await stream.code() is grpc.StatusCode.UNAVAILABLE:  # CANCELLED may be our own
                self._pass_over(server)

        looking = asyncio.ensure_future(look())
        self._looking.add(looking)
        looking.add_done_callback(self._looking.discard)

    def _pass_over(self, server: Server) -> None:
        if self._now == server:
            self._current = (self._current + 1) % len(self._servers or self._given)

    def _leave(self, server: Server, error: grpc.aio.AioRpcError) -> None:
        """What comes next does not begin at a server that hangs."""
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            self._pass_over(server)


def _says_later(error: KeypegError, servers: int) -> bool:
    """Whether a server is there and takes the call in a moment; alone, only while an account moves."""
    if error.reason is Reason.ELSEWHERE:
        return True
    if error.reason is Reason.UNREACHABLE:  # sent by a server: the account's own one is away
        return error.retry_after is not None
    return servers > 1 and error.retry_after is not None


def _refusal(
    said: dict[Server, KeypegError], last: grpc.aio.AioRpcError | None
) -> grpc.aio.AioRpcError:
    """The one error of the one server; else one that names them all."""
    if last is not None and len(said) == 1:
        return last
    combined = summary(said)
    trailing = grpc.aio.Metadata(
        (status.DETAILS_KEY, status.to_status(combined).SerializeToString())
    )
    return grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), trailing, combined.sentence
    )

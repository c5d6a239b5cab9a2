"""Channels to the other servers of a database.

Promises: TLS, and the certificate of who is called for; calls carry bytes as they are. A peer that
is gone takes its channels with it, and every call on them ends at once. No channel gets more calls than a
server takes on one connection: another is opened beside it.

Leaves to others: which servers there are (service/cluster.py), what is carried (relay.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
import grpc.aio

CALLS_ON_ONE: Final = (
    1_000  # of one channel: well below what servers take (limits.max_concurrent_streams)
)
MESSAGE_BYTES: Final = 16_777_216  # of an answer that is carried: the largest page is far below

_OPTIONS: Final[list[tuple[str, int]]] = [
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own for every channel
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),  # what is repeated is repeated to whoever is the home then
    # A peer that is cut off from this server alone still beats: its connection has to be found dead by itself.
    # Not more often than servers take it (limits.PING_INTERVAL_MS).
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),  # also how long one attempt may take
    ("grpc.max_reconnect_backoff_ms", 500),
]

Dial = Callable[[str], grpc.aio.Channel]


def dialer(authority: Callable[[], bytes | None]) -> Dial:
    """Dials servers whose certificate this authority (PEM; the system's for None) signed for their address."""

    def dial(address: str) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(authority())
        return grpc.aio.secure_channel(address, credentials, options=_OPTIONS)

    return dial


class _Line:
    """A channel and the calls on it."""

    __slots__ = ("calls", "channel", "methods")

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.calls = 0
        self.methods: dict[tuple[str, str], Any] = {}

    def method(self, kind: str, name: str) -> Any:
        """A method of this kind (unary_unary, ...), on bytes."""
        found = self.methods.get((kind, name))
        if found is None:
            found = self.methods[kind, name] = getattr(self.channel, kind)(name)
        return found


class Peer:
    """Another server."""

    def __init__(self, address: str, dial: Dial) -> None:
        self.address: Final = address
        self.failing = False  # the last call found nobody there
        self._dial = dial
        self._lines: list[_Line] = []

    @contextmanager
    def line(self) -> Iterator[_Line]:
        """A channel with room for one more call, taken for as long as this lasts."""
        line = next((one for one in self._lines if one.calls < CALLS_ON_ONE), None)
        if line is None:
            line = _Line(self._dial(self.address))
            self._lines.append(line)
        line.calls += 1
        try:
            yield line
        finally:
            line.calls -= 1

    async def close(self) -> None:
        """End every call and all channels."""
        lines, self._lines = self._lines, []
        for line in lines:
            await line.channel.close()


class Peers:
    """All other servers, by node."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._peers: dict[str, Peer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def get(self, node: str, address: str) -> Peer:
        """The peer that is this node."""
        peer = self._peers.get(node)
        if peer is None:
            peer = self._peers[node] = Peer(address, self._dial)
        return peer

    def keep(self, nodes: Collection[str]) -> None:
        """These are there; all others are gone, with what was on its way to them."""
        for node in [node for node in self._peers if node not in nodes]:
            task = asyncio.get_running_loop().create_task(self._peers.pop(node).close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all."""
        self.keep(())
        if self._closing:
            await asyncio.wait(self._closing)

"""Channels to one server each, and the addresses behind a name.

Promises: a channel is TLS or a Unix socket, nothing else, so that a token never travels in the clear; the
certificate must be for the host that was named, whichever of its addresses is taken. A name with several
addresses is several servers; looking it up takes a bounded time, and never raises.

Leaves to others: which server (servers), and what is called on it (failover, stream_driver).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import grpc
import grpc.aio

from keypeg.errors import TimedOut
from keypeg.protocol import SDK
from keypeg.servers import Server, in_order

MESSAGE_SIZE: Final = 1 << 20  # bytes; the largest answer is a page of 1,000 small resources
KEEPALIVE_TIME: Final = 30_000  # ms; a quiet connection is found dead, a busy one is not asked
KEEPALIVE_TIMEOUT: Final = 10_000  # ms
RECONNECT_BACKOFF: Final = 2_000  # ms at most between attempts of the channel itself
CONNECT_TIME: Final = 2.0  # s for one of several servers to take a connection, TLS and all
LOOKUP_TIME: Final = 2.0  # s for the addresses of all names

_SEED: Final = secrets.token_bytes(16)  # processes spread over servers; each has one order

# Every unary call repeats safely: reads change nothing, mutations carry a request id. A session's
# stream is never repeated by the channel: the session itself knows how to go on.
_STREAMS: Final = (
    {"service": "keypeg.v1.SessionService", "method": "HoldSession"},
    {"service": "keypeg.v1.AgentService", "method": "WatchProcess"},
)


def service_config(*, several: bool) -> str:
    """How a channel repeats calls, as gRPC takes it; one of several servers is asked less often."""
    retry = {
        "maxAttempts": 2 if several else 4,
        "initialBackoff": "0.1s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps(
        {
            "loadBalancingConfig": [{"pick_first": {}}],
            "methodConfig": [{"name": [{}], "retryPolicy": retry}, {"name": list(_STREAMS)}],
        }
    )


class TokenSource(Protocol):
    """Where tokens come from that do not last."""

    async def token(self) -> str:
        """One that is good for a while yet; KeypegError says why there is none."""
        ...


class CallToken(Protocol):
    """A token that changes now and then."""

    def is_fresh(self) -> bool:
        """Whether `token` answers at once."""
        ...

    def token(self) -> str:
        """The token for a call of now; may ask the server for it. Never raises: the server says what is wrong."""
        ...


@dataclass(frozen=True)
class Dialer:
    """How servers are reached: whom to trust, and as whom."""

    ca: bytes | None = None  # PEM certificates to trust instead of the system's
    token: str | CallToken | None = field(default=None, repr=False)  # goes with every call
    source: TokenSource | None = field(default=None, repr=False, compare=False)
    identity: tuple[bytes, bytes] | None = field(default=None, repr=False)
    """Private key and certificate (PEM) to show, where the server asks for one."""

    async def fresh(self) -> Dialer:
        """The same with a token that is good now; raises why there is none."""
        return self if self.source is None else replace(self, token=await self.source.token())

    def channel(self, server: Server, *, several: bool = False) -> grpc.aio.Channel:
        """A channel to one server. Nothing is sent yet: the first call connects."""
        options = _options(several=several)
        if server.is_socket:
            return self._socket_channel(server, options)
        key, certificate = self.identity or (None, None)
        credentials = grpc.ssl_channel_credentials(self.ca, key, certificate)
        if self.token:
            credentials = grpc.composite_channel_credentials(
                credentials, _call_credentials(self.token)
            )
        if server.number:
            options += [
                ("grpc.ssl_target_name_override", server.host),
                ("grpc.default_authority", server.address),
            ]
        return grpc.aio.secure_channel(_target(server), credentials, options=options)

    def _socket_channel(
        self, server: Server, options: list[tuple[str, str | int]]
    ) -> grpc.aio.Channel:
        options += [("grpc.default_authority", "localhost")]
        if not self.token:
            return grpc.aio.insecure_channel(server.address, options=options)
        credentials = grpc.composite_channel_credentials(
            grpc.local_channel_credentials(grpc.LocalConnectionType.UDS),
            _call_credentials(self.token),
        )
        return grpc.aio.secure_channel(server.address, credentials, options=options)


class _Plugin(grpc.AuthMetadataPlugin):
    """Sends the token of the moment with each call; where it has to be got first, gRPC does not wait for it."""

    def __init__(self, source: CallToken) -> None:
        self._source = source

    def __call__(
        self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback
    ) -> None:
        def answer() -> None:
            callback((("authorization", f"Bearer {self._source.token()}"),), None)

        if self._source.is_fresh():
            answer()
        else:
            threading.Thread(target=answer, name="keypeg-token", daemon=True).start()


def _call_credentials(token: str | CallToken) -> grpc.CallCredentials:
    if isinstance(token, str):
        return grpc.access_token_call_credentials(token)
    return grpc.metadata_call_credentials(_Plugin(token))


async def reach(channel: grpc.aio.Channel, server: Server) -> TimedOut | None:
    """Connects, for a bounded time; the error when that was too short. A refusal is left to the call."""
    try:
        async with asyncio.timeout(CONNECT_TIME):
            state = channel.get_state(try_to_connect=True)
            while state in (grpc.ChannelConnectivity.IDLE, grpc.ChannelConnectivity.CONNECTING):
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        return TimedOut(f"The server {server} took no connection within {CONNECT_TIME:g} s.")
    return None


async def look_up(servers: Iterable[Server]) -> tuple[Server, ...]:
    """The servers behind these, in this process's order; a name with several addresses of one kind is several."""
    asked = tuple(servers)
    try:
        async with asyncio.timeout(LOOKUP_TIME):
            found = await asyncio.gather(*(_behind(server) for server in asked))
    except TimeoutError:
        return in_order(asked, _SEED)
    return in_order((server for some in found for server in some), _SEED)


async def _behind(server: Server) -> tuple[Server, ...]:
    if not server.is_named:
        return (server,)
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM
        )
    except OSError:
        return (server,)  # the call says so in its own words
    numbers = sorted({str(entry[4][0]).partition("%")[0] for entry in entries})
    kinds = [ipaddress.ip_address(number).version for number in numbers]
    if max(kinds.count(4), kinds.count(6)) < 2:
        return (server,)  # one computer: gRPC takes whichever of its addresses answers first
    return tuple(Server(server.address, number) for number in numbers)


def _target(server: Server) -> str:
    if not server.number:
        return f"dns:///{server.address}"
    if ":" in server.number:
        return f"ipv6:[{server.number}]:{server.port}"
    return f"ipv4:{server.number}:{server.port}"


def _options(*, several: bool) -> list[tuple[str, str | int]]:
    return [
        ("grpc.primary_user_agent", SDK),
        ("grpc.service_config", service_config(several=several)),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.min_reconnect_backoff_ms", 1_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_BACKOFF),
        ("grpc.max_receive_message_length", MESSAGE_SIZE),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
    ]

"""Channels to servers and bridges, calls on them, and their errors as ours.

Promises: a channel is TLS or a Unix socket, nothing else, so that a token never travels in the clear;
several addresses of one service make one channel whose calls pass over servers that do not answer; a
call ends within its time; an error of a call becomes the KeypegError of its reason, never a text to compare.

Leaves to others: which address, which token (profile, discovery), what to call, and sessions over several
servers (stream_driver).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

import grpc
import grpc.aio

from keypeg import servers
from keypeg.dialing import CallToken, Dialer
from keypeg.failover import Failover
from keypeg.rpc_errors import from_code, translate
from keypeg.servers import why

__all__ = ["CALL_TIMEOUT", "call", "connect", "from_code", "translate", "why"]

CALL_TIMEOUT: Final = 10.0  # s for one call, unless more or less is said

R = TypeVar("R")


def connect(
    target: str | Iterable[str],
    *,
    ca: bytes | None = None,
    token: str | CallToken | None = None,
    identity: tuple[bytes, bytes] | None = None,
) -> grpc.aio.Channel:
    """A channel to `host:port` over TLS, or to `unix:/path`; several separated by commas, or a list.

    `ca` are PEM certificates to trust instead of the system's. `token` goes with every call;
    `identity`, a private key and its certificate (PEM), is shown to servers that ask for one. Each
    server's certificate must be for its own host. Nothing is sent yet: the first call connects.
    """
    given = servers.parse(target)
    dialer = Dialer(ca, token or None, identity=identity)
    if len(given) == 1 and not given[0].is_named:
        return dialer.channel(given[0])
    return Failover(given, dialer)


async def call(
    method: Callable[..., Awaitable[R]], request: object, *, timeout: float = CALL_TIMEOUT
) -> R:
    """One call, of so many seconds at most; raises KeypegError."""
    try:
        return await method(request, timeout=timeout)
    except grpc.RpcError as error:
        raise translate(error) from None

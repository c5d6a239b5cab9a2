"""A stream of answers that is begun again whenever its connection is lost.

Promises: goes on over what passes by itself, with pauses that grow while nothing is answered; anything else is
raised. A stream that is left is canceled.

Leaves to others: what is asked for and what the answers mean (cloud, cli/seat_watch, cli/session_watch).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from keypeg.errors import (
    Busy,
    Elsewhere,
    KeypegError,
    ServerDraining,
    StorageUnavailable,
    TimedOut,
    Unreachable,
)

PASSING: Final = (Unreachable, TimedOut, ServerDraining, StorageUnavailable, Busy, Elsewhere)
"""Errors that pass by themselves: the same call may be answered a little later."""
PAUSES: Final = (0.2, 1.0, 2.0, 5.0, 10.0)  # seconds before beginning again; the last one goes on


async def answers(
    begin: Callable[[], Awaitable[Any]],
    translate: Callable[[Any], KeypegError],
    lost: Callable[[KeypegError], None] = lambda error: None,
) -> AsyncGenerator[Any, None]:
    """The answers of a call that streams them, begun by `begin`; a lost one is told to `lost`, and begun again.

    `translate` makes a KeypegError of a grpc.RpcError. Goes on until it is closed, or until an error that does not
    pass, which it raises.
    """
    import grpc

    failures = 0
    while True:
        try:
            stream = await begin()
            try:
                async for answer in stream:
                    failures = 0
                    yield answer
            except grpc.RpcError as error:
                raise translate(error) from error
            finally:
                stream.cancel()
        except PASSING as error:
            lost(error)
        await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
        failures += 1

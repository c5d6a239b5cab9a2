"""Closing a session from outside, until its server has heard it.

Promises: `close_session` calls CloseSession with the release token, again and again while the server can
not be reached, with growing pauses; it gives up after LIFETIME or TRIES, by when no grant of a seat
lives any more, or when the server refuses for good. It never raises, and logs no token.

Leaves to others: knowing that the process is dead (watcher).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from keypeg import calls
from keypeg.errors import KeypegError, Reason
from keypeg.v1 import agent_service_pb2, session_service_pb2, session_service_pb2_grpc

Closer = Callable[[agent_service_pb2.WatchSession], Awaitable[None]]
"""Closes one session; returns when that is done, or can not be."""

CALL_TIMEOUT: Final = 5.0  # s for one try
FIRST_PAUSE: Final = 0.1  # s between tries, doubled each time
LONGEST_PAUSE: Final = 30.0  # s
LIFETIME: Final = 3600.0  # s; the longest lease of a seat
TRIES: Final = 200  # more than LIFETIME has room for; a bound whatever the clock does

PASSING: Final = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.TIMED_OUT,
        Reason.SERVER_DRAINING,
        Reason.STORAGE_UNAVAILABLE,
        Reason.BUSY,
        Reason.INTERNAL,
    }
)

_LOG: Final = logging.getLogger(__name__)


async def close_session(watched: agent_service_pb2.WatchSession) -> None:
    """Closes a session at its server; returns when that is done, or has become pointless."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + LIFETIME
    pause = FIRST_PAUSE
    for _ in range(TRIES):
        try:
            await _call(watched)
        except KeypegError as error:
            if error.reason not in PASSING:
                _LOG.info("session not closed: %s refused: %s", watched.session, error.sentence)
                return
            if loop.time() + pause > give_up:
                break
        else:
            _LOG.info("session closed: %s", watched.session)
            return
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 (spreads load)
        pause = min(2 * pause, LONGEST_PAUSE)
    _LOG.warning("session not closed: %s: its server was not reached in time", watched.session)


async def _call(watched: agent_service_pb2.WatchSession) -> None:
    channel = calls.connect(watched.server, ca=watched.ca_certificates or None)
    async with channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        request = session_service_pb2.CloseSessionRequest(
            session=watched.session, release_token=watched.release_token
        )
        await calls.call(stub.CloseSession, request, timeout=CALL_TIMEOUT)

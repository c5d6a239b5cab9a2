"""The local agent: releases what an app holds when its process dies.

Promises: `async with Agent(path) as agent:` serves AgentService on a Unix socket by itself, as
`keypeg run` does; a program with a server of its own (keypeg-bridge) adds `LocalPort` and `AgentService`
to it. When the block ends, sessions of processes that have died are closed first, within a bounded time.

Leaves to others: which processes to start, and telling them where the agent is (KEYPEG_AGENT).
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final, Self

import grpc.aio

from keypeg.agent.closer import Closer, close_session
from keypeg.agent.peercred import LocalPort, Peer, require_linux
from keypeg.agent.service import AgentService
from keypeg.serving import ErrorInterceptor

__all__ = ["Agent", "AgentService", "Closer", "LocalPort", "Peer", "close_session", "require_linux"]

SETTLE_TIME: Final = 10.0  # s to close the sessions of the dead before the agent itself ends


class Agent:
    """An agent on a socket of its own."""

    def __init__(
        self,
        socket_path: Path,
        *,
        closer: Closer = close_session,
        settle_time: float = SETTLE_TIME,
    ) -> None:
        self._port = LocalPort(socket_path)
        self._settle_time = settle_time
        self._server: grpc.aio.Server | None = None
        self.service = AgentService(self._port.peer, closer)

    @property
    def target(self) -> str:
        """What KEYPEG_AGENT is set to."""
        return self._port.target

    async def start(self) -> None:
        """Serves from here on."""
        self._server = grpc.aio.server(interceptors=(ErrorInterceptor(),))
        self.service.add_to(self._server)
        self._port.add_to(self._server)
        await self._server.start()
        await self._port.open()

    async def stop(self) -> None:
        """Closes the sessions of processes that have ended, then serves no more."""
        await self.service.settle(self._settle_time)
        await self._port.close()
        if self._server is not None:
            await self._server.stop(grace=0)
            self._server = None
        await self.service.stop()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

"""Telling the local agent which sessions to close, should this process die.

Promises: `watch` returns once the agent has confirmed, or a short time has passed: an agent that is slow or
gone never keeps an app from running. While the session lives, a lost agent is looked for again, and told
again. `unwatch` takes a session away after a clean end.

Leaves to others: the agent itself (keypeg.agent).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from typing import Final

import grpc
import grpc.aio

from keypeg import calls
from keypeg.v1 import agent_service_pb2, agent_service_pb2_grpc

CONFIRM_TIME: Final = 1.0  # s to wait for the agent's word
FIRST_PAUSE: Final = 0.5  # s before a lost agent is looked for again, doubled each time
LONGEST_PAUSE: Final = 30.0  # s

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watched:
    """What the agent needs to close a session."""

    session: str
    server: str
    ca: bytes
    release_token: bytes = field(repr=False)


class AgentLink:
    """One session's line to the agent."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._watched: Watched | None = None
        self._confirmed = False
        self._settled = asyncio.Event()  # confirmed, or the agent was not reached
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def watch(self, watched: Watched) -> bool:
        """Has a session watched instead of the one before; False when the agent did not confirm in time."""
        self.change(watched)
        try:
            async with asyncio.timeout(CONFIRM_TIME):
                await self._settled.wait()
        except TimeoutError:
            pass
        if not self._confirmed:
            _LOG.info("agent did not confirm: %s", self._target)
        return self._confirmed

    def change(self, watched: Watched) -> None:
        """Has a session watched instead of the one before; does not wait."""
        if watched == self._watched:
            return
        self._watched = watched
        self._confirmed = False
        self._settled.clear()
        self._changed.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def unwatch(self) -> None:
        """Takes the session away, and hangs up."""
        self._watched = None
        self._changed.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, CONFIRM_TIME)
            self._task = None

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while self._watched is not None:
            try:
                async with calls.connect(self._target) as channel:
                    await self._talk(agent_service_pb2_grpc.AgentServiceStub(channel))
                pause = FIRST_PAUSE
            except (grpc.RpcError, asyncio.InvalidStateError) as error:
                _LOG.debug("agent lost: %s", type(error).__name__)
            self._settled.set()
            if self._watched is not None:
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    async def _talk(self, stub: agent_service_pb2_grpc.AgentServiceAsyncStub) -> None:
        call = stub.WatchProcess()
        told = ""
        reading = asyncio.create_task(self._read(call))
        try:
            while True:
                self._changed.clear()
                watched = self._watched
                if told and (watched is None or watched.session != told):
                    gone = agent_service_pb2.UnwatchSession(session=told)
                    await call.write(agent_service_pb2.WatchProcessRequest(unwatch=gone))
                    told = ""
                if watched is None:
                    await call.done_writing()
                    await reading
                    return
                if not told:
                    frame = agent_service_pb2.WatchSession(
                        session=watched.session,
                        server=watched.server,
                        ca_certificates=watched.ca,
                        release_token=watched.release_token,
                    )
                    await call.write(agent_service_pb2.WatchProcessRequest(watch=frame))
                    told = watched.session
                changed = asyncio.create_task(self._changed.wait())
                done, _ = await asyncio.wait(
                    {changed, reading}, return_when=asyncio.FIRST_COMPLETED
                )
                changed.cancel()
                if reading in done:
                    await reading  # raises what ended it
                    return
        finally:
            reading.cancel()
            call.cancel()

    async def _read(
        self,
        call: grpc.aio.StreamStreamCall[
            agent_service_pb2.WatchProcessRequest, agent_service_pb2.WatchProcessResponse
        ],
    ) -> None:
        while isinstance(
            answer := await call.read(), agent_service_pb2.WatchProcessResponse
        ):  # anything else is the end
            if self._watched is not None and answer.watching.session == self._watched.session:
                self._confirmed = True
                self._settled.set()

"""AgentService: closes the sessions of an app whose process has died.

Promises: a session is watched for the process at the other end of the socket, never for one that the
client names. When that process ends, however it ends, each of its sessions is closed at its server; a
session unwatched before is left alone. The end of a stream alone changes nothing. What one process
may register, and how much is kept in all, is limited.

Leaves to others: the socket (peercred), the noticing (watcher), the call to the server (closer).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc.aio

from keypeg import names
from keypeg.agent.closer import Closer, close_session
from keypeg.agent.peercred import Peer
from keypeg.agent.watcher import ProcessWatch
from keypeg.errors import FieldInvalid, LimitExceeded, PermissionDenied
from keypeg.v1 import agent_service_pb2, agent_service_pb2_grpc

SESSIONS_PER_PROCESS: Final = 256  # an app holds one or a few
PROCESSES: Final = 4_096  # far more than apps on one computer
TARGET_SIZE: Final = 4_096  # characters, as the contract says
CERTIFICATES_SIZE: Final = 65_536  # bytes of PEM
TOKEN_SIZE: Final = 1_024  # bytes of a release token

_LOG: Final = logging.getLogger(__name__)

PeerOf = Callable[[str], Peer | None]
"""From `context.peer()` to the process; `LocalPort.peer` is one."""


@dataclass
class _Watched:
    """A process and its sessions."""

    peer: Peer
    watch: ProcessWatch
    sessions: dict[str, agent_service_pb2.WatchSession] = field(default_factory=dict)
    streams: int = 0


class AgentService(agent_service_pb2_grpc.AgentServiceServicer):
    """The service; one for a server, `stop` before the loop ends."""

    def __init__(self, peer_of: PeerOf, closer: Closer = close_session) -> None:
        self._peer_of = peer_of
        self._closer = closer
        self._processes: dict[tuple[int, int], _Watched] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serves it on a server that has not started."""
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(self, server)

    async def WatchProcess(  # noqa: N802 (the contract's name)
        self,
        request_iterator: AsyncIterator[agent_service_pb2.WatchProcessRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[agent_service_pb2.WatchProcessResponse]:
        """Takes sessions to watch, and confirms each."""
        peer = self._peer_of(context.peer())
        if peer is None or peer.process_id <= 0:
            raise PermissionDenied(
                "The agent watches a process only through its own Unix socket, on the same computer "
                "and outside of another container; connect to KEYPEG_AGENT."
            )
        watched = self._watched(peer)
        watched.streams += 1
        try:
            async for request in request_iterator:
                answer = self._take(watched, request)
                if answer is not None:
                    yield answer
        finally:
            watched.streams -= 1
            self._forget_idle(watched)

    async def settle(self, timeout: float) -> bool:
        """Looks for processes that have ended, and waits until their sessions are closed.

        False when some were not within `timeout` seconds; those go on until `stop`.
        """
        for watched in tuple(self._processes.values()):
            watched.watch.look()
        if not self._closing:
            return True
        _, late = await asyncio.wait(self._closing, timeout=timeout)
        return not late

    async def stop(self) -> None:
        """Watches no more; closing that is under way is given up."""
        for watched in self._processes.values():
            watched.watch.stop()
        self._processes.clear()
        for task in tuple(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _watched(self, peer: Peer) -> _Watched:
        found = self._processes.get(peer.identity)
        if found is None:
            if len(self._processes) >= PROCESSES:
                raise LimitExceeded(
                    f"The agent watches {PROCESSES} processes, the most that it may.",
                    limit="agent.processes",
                )
            watch = ProcessWatch(peer.pidfd, lambda: self._exited(peer.identity))
            found = self._processes[peer.identity] = _Watched(peer, watch)
        return found

    def _take(
        self, watched: _Watched, request: agent_service_pb2.WatchProcessRequest
    ) -> agent_service_pb2.WatchProcessResponse | None:
        match request.WhichOneof("frame"):
            case "watch":
                return self._add(watched, request.watch)
            case "unwatch":
                watched.sessions.pop(request.unwatch.session, None)
                return None
            case _:
                raise FieldInvalid(
                    "A frame to the agent is either watch or unwatch.", field="frame"
                )

    def _add(
        self, watched: _Watched, session: agent_service_pb2.WatchSession
    ) -> agent_service_pb2.WatchProcessResponse:
        _check(session)
        if (
            len(watched.sessions) >= SESSIONS_PER_PROCESS
            and session.session not in watched.sessions
        ):
            raise LimitExceeded(
                f"The agent watches {SESSIONS_PER_PROCESS} sessions of this process, the most that "
                "it may.",
                limit="agent.sessions_per_process",
            )
        watched.sessions[session.session] = session
        if self._processes.get(watched.peer.identity) is not watched:  # it has ended meanwhile
            self._close_all(watched)
        return agent_service_pb2.WatchProcessResponse(
            watching=agent_service_pb2.Watching(
                session=session.session, process_id=watched.peer.process_id
            )
        )

    def _forget_idle(self, watched: _Watched) -> None:
        current = self._processes.get(watched.peer.identity)
        if current is watched and not watched.streams and not watched.sessions:
            del self._processes[watched.peer.identity]
            watched.watch.stop()

    def _exited(self, identity: tuple[int, int]) -> None:
        watched = self._processes.pop(identity)
        _LOG.info("process ended: %d, sessions to close: %d", identity[0], len(watched.sessions))
        self._close_all(watched)

    def _close_all(self, watched: _Watched) -> None:
        for session in watched.sessions.values():
            task = asyncio.get_running_loop().create_task(_closed(self._closer, session))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        watched.sessions.clear()


async def _closed(closer: Closer, session: agent_service_pb2.WatchSession) -> None:
    await closer(session)


def _check(session: agent_service_pb2.WatchSession) -> None:
    names.SESSION.parse(session.session)
    if not 0 < len(session.server) <= TARGET_SIZE:
        raise FieldInvalid(
            f"The server's target has 1 to {TARGET_SIZE} characters.", field="watch.server"
        )
    if len(session.ca_certificates) > CERTIFICATES_SIZE:
        raise FieldInvalid(
            f"The certificates have at most {CERTIFICATES_SIZE} bytes.",
            field="watch.ca_certificates",
        )
    if not 0 < len(session.release_token) <= TOKEN_SIZE:
        raise FieldInvalid(
            f"The release token has 1 to {TOKEN_SIZE} bytes.", field="watch.release_token"
        )

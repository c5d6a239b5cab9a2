"""The bridge, put together: the only place that knows every room.

Promises: `serve` serves until it is told to stop, says when it is ready, tells its apps before it goes, and leaves nothing
behind; what keeps it from starting is a `StartError` of one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from keypeg.agent import AgentService
from keypeg.clock import Clock, SystemClock
from keypeg.serving import ErrorInterceptor
from keypeg.v1 import (
    agent_service_pb2,
    key_service_pb2,
    key_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from keypeg_bridge import identity
from keypeg_bridge.keys.opening import Drivers
from keypeg_bridge.keys.piv_identity import kinds_named
from keypeg_bridge.keys.smartkey_counters import SmartkeyCounters
from keypeg_bridge.listening import (
    StartError,
    add_tls,
    announce,
    local_port,
    socket_error,
    withdraw,
)
from keypeg_bridge.rack.journal import Journal
from keypeg_bridge.rack.memory import Memory
from keypeg_bridge.rack.memory_file import MemoryFile, MemoryUnreadable
from keypeg_bridge.rack.ports import Timer
from keypeg_bridge.rack.rack import Rack, RackSettings
from keypeg_bridge.rack.record import Namer
from keypeg_bridge.rack.sources import make_source
from keypeg_bridge.rack.writes import Writes
from keypeg_bridge.rpc.key_service import KeyService
from keypeg_bridge.rpc.online import Access, AccountServer, Online
from keypeg_bridge.rpc.renewing import Renewing
from keypeg_bridge.rpc.session import SessionSettings
from keypeg_bridge.rpc.session_service import SessionService
from keypeg_bridge.rpc.sessions import Sessions
from keypeg_bridge.settings import Keys, Settings
from keypeg_bridge.transport import pcsc

FIRST_LOOK: Final = 2.0
"""Seconds that the start waits for the first look at the keys, so that an app right after it finds them."""
SETTLE: Final = timedelta(seconds=5)
"""How long an ending agent tries to close the sessions of processes that have died."""
RECORD_LIMIT: Final = 2.0
"""Seconds that the end waits for a disk to take the last lines of the record of keys."""
CREDENTIALS: Final = "fido2"
"""The folder in the state directory for what FIDO2 keys cannot hold themselves."""
COUNTERS: Final = "smartkeys"
"""The folder in the state directory for how far smartkeys have counted."""
_SERVICES: Final = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (session_service_pb2, "SessionService"),
        (key_service_pb2, "KeyService"),
        (agent_service_pb2, "AgentService"),
    )
)
_LOG = structlog.get_logger(__name__)


class LoopTime:
    """The clock and the timers of a running event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return self._clock.monotonic()

    def wall(self) -> datetime:
        """Now, UTC."""
        return self._clock.wall()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """A timer of the loop."""
        return asyncio.get_running_loop().call_later(delay, callback)


@dataclass(frozen=True, slots=True)
class _Listener:
    """One gRPC server and what of it must be told to end."""

    server: grpc.aio.Server
    keys: KeyService
    health: HealthServicer


async def serve(
    settings: Settings, state: Path, ready_file: Path | None, stop: asyncio.Event
) -> None:
    """Serve until `stop` is set."""
    withdraw(ready_file)
    try:
        me = identity.load(state)
        drivers = Drivers(
            SystemClock().monotonic,
            state / CREDENTIALS,
            settings.keys.drivers,
            SmartkeyCounters(state / COUNTERS),
            kinds_named(settings.keys.piv_algorithms),
        )
        sources = [make_source(name, drivers) for name in _ways(settings.keys.backends)]
        kept = MemoryFile(state)
        memory = Memory(kept.load(), kept.save)
    except (identity.IdentityError, MemoryUnreadable, ValueError) as error:
        raise StartError(str(error)) from error
    access = _access(settings, state)
    time = LoopTime(SystemClock())
    rack = Rack(
        sources,
        Namer(me.secret),
        time,
        RackSettings(
            poll_interval=settings.keys.poll_interval.total_seconds(), sides=settings.keys.drivers
        ),
    )
    rack.listen(memory.heard)  # before those who ask it
    writes = Writes(rack, time, valid_for=settings.keys.write_time, memory=memory)
    chosen = settings.sessions
    sessions = Sessions(
        rack,
        time,
        me.location_host,
        me.secret,
        SessionSettings(chosen.valid_for, chosen.renew_interval, chosen.limit),
        memory=memory,
    )

    def listener(*, writable: bool) -> _Listener:
        server = grpc.aio.server(
            interceptors=(ErrorInterceptor(),),
            options=(
                ("grpc.max_receive_message_length", settings.limits.max_message_bytes),
                ("grpc.max_concurrent_streams", settings.limits.max_concurrent_streams),
                ("grpc.so_reuseport", 0),
            ),
        )
        keys = KeyService(rack, writes, me.location_host, writable=writable, memory=memory)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(
            SessionService(sessions), server
        )
        key_service_pb2_grpc.add_KeyServiceServicer_to_server(keys, server)
        health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(health, server)
        names = _SERVICES if writable else _SERVICES[:-1]
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        return _Listener(server, keys, health)

    async with contextlib.AsyncExitStack() as stack:
        port = local_port(settings)
        stack.push_async_callback(port.close)
        local = listener(writable=True)
        agent = AgentService(port.peer)
        agent.add_to(local.server)
        port.add_to(local.server)
        listeners = [local]
        facts: dict[str, Any] = {
            "pid": os.getpid(),
            "socket": str(port.path),
            "target": port.target,
            "location_host": me.location_host,
        }
        if settings.listen.tls:
            network = listener(writable=False)
            listeners.append(network)
            facts |= add_tls(network.server, settings, state, time.wall())
        journal = Journal(state, time.wall)
        stack.push_async_callback(asyncio.to_thread, journal.close, RECORD_LIMIT)
        rack.listen(journal.note)
        await rack.start()
        stack.push_async_callback(rack.stop)
        if access is not None:
            online = Online(
                rack, memory, AccountServer(access, time.wall), settings.server.interval
            )
            online.start()
            stack.push_async_callback(online.stop)
            if access.token_file is None:
                renewing = Renewing(access, time.wall)
                renewing.start()
                stack.push_async_callback(renewing.stop)
        await rack.first_look(FIRST_LOOK)
        for one in listeners:
            stack.push_async_callback(one.server.stop, None)
            await one.server.start()
            await one.health.set("", health_pb2.HealthCheckResponse.SERVING)
        try:
            await port.open()
        except OSError as error:
            raise socket_error(port.path, error) from error
        announce(facts, ready_file)
        try:
            await stop.wait()
        finally:
            rack.drain()
            await _end(settings, sessions, listeners, agent)
            withdraw(ready_file)


def _ways(backends: tuple[str, ...]) -> list[str]:
    """The ways to keys: those that were chosen, or the usual ones that this computer has."""
    ways = list(dict.fromkeys(backends))
    if backends == Keys().backends and not pcsc.is_installed():
        _LOG.debug("card service left out", why="pyscard is not installed")
        ways.remove(pcsc.NAME)
    return ways


def _access(settings: Settings, state: Path) -> Access | None:
    """The server that is asked about keys; None when there is none."""
    chosen = settings.server
    if not chosen.address:
        return None
    if not chosen.token_file and not chosen.certificate:
        raise StartError(
            "server.address is set, and server.token_file is not. Give the file with the token of a user"
            " of the account; or enroll the bridge, and set server.certificate."
        )
    ca_file = Path(chosen.ca_file) if chosen.ca_file else None
    token_file = None if chosen.certificate else Path(chosen.token_file)
    return Access(chosen.address, ca_file, token_file, state)


async def _end(
    settings: Settings, sessions: Sessions, listeners: list[_Listener], agent: AgentService
) -> None:
    """Tell the apps, give them their time, end."""
    drain = settings.listen.drain_time
    _LOG.info("draining", sessions=len(sessions))
    sessions.drain(drain)
    for one in listeners:
        await one.health.enter_graceful_shutdown()
        one.keys.end()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(drain.total_seconds()):
            await sessions.left.wait()
    sessions.end_all()
    await agent.settle(SETTLE.total_seconds())
    await asyncio.gather(*(one.server.stop(grace=1) for one in listeners))
    await agent.stop()

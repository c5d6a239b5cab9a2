"""The composition root: the only place that knows every room of the server.

Promises: an `App` is a server on a data directory that answers once `start` has returned, and after `stop`
has lost nothing that it acknowledged. What keeps it from starting is a StartError of one sentence.

Leaves to others: the command line and signals (main.py), making a data directory (setting_up.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc.aio
import structlog

from keypeg.errors import FieldInvalid, KeypegError
from keypeg.serving import ErrorInterceptor
from keypeg.v1.log_pb2 import LogOccasion
from keypeg_server import certificates, secret_files, services, signing_keys
from keypeg_server.callers import Callers
from keypeg_server.certificates import Certificates
from keypeg_server.listening import bind
from keypeg_server.opened import MARKER, Opened, StartError
from keypeg_server.repeating import died, every
from keypeg_server.rpc import accepting
from keypeg_server.rpc.certificate_door import CertificateDoor
from keypeg_server.rpc.client_versions import ClientVersions
from keypeg_server.rpc.composed import Composed
from keypeg_server.rpc.doors import Doors, show_channels
from keypeg_server.rpc.gate import Gate
from keypeg_server.rpc.health import Health
from keypeg_server.rpc.limits import options
from keypeg_server.rpc.quotas import Quotas
from keypeg_server.rpc.refusing import Refusals
from keypeg_server.rpc.session_service import Bounds
from keypeg_server.service.pools import Engine, always
from keypeg_server.settings import Settings
from keypeg_server.signing_keys import SigningKeys
from keypeg_server.storage import log_store, upkeep
from keypeg_server.storage.committer import BatchCommitter
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.requests import sweep_forever
from keypeg_server.use_cases import UseCases

if TYPE_CHECKING:
    from keypeg_server.several import Several

_LOG: Final = structlog.get_logger("keypegd")

CLOCK_EVERY: Final = 60.0  # seconds: how much a clock may be set back unnoticed over a crash
DOCUMENTS_EVERY: Final = 0.2  # seconds between rounds of license documents that are made anew
HEADS_EVERY: Final = 10.0  # seconds: for so long, records may be without a signed head over them
CHANGES_EVERY: Final = 1.0  # seconds: so late planned changes of licenses are applied
REMOVAL_EVERY: Final = 600.0  # seconds
LAST_TIME: Final = (
    5.0  # seconds for each last thing, when it is another computer that has to answer
)
SET_BACK_TOLERANCE: Final = timedelta(minutes=5)  # before the log speaks of it


class App:
    """A running server. `start` makes one."""

    def __init__(
        self,
        opened: Opened,
        server: Doors,
        address: str,
        certificates: Certificates,
        several: Several | None = None,
    ) -> None:
        self.address: Final = address
        self.admin_address = ""  # of the port for administration alone
        self.bridge_address = ""  # of the port for bridges and sites alone
        self.ca_file: Final = certificates.identity.ca_file
        self._certificates = certificates
        self._keys = SigningKeys(opened)
        self._opened = opened
        self._server = server
        self._several = several
        self._health = Health()
        self._tasks: list[asyncio.Task[None]] = []
        self._passwords = opened.passwords()

    @classmethod
    async def start(cls, data: Path, settings: Settings, listen: str) -> App:
        """Serve a data directory."""
        if not (data / MARKER).exists():
            raise StartError(
                f"{data} holds no server; `keypegd init --data {data} --publisher ID` makes one."
            )
        opened = await Opened.open(data, settings)
        try:
            return await cls._start(opened, listen)
        except BaseException:
            opened.close()
            raise

    @classmethod
    async def _start(cls, opened: Opened, listen: str) -> App:
        limits = opened.settings.limits
        callers = Callers(opened)
        shown = Certificates(opened)
        try:
            clients = ClientVersions(opened.settings.clients.minimum_version)
        except FieldInvalid as error:
            raise StartError(error.sentence) from error
        several = None
        if opened.settings.storage.database:
            from keypeg_server.several import Several  # loads PostgreSQL's driver

            several = Several(opened, lambda: shown.identity, callers.tokens.texts)
        relay = several.interceptors if several is not None else ()
        quotas = Quotas(
            opened.clock,
            calls=limits.user_calls,
            streams=limits.user_streams,
            frames=limits.user_frames,
            openings=limits.user_openings,
        )
        refusals = Refusals(opened.clock)
        admin_listen = opened.settings.server.admin_listen

        def server(administers: bool, door: CertificateDoor | None = None) -> grpc.aio.Server:
            gate = Gate(
                callers.authenticators,
                quotas,
                refusals,
                clients,
                administers=administers,
                door=door,
                bridges_by_certificate=callers.bridges_by_certificate,
            )
            return accepting.server(
                [Composed([ErrorInterceptor(), gate, *relay], refusals.began)],
                options(
                    max_message_bytes=limits.max_message_bytes,
                    max_concurrent_streams=limits.max_concurrent_streams,
                    max_pending=limits.max_pending_requests,
                ),
            )

        everyone = server(administers=not admin_listen)
        admin = server(administers=True) if admin_listen else None
        door = CertificateDoor(callers.certificates, callers.carried)
        machines = server(administers=False, door=door) if callers.authority else None
        if admin is not None:
            show_channels(admin)
        doors = Doors(everyone, admin, machines)
        address = bind(everyone, listen, shown.credentials())
        app = cls(opened, doors, address, shown, several)
        if admin is not None:
            app.admin_address = bind(
                admin, admin_listen, shown.credentials(), "server.admin_listen"
            )
        if machines is not None and callers.authority is not None:
            credentials = shown.credentials(callers.authority.pem)
            listen = opened.settings.server.bridge_listen
            app.bridge_address = bind(machines, listen, credentials, "server.bridge_listen")
        try:
            await app._serve(callers, Bounds(quotas.frames, quotas.opening, refusals.tell))
        except BaseException:
            await app._passwords.close()
            await doors.stop(None)
            raise
        return app

    def reload(self) -> None:
        """Look at certificates and signing keys now, and not when it is time."""
        self._certificates.refresh()
        self._tasks.append(asyncio.create_task(self._keys.refresh(self._signing)))

    async def _refresh_certificates(self) -> None:
        self._certificates.refresh()

    async def stop(self) -> None:
        """Tell clients to go elsewhere, let calls end, and put everything on disk."""
        await self._health.leave()
        for task in self._tasks:
            task.cancel()
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._opened.settings.server.drain_time.total_seconds()
        self._does.watching.stop()
        self._does.capacity_keeper.stop()
        self._does.cloud_watching.stop()
        several = self._several
        if several is None:
            await self._does.sessions.drain(self._opened.settings.server.drain_time)
        else:  # apps go on elsewhere at once
            await self._does.sessions.drain(timedelta(0))
            await self._at_last(self._committer.close())
            await self._at_last(self._sign_heads(log_store.STOP))
            await several.leave()
            await several.close()
        await self._server.stop(max(0.0, ends - loop.time()))
        self._does.sessions.stop()
        self._does.borrows.stop()
        await self._at_last(self._committer.close())
        await self._passwords.close()
        if several is None:
            await self._at_last(self._sign_heads(log_store.STOP))
        await self._at_last(upkeep.keep_clock(self._opened.database, self._opened.clock))
        self._opened.close()

    async def _at_last(self, work: Awaitable[object]) -> None:
        """Do this before the end; a full disk, or a database that does not answer, is no reason to hang."""
        with contextlib.suppress(KeypegError, TimeoutError):
            await asyncio.wait_for(work, None if self._several is None else LAST_TIME)

    async def _sign_heads(self, occasion: LogOccasion.ValueType) -> None:
        with contextlib.suppress(KeypegError):  # a full disk is no reason to hang
            await log_store.sign_heads(
                self._opened.database, self._log, self._opened.clock, occasion, **self._mine()
            )

    def _mine(self) -> dict[str, Any]:
        """Whose logs this server keeps."""
        return {} if self._several is None else {"parents": self._several.homes.mine()}

    def _is_mine(self, parent: str) -> bool:
        return self._several is None or self._several.homes.epoch(parent) is not None

    async def _serve(self, callers: Callers, bounds: Bounds) -> None:
        opened, several = self._opened, self._several
        clock, settings = opened.clock, opened.settings
        _warn(opened)
        secrets = opened.secrets()
        self._signing = signing = await self._keys.load()
        callers.follow(opened.hub)
        self._log = log = LogWriter(signing.sign_log, secrets.release_key)
        opened.store.log = log
        if not signing.may_sign_logs():
            _LOG.warning("log heads are not delegated", next="run keypegd delegate")
        if several is None:  # else each when it is taken
            await log_store.check(opened.database, log, clock)
        self._committer = BatchCommitter(
            opened.database, clock, log=log, pending_limit=settings.limits.pending_operations
        )
        engine = Engine(
            self._committer,
            SqlPoolStore(opened.database),
            clock,
            opened.hub,
            queue_limit=settings.limits.queue_length,
            user_queue_limit=settings.limits.user_queue_places,
            alive=always if several is None else several.homes.alive,
        )
        self._does = does = UseCases(opened, callers, signing, engine, self._passwords)
        if several is None:
            await does.sessions.start()
        self._committer.recorded = does.watching.told
        services.add_to(self._server, does, callers, opened, bounds)
        keeping = log_store.Keeping(settings.audit.keep, settings.audit.max_records)
        await self._health.serve(self._server)
        if several is not None:
            await several.start(
                self.address, does.sessions, callers.authenticators, log, self._health.show
            )
        await does.capacity_keeper.start()
        await self._server.start()
        self._tasks += [
            every(CLOCK_EVERY, lambda: upkeep.keep_clock(opened.database, clock)),
            asyncio.create_task(sweep_forever(opened.database, clock)),
            every(certificates.EVERY, self._refresh_certificates),
            every(signing_keys.EVERY, lambda: self._keys.refresh(signing)),
            every(CHANGES_EVERY, lambda: does.life.changes.apply_due(self._is_mine)),
            every(DOCUMENTS_EVERY, lambda: does.documents.renew_stale(self._is_mine)),
            every(HEADS_EVERY, lambda: self._sign_heads(log_store.PERIOD)),
            every(
                REMOVAL_EVERY,
                lambda: log_store.remove_old(opened.database, log, clock, keeping, **self._mine()),
            ),
        ]
        for task in self._tasks:
            task.add_done_callback(died)


def _warn(opened: Opened) -> None:
    for path in secret_files.exposed(opened.data):
        _LOG.warning("file readable by others", path=str(path))
    behind = opened.clock.set_back_by()
    if behind > SET_BACK_TOLERANCE:
        _LOG.warning("clock set back", behind=str(behind))

"""The composition root: the only place that knows every room of the server.

Promises: an `App` is a server on a data directory that answers once `start` has returned, and after `stop`
has lost nothing that it acknowledged. What keeps it from starting is a StartError of one sentence.

Leaves to others: the command line and signals (main.py), making a data directory (setting_up.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog

from keypeg.errors import FieldInvalid, KeypegError
from keypeg.serving import ErrorInterceptor
from keypeg.v1 import (
    account_service_pb2_grpc,
    activation_service_pb2_grpc,
    api_key_service_pb2_grpc,
    borrow_service_pb2_grpc,
    catalog_service_pb2_grpc,
    cloud_session_service_pb2_grpc,
    credential_service_pb2_grpc,
    license_service_pb2_grpc,
    location_service_pb2_grpc,
    people_service_pb2_grpc,
    report_service_pb2_grpc,
    seat_service_pb2_grpc,
    session_service_pb2_grpc,
    sign_in_service_pb2_grpc,
)
from keypeg.v1.log_pb2 import LogOccasion
from keypeg_server import certificates, secret_files, signing_keys
from keypeg_server.certificates import Certificates
from keypeg_server.domain.events import (
    ApiKeyChanged,
    CredentialEnded,
    SecondFactorsChanged,
    TokenRevoked,
    UserChanged,
    UserRemoved,
)
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.listening import bind
from keypeg_server.opened import MARKER, Opened, StartError, new_ids
from keypeg_server.rpc import accepting
from keypeg_server.rpc.account_service import AccountRpc
from keypeg_server.rpc.activation_service import ActivationRpc
from keypeg_server.rpc.api_key_service import ApiKeyRpc
from keypeg_server.rpc.borrow_service import BorrowRpc
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.catalog_service import CatalogRpc
from keypeg_server.rpc.client_versions import ClientVersions
from keypeg_server.rpc.cloud_session_service import CloudSessionRpc
from keypeg_server.rpc.composed import Composed
from keypeg_server.rpc.credential_service import CredentialRpc
from keypeg_server.rpc.doors import Doors
from keypeg_server.rpc.gate import Gate
from keypeg_server.rpc.health import Health
from keypeg_server.rpc.license_service import LicenseRpc
from keypeg_server.rpc.limits import options
from keypeg_server.rpc.location_service import LocationRpc
from keypeg_server.rpc.people_service import PeopleRpc
from keypeg_server.rpc.quotas import Quotas
from keypeg_server.rpc.report_service import ReportRpc
from keypeg_server.rpc.seat_service import SeatService
from keypeg_server.rpc.session_service import SessionService
from keypeg_server.rpc.sign_in_service import SignInRpc
from keypeg_server.service import credential_tokens
from keypeg_server.service.accounts import AccountService
from keypeg_server.service.activations import ActivationService
from keypeg_server.service.active_devices import ActiveDevices
from keypeg_server.service.api_keys import API_KEY_START, ApiKeys
from keypeg_server.service.authenticators import Authenticators
from keypeg_server.service.borrows import Borrows
from keypeg_server.service.capacities import CapacityService
from keypeg_server.service.capacity_keeping import CapacityKeeper
from keypeg_server.service.catalog import CatalogService
from keypeg_server.service.cloud import CloudService
from keypeg_server.service.cloud_groups import CloudGroups
from keypeg_server.service.cloud_watching import CloudWatching
from keypeg_server.service.credential_tokens import CredentialTokens
from keypeg_server.service.credentials import CredentialsService
from keypeg_server.service.device_sign_ins import DeviceSignIns
from keypeg_server.service.entitlements import AccountEntitlements
from keypeg_server.service.history import History
from keypeg_server.service.key_checks import KeyChecks
from keypeg_server.service.key_losses import KeyLosses
from keypeg_server.service.licenses import LicenseService
from keypeg_server.service.life_parts import LifeParts
from keypeg_server.service.locations import LocationService
from keypeg_server.service.people import PeopleService
from keypeg_server.service.placing import Placing
from keypeg_server.service.pools import Engine, always
from keypeg_server.service.reports import Reports
from keypeg_server.service.seats import Seats
from keypeg_server.service.second_factors import SecondFactors
from keypeg_server.service.sessions import SessionLimits, Sessions
from keypeg_server.service.sign_ins import SignIns
from keypeg_server.service.signing import Signing
from keypeg_server.service.tickets import TicketBox
from keypeg_server.service.token_texts import TokenTexts
from keypeg_server.service.tokens import Lifetimes, Tokens
from keypeg_server.service.watching import Watching
from keypeg_server.settings import Settings
from keypeg_server.signing_keys import SigningKeys
from keypeg_server.storage import log_store, upkeep
from keypeg_server.storage.committer import BatchCommitter
from keypeg_server.storage.log_search import SqlLogSearch
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.requests import sweep_forever

if TYPE_CHECKING:
    from keypeg_server.several import Several

_LOG: Final = structlog.get_logger("keypegd")

CLOCK_EVERY: Final = 60.0  # seconds: how much a clock may be set back unnoticed over a crash
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
        tokens = make_tokens(opened)
        ticket_key = opened.secrets().ticket_key
        by_credential = CredentialTokens(opened.store, opened.clock, ticket_key)
        keys = ApiKeys(opened.store, opened.clock, new_ids(opened.clock))
        authenticators = Authenticators(
            tokens, {credential_tokens.PREFIX: by_credential, API_KEY_START: keys}
        )
        shown = Certificates(opened)
        try:
            clients = ClientVersions(opened.settings.clients.minimum_version)
        except FieldInvalid as error:
            raise StartError(error.sentence) from error
        several = None
        if opened.settings.storage.database:
            from keypeg_server.several import Several  # loads PostgreSQL's driver

            several = Several(opened, lambda: shown.identity, tokens.texts)
        relay = several.interceptors if several is not None else ()
        quotas = Quotas(opened.clock, calls=limits.user_calls, streams=limits.user_streams)
        admin_listen = opened.settings.server.admin_listen

        def server(administers: bool) -> grpc.aio.Server:
            gate = Gate(authenticators, quotas, clients, administers=administers)
            return accepting.server(
                [Composed([ErrorInterceptor(), gate, *relay])],
                options(
                    max_message_bytes=limits.max_message_bytes,
                    max_concurrent_streams=limits.max_concurrent_streams,
                    max_pending=limits.max_pending_requests,
                ),
            )

        everyone = server(administers=not admin_listen)
        admin = server(administers=True) if admin_listen else None
        doors = Doors(everyone, admin)
        address = bind(everyone, listen, shown.credentials())
        app = cls(opened, doors, address, shown, several)
        if admin is not None:
            app.admin_address = bind(
                admin, admin_listen, shown.credentials(), "server.admin_listen"
            )
        try:
            await app._serve(tokens, keys, by_credential, authenticators)
        except BaseException:
            app._passwords.close()
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
        self._watching.stop()
        self._capacities.stop()
        self._cloud_watching.stop()
        several = self._several
        if several is None:
            await self._sessions.drain(self._opened.settings.server.drain_time)
        else:  # apps go on elsewhere at once
            await self._sessions.drain(timedelta(0))
            await self._at_last(self._committer.close())
            await self._at_last(self._sign_heads(log_store.STOP))
            await several.leave()
            await several.close()
        await self._server.stop(max(0.0, ends - loop.time()))
        self._sessions.stop()
        self._borrows.stop()
        await self._at_last(self._committer.close())
        self._passwords.close()
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

    async def _serve(
        self,
        tokens: Tokens,
        keys: ApiKeys,
        by_credential: CredentialTokens,
        authenticators: Authenticators,
    ) -> None:
        opened, several = self._opened, self._several
        store, clock, hub, settings = opened.store, opened.clock, opened.hub, opened.settings
        _warn(opened)
        secrets = opened.secrets()
        self._signing = signing = Signing(await self._keys.load(), secrets.site)
        new_id = new_ids(clock)
        placing = Placing(signing, new_id)
        life = LifeParts(store, clock, new_id, signing, placing)
        hub.subscribe(UserRemoved, lambda event: tokens.forget_user(event.user))
        hub.subscribe(UserChanged, lambda event: tokens.forget_user(event.user))
        for ended in (UserRemoved, CredentialEnded):
            hub.subscribe(ended, lambda _: by_credential.forget_all())
        hub.subscribe(TokenRevoked, lambda event: tokens.forget(event.token))
        hub.subscribe(SecondFactorsChanged, tokens.forget_factors)
        hub.subscribe(UserRemoved, lambda event: keys.forget_user(event.user))
        hub.subscribe(UserChanged, lambda event: keys.forget_user(event.user))
        hub.subscribe(ApiKeyChanged, lambda event: keys.forget(event.key))

        limits = settings.limits
        self._log = log = LogWriter(signing.sign_log, secrets.release_key)
        store.log = log
        if not signing.may_sign_logs():
            _LOG.warning("log heads are not delegated", next="run keypegd delegate")
        if several is None:  # else each when it is taken
            await log_store.check(opened.database, log, clock)
        self._committer = BatchCommitter(
            opened.database, clock, log=log, pending_limit=limits.pending_operations
        )
        self._engine = Engine(
            self._committer,
            SqlPoolStore(opened.database),
            clock,
            hub,
            queue_limit=limits.queue_length,
            user_queue_limit=limits.user_queue_places,
            alive=always if several is None else several.homes.alive,
        )
        engine = self._engine

        def held(pool: str) -> int:
            found = engine.pool(pool)
            return 0 if found is None else found.held

        def rules_of(pool: str) -> PoolRules | None:
            found = engine.by_id(pool)
            return None if found is None else found.rules

        seat_grant = settings.sessions.seat_grant
        entitlements = AccountEntitlements(
            store, clock, signing, seat_grant, held, placing, life.changes
        )
        self._borrows = Borrows(engine, entitlements, signing, clock, clock.date_us)
        self._sessions = Sessions(
            engine,
            entitlements,
            signing,
            TicketBox(secrets.ticket_key, secrets.release_key),
            clock,
            hub,
            limits=SessionLimits(
                unread_frames=limits.session_unread_frames,
                holdings=limits.session_holdings,
                restart_grant=seat_grant,
            ),
        )
        if several is None:
            await self._sessions.start()

        self._watching = watching = Watching(engine, hub)
        self._committer.recorded = watching.told
        groups = CloudGroups(store, clock, placing)
        accounts = AccountService(store, clock, new_id, self._passwords, groups)
        factors = SecondFactors(store, clock, opened.wrapping())
        sign_ins = SignIns(store, clock, new_id, self._passwords, tokens, factors)
        locations = LocationService(
            store,
            clock,
            new_id,
            secrets.management_key,
            allow_emulated=settings.keys.allow_emulated,
            roots=self._opened.attestation_roots(),
        )
        licenses = LicenseService(store, clock, new_id, placing)
        capacities = CapacityService(store, clock, new_id, placing, signing)
        self._capacities = keeper = CapacityKeeper(store, clock, hub, engine, capacities)
        activations = ActivationService(
            store, clock, placing, signing, engine, life.deactivations, life.changes
        )
        losses = KeyLosses(store, clock, signing, new_id)
        checks = KeyChecks(store, clock, signing)
        server: Any = self._server  # to the generated code, as a server
        account_service_pb2_grpc.add_AccountServiceServicer_to_server(
            AccountRpc(accounts, sign_ins, groups), server
        )
        sign_in_service_pb2_grpc.add_SignInServiceServicer_to_server(
            SignInRpc(sign_ins, DeviceSignIns(store, clock, new_id, tokens, sign_ins), factors),
            server,
        )
        people = PeopleService(store, clock, new_id, self._passwords)
        people_service_pb2_grpc.add_PeopleServiceServicer_to_server(
            PeopleRpc(people, opened.wrapping()), server
        )
        api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server(
            ApiKeyRpc(keys, opened.wrapping()), server
        )
        catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(
            CatalogRpc(CatalogService(store, clock)), server
        )
        license_service_pb2_grpc.add_LicenseServiceServicer_to_server(
            LicenseRpc(licenses, life.use_cases, capacities, keeper, clock), server
        )
        activation_service_pb2_grpc.add_ActivationServiceServicer_to_server(
            ActivationRpc(activations), server
        )
        devices = ActiveDevices(store, clock, settings.credentials.active_devices)
        credentials = CredentialsService(
            store,
            clock,
            new_id,
            secrets.site,
            by_credential,
            devices,
            token_valid_for=settings.credentials.token_valid_for,
            longest=settings.credentials.longest,
        )
        credential_service_pb2_grpc.add_CredentialServiceServicer_to_server(
            CredentialRpc(credentials, devices, clock), server
        )
        cloud = CloudService(store, clock, placing, life.changes, devices)
        self._cloud_watching = CloudWatching(cloud.get, hub)
        cloud_session_service_pb2_grpc.add_CloudSessionServiceServicer_to_server(
            CloudSessionRpc(cloud, self._cloud_watching, groups), server
        )
        location_service_pb2_grpc.add_LocationServiceServicer_to_server(
            LocationRpc(locations, losses, checks, current), server
        )
        report_service_pb2_grpc.add_ReportServiceServicer_to_server(
            ReportRpc(Reports(log_store.SqlLogStore(opened.database), signing, clock, rules_of)),
            server,
        )
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(
            SessionService(self._sessions, current), server
        )
        seat_service_pb2_grpc.add_SeatServiceServicer_to_server(
            SeatService(
                Seats(engine, entitlements, clock, hub),
                clock,
                current,
                watching,
                History(engine.pool, SqlLogSearch(opened.database)),
            ),
            server,
        )
        borrow_service_pb2_grpc.add_BorrowServiceServicer_to_server(
            BorrowRpc(self._borrows, current), server
        )
        keeping = log_store.Keeping(settings.audit.keep, settings.audit.max_records)
        await self._health.serve(self._server)
        if several is not None:
            await several.start(
                self.address, self._sessions, authenticators, log, self._health.show
            )
        await keeper.start()
        await server.start()
        self._tasks += [
            _every(CLOCK_EVERY, lambda: upkeep.keep_clock(opened.database, clock)),
            asyncio.create_task(sweep_forever(opened.database, clock)),
            _every(certificates.EVERY, self._refresh_certificates),
            _every(signing_keys.EVERY, lambda: self._keys.refresh(signing)),
            _every(CHANGES_EVERY, lambda: life.changes.apply_due(self._is_mine)),
            _every(HEADS_EVERY, lambda: self._sign_heads(log_store.PERIOD)),
            _every(
                REMOVAL_EVERY,
                lambda: log_store.remove_old(opened.database, log, clock, keeping, **self._mine()),
            ),
        ]
        for task in self._tasks:
            task.add_done_callback(_died)


def make_tokens(opened: Opened) -> Tokens:
    """What makes and recognizes the tokens of a data directory."""
    kept = opened.settings.tokens
    texts = TokenTexts(opened.secrets().ticket_key, kept.audience)
    return Tokens(opened.store, opened.clock, Lifetimes(kept.access, kept.valid_for), texts)


def _died(task: asyncio.Task[None]) -> None:
    """Say so when what should go on for ever has ended by a fault."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("upkeep ended", exc_info=error)


def _every(pause: float, work: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
    async def run() -> None:
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(KeypegError):  # storage has logged it; next time may be better
                await work()

    return asyncio.create_task(run())


def _warn(opened: Opened) -> None:
    for path in secret_files.exposed(opened.data):
        _LOG.warning("file readable by others", path=str(path))
    behind = opened.clock.set_back_by()
    if behind > SET_BACK_TOLERANCE:
        _LOG.warning("clock set back", behind=str(behind))

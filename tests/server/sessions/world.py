"""What tests of sessions play with: the server's core behind real gRPC, and apps that speak frames to it.

Promises: real are the streams, the committer, the SQLite file; stand-ins are time (a clock that tests move),
licenses (whatever `entitle` says) and the caller, who is named in the call's metadata.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.rpc import status_pb2
from sqlmodel import Session as SqlSession

from keypeg import envelope
from keypeg.errors import KeypegError, LicenseMissing
from keypeg.proof import Expectation, Verified, verify
from keypeg.serving import METHOD_BUILDERS, METHOD_KINDS, ErrorInterceptor
from keypeg.sessionkey import FrameAuthenticator, KeyShare
from keypeg.status import DETAILS_KEY, from_status
from keypeg.v1 import document_pb2, location_pb2, log_pb2, seat_pb2, session_pb2
from keypeg.v1.borrow_pb2 import BorrowDocument
from keypeg.v1.borrow_service_pb2_grpc import (
    BorrowServiceStub,
    add_BorrowServiceServicer_to_server,
)
from keypeg.v1.pool_event_pb2 import PoolEvent, PoolSnapshot
from keypeg.v1.seat_service_pb2 import WatchPoolRequest, WatchPoolResponse
from keypeg.v1.seat_service_pb2_grpc import SeatServiceStub, add_SeatServiceServicer_to_server
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from keypeg.v1.session_service_pb2_grpc import (
    SessionServiceStub,
    add_SessionServiceServicer_to_server,
)
from keypeg_server.clock import to_us
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.domain.events import PoolCreated
from keypeg_server.domain.pool import Pool
from keypeg_server.rpc.borrow_service import BorrowRpc
from keypeg_server.rpc.seat_service import SeatService
from keypeg_server.rpc.session_service import Bounds, SessionService
from keypeg_server.service.borrows import Borrows
from keypeg_server.service.events import EventHub
from keypeg_server.service.history import History
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import AppInfo, DeviceInfo, Entitlement, SiteLicense
from keypeg_server.service.seats import Seats
from keypeg_server.service.sessions import SessionLimits, Sessions
from keypeg_server.service.site_documents import site_license
from keypeg_server.service.tickets import TicketBox
from keypeg_server.service.watching import Watching
from keypeg_server.storage.committer import BatchCommitter
from keypeg_server.storage.log_search import SqlLogSearch
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.pool_store import SqlPoolStore
from keypeg_server.storage.tables_seat import PoolRow
from tests.server.databases import open_in

ACCOUNT = "accounts/acme"
PUBLISHER = "publishers/acme"
PRODUCT = "publishers/acme/products/cad"
LICENSE = "accounts/acme/licenses/l1"
ACTIVATION = "accounts/acme/licenses/l1/activations/a1"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECONDS = 5.0  # to wait for a frame: far above what any should take

_CALLER: contextvars.ContextVar[Caller] = contextvars.ContextVar("caller")


def caller(name: str = "mia", role: Role = Role.MEMBER, account: str = ACCOUNT) -> Caller:
    return Caller(f"{account}/users/{name}", name, account, role, f"token-{name}")


class ManualClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.stepped = 0.0  # by which somebody has set the wall clock forward
        self.marked = (
            0.0  # by which the high-water mark is ahead: somebody had, and has put it right
        )

    def monotonic(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds - 1_000.0 + self.stepped + self.marked)

    def wall_us(self) -> int:
        return to_us(self.wall())

    def served_us(self) -> int:
        return round(self.monotonic() * 1e6)

    def date_us(self) -> int:
        return to_us(self.wall() - timedelta(seconds=self.marked))


class Trust:
    """A publisher's root, its delegation, and both signing keys."""

    def __init__(self) -> None:
        self.root = envelope.Ed25519Signer.generate()
        self.site = envelope.Ed25519Signer.generate()
        self.signed_under: dict[str, document_pb2.Envelope] = {}  # by the key id of who signs
        self.replace_signer(1)

    def replace_signer(self, generation: int) -> None:
        """Sign with another key of the publisher; the one before is believed no more."""
        self.signing = envelope.Ed25519Signer.generate()
        delegation = document_pb2.Delegation(publisher=PUBLISHER, generation=generation)
        key = delegation.keys.add(
            public_key=self.signing.public_key,
            purposes=[document_pb2.PURPOSE_LICENSE, document_pb2.PURPOSE_GRANT],
        )
        key.not_before_time.FromDatetime(NOW - timedelta(days=1))
        key.not_after_time.FromDatetime(NOW + timedelta(days=365))
        delegation.issue_time.FromDatetime(NOW)
        self.delegation = envelope.seal(delegation, envelope.DELEGATION_TYPE, self.root)
        self.signed_under[envelope.key_id(self.signing.public_key)] = self.delegation

    def license(self, seat_count: int) -> document_pb2.Envelope:
        license_ = document_pb2.LicenseDocument(
            license=LICENSE,
            activation=ACTIVATION,
            publisher=PUBLISHER,
            product=PRODUCT,
            opens_products=[PRODUCT],
            seat_count=seat_count,
            location_kind=location_pb2.LOCATION_KIND_SITE,
            location=f"{ACCOUNT}/locations/site",
            location_key=self.site.public_key,
            generation=1,
        )
        license_.features.add(feature="mesh", seat_count=2)
        license_.issue_time.FromDatetime(NOW)
        return envelope.seal(license_, envelope.LICENSE_TYPE, self.signing)

    def sign_log(self, head: log_pb2.LogHead) -> document_pb2.Envelope:
        return envelope.seal(head, envelope.LOG_TYPE, self.signing)

    def sign_borrow(self, document: BorrowDocument, site: SiteLicense) -> document_pb2.Envelope:
        return envelope.seal(document, envelope.BORROW_TYPE, self.site)

    def delegated(self, publisher: str, site: SiteLicense | None) -> document_pb2.Envelope:
        assert publisher == PUBLISHER
        return self.delegation if site is None else self.signed_under[site.signed_by]

    def sign_grant(
        self, publisher: str, grant: document_pb2.Grant, site: SiteLicense | None
    ) -> document_pb2.Envelope:
        assert publisher == PUBLISHER
        signer = self.signing if site is None else self.site
        return envelope.seal(grant, envelope.GRANT_TYPE, signer)


class Licenses:
    """`Entitlements` that says what the test told it."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self.refusal: KeypegError | None = None
        self.pools: tuple[str, ...] = ()
        self.valid_for = timedelta(seconds=60)
        self.ends_at: datetime | None = None
        self.kind = location_pb2.LOCATION_KIND_SITE
        self.asked = asyncio.Event()
        self.gate: asyncio.Event | None = None  # an admission waits for it

    async def admit(
        self,
        caller: Caller,
        device: DeviceInfo,
        app: AppInfo | None,
        product: str,
        kinds: tuple[int, ...],
        pools: tuple[str, ...] = (),
    ) -> Entitlement:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        if product != PRODUCT:
            raise LicenseMissing(f"No license of {product}.", product=product)
        at_site = self.kind == location_pb2.LOCATION_KIND_SITE
        return Entitlement(
            account=caller.account or "",
            publisher=PUBLISHER,
            product=product,
            products=(PRODUCT,),
            features=("mesh",),
            license=LICENSE,
            activation=ACTIVATION,
            location=f"{ACCOUNT}/locations/{'site' if at_site else 'cloud'}",
            location_kind=self.kind,
            valid_for=self.valid_for,
            ends_at=self.ends_at,
            seat_required=at_site,
            pools=self.pools if at_site else (),
            delegation=self._trust.delegation,
            site_license=site_license(self._trust.license(100).SerializeToString())
            if at_site
            else None,
        )


class _Callers(grpc.aio.ServerInterceptor):
    """Takes the caller from the call's metadata."""

    async def intercept_service(self, continuation, details):
        handler = await continuation(details)
        name = dict(details.invocation_metadata).get("caller", "mia")
        role = Role.ADMIN if name == "boss" else Role.MEMBER
        account = "accounts/other" if name == "eve" else ACCOUNT
        made = caller(name, role, account)
        kind = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, kind)

        async def as_caller(request, context):
            _CALLER.set(made)
            return await behaviour(request, context)

        async def stream_as_caller(request, context):
            _CALLER.set(made)
            async for response in behaviour(request, context):
                yield response

        return METHOD_BUILDERS[kind](
            stream_as_caller if inspect.isasyncgenfunction(behaviour) else as_caller,
            handler.request_deserializer,
            handler.response_serializer,
        )


class World:
    """The server, and what opens apps on it."""

    def __init__(
        self, path: Path, *, limits: SessionLimits | None = None, **committer: Any
    ) -> None:
        self.path = path
        self.clock: Any = ManualClock()
        self.trust = Trust()
        self.licenses = Licenses(self.trust)
        self.keys = (os.urandom(32), os.urandom(32))
        self.limits = limits or SessionLimits()
        self.sure = True  # that nobody else serves its accounts
        self.unread_limit = 100
        self.frames: Callable[[str], float] = lambda _user: 0.0
        self._committer_options = committer
        self._channels: list[grpc.aio.Channel] = []

    async def start(self) -> None:
        self.database = open_in(self.path.parent)
        self.hub = EventHub()
        log = LogWriter(self.trust.sign_log, b"a secret")
        self.committer = BatchCommitter(
            self.database, self.clock, log=log, **self._committer_options
        )
        self.engine = Engine(
            self.committer,
            SqlPoolStore(self.database),
            self.clock,
            self.hub,
            alive=lambda: self.sure,
        )
        self.borrows = Borrows(
            self.engine, self.licenses, self.trust, self.clock, self.clock.date_us
        )
        self.sessions = Sessions(
            self.engine,
            self.licenses,
            self.trust,
            TicketBox(*self.keys),
            self.clock,
            self.hub,
            limits=self.limits,
        )
        await self.sessions.start()
        self.server = grpc.aio.server(interceptors=[ErrorInterceptor(), _Callers()])
        add_SessionServiceServicer_to_server(
            SessionService(
                self.sessions, _CALLER.get, Bounds(frames=lambda user: lambda: self.frames(user))
            ),
            self.server,
        )
        seats = Seats(self.engine, self.licenses, self.clock, self.hub)
        self.watching = Watching(self.engine, self.hub, unread_limit=self.unread_limit)
        self.committer.recorded = self.watching.told
        history = History(self.engine.pool, SqlLogSearch(self.database))
        add_SeatServiceServicer_to_server(
            SeatService(seats, self.clock, _CALLER.get, self.watching, history), self.server
        )
        add_BorrowServiceServicer_to_server(BorrowRpc(self.borrows, _CALLER.get), self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        self.channel = self.connect()

    async def stop(self) -> None:
        """As a process that ends: streams go, timers go, the file stays."""
        for channel in self._channels:
            await channel.close()
        self._channels.clear()
        await self.server.stop(None)
        self.sessions.stop()
        self.borrows.stop()
        await self.committer.close()
        self.database.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def connect(self) -> grpc.aio.Channel:
        options = [("grpc.http2.bdp_probe", 0)]  # a window of 64 KiB, which is soon full
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options)
        self._channels.append(channel)
        return channel

    def pool_of(self, name: str) -> Pool:
        """The pool as the engine knows it."""
        pool = self.engine.pool(name)
        assert pool is not None, f"the engine does not know {name}"
        return pool

    async def add_pool(self, seats: int, id: str = "p1", **features: int) -> str:
        row = PoolRow(
            id=id,
            account=ACCOUNT,
            product=PRODUCT,
            activation=ACTIVATION,
            seat_count=seats,
            features="" if not features else str(features).replace("'", '"'),
            create_time_us=1,
        )

        def insert(session: SqlSession) -> None:
            session.add(row)

        await self.database.write(insert)
        self.hub.publish(PoolCreated(f"pools/{id}"))
        await self.engine.present((f"pools/{id}",))
        self.licenses.pools = (*self.licenses.pools, f"pools/{id}")
        return f"pools/{id}"

    def app(self, name: str = "mia", device: str = "device-a") -> App:
        return App(self, self.channel, name, device)

    def seats(self, name: str = "mia") -> Any:
        return Calls(SeatServiceStub(self.channel), name)

    def lending(self, name: str = "mia") -> Any:
        return Calls(BorrowServiceStub(self.channel), name)

    def watch(self, parent: str = "pools/p1", name: str = "boss") -> Watch:
        """A stream that watches a pool or an account."""
        return Watch(self, parent, name)

    async def pass_time(self, seconds: float) -> None:
        """Move the clock, and let everything happen that is due then."""
        self.clock.seconds += seconds
        self.sessions.presence.tick()
        self.engine.tick()
        self.borrows.ends.tick()
        await self.settled()

    async def hears(self, heard: Callable[[], bool]) -> None:
        """Wait until something was told, whatever the disk does."""
        async with asyncio.timeout(SECONDS):
            while not heard():
                await asyncio.get_running_loop().run_in_executor(None, lambda: None)

    async def settled(self) -> None:
        """Everything submitted so far is on disk, and told."""
        await self.engine.looked(lambda: None)


class Calls:
    """Unary calls in a caller's name, with errors as the SDK has them."""

    def __init__(self, stub: Any, name: str) -> None:
        self._stub = stub
        self._name = name

    def __getattr__(self, method: str) -> Any:
        call = getattr(self._stub, method)

        async def run(request: Any) -> Any:
            try:
                return await call(request, metadata=(("caller", self._name),), timeout=SECONDS)
            except grpc.aio.AioRpcError as error:
                raise error_of(error.trailing_metadata()) from error

        return run


class Watch:
    """A stream that watches."""

    def __init__(self, world: World, parent: str, name: str) -> None:
        stub = SeatServiceStub(world.channel)
        self.call = stub.WatchPool(WatchPoolRequest(parent=parent), metadata=(("caller", name),))

    async def read(self) -> WatchPoolResponse:
        try:
            found = await asyncio.wait_for(self.call.read(), SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Ended(error_of(error.trailing_metadata())) from error
        if found is grpc.aio.EOF:
            raise Ended(error_of(await self.call.trailing_metadata()))
        assert isinstance(found, WatchPoolResponse)
        return found

    async def snapshot(self) -> list[PoolSnapshot]:
        """All its parts."""
        parts: list[PoolSnapshot] = []
        while not parts or not parts[-1].last:
            found = await self.read()
            assert found.WhichOneof("frame") == "snapshot", found
            parts.append(found.snapshot)
        return parts

    async def event(self) -> PoolEvent:
        found = await self.read()
        assert found.WhichOneof("frame") == "event", found
        return found.event


class Ended(Exception):
    """A stream has ended, well (`error` is None) or with an error."""

    def __init__(self, error: KeypegError | None) -> None:
        super().__init__(repr(error))
        self.error = error


class App:
    """An app on one stream at a time."""

    def __init__(self, world: World, channel: grpc.aio.Channel, name: str, device: str) -> None:
        self.world = world
        self.channel = channel
        self.name = name
        self.device = session_pb2.Device(id=device, host_name=f"host of {device}")
        self.numbers = itertools.count(1)
        self.opened: session_pb2.Opened | None = None
        self.early: list[HoldSessionResponse] = []
        self.process_id = 4711
        self.seen: dict[str, int] = {}  # generations, as an app remembers them

    def connect(self) -> None:
        stub = SessionServiceStub(self.channel)
        self.call = stub.HoldSession(metadata=(("caller", self.name),))

    async def send(self, **frame: Any) -> None:
        await self.call.write(HoldSessionRequest(**frame))

    async def read(self) -> HoldSessionResponse:
        try:
            frame = await asyncio.wait_for(self.call.read(), SECONDS)
        except grpc.aio.AioRpcError as error:
            raise Ended(error_of(error.trailing_metadata())) from error
        if frame is grpc.aio.EOF:
            code = await self.call.code()
            trailers = await self.call.trailing_metadata()
            raise Ended(None if code is grpc.StatusCode.OK else error_of(trailers))
        assert isinstance(frame, HoldSessionResponse)
        return frame

    async def next(self, kind: str) -> Any:
        """The next frame of a kind; others are kept for later."""
        for index, frame in enumerate(self.early):
            if frame.WhichOneof("frame") == kind:
                return getattr(self.early.pop(index), kind)
        while True:
            frame = await self.read()
            if frame.WhichOneof("frame") == kind:
                return getattr(frame, kind)
            self.early.append(frame)

    async def ends(self) -> KeypegError | None:
        """How the stream ends, whatever comes before."""
        try:
            while True:
                await self.read()
        except Ended as ended:
            return ended.error

    async def open(self, **changes: Any) -> session_pb2.Opened:
        self.connect()
        await self.send(open=self.open_frame(**changes))
        return await self._opened("open")

    def open_frame(self, **changes: Any) -> session_pb2.Open:
        self.share, self.nonce = KeyShare.generate(), os.urandom(32)
        fields = {
            "sequence": next(self.numbers),
            "protocol_version": 1,
            "device": self.device,
            "app": session_pb2.App(name="cad", version="1.2", process_id=self.process_id),
            "product": PRODUCT,
            "nonce": self.nonce,
            "key_share": self.share.public,
        }
        return session_pb2.Open(**{**fields, **changes})

    async def resume(self, **changes: Any) -> session_pb2.Opened:
        self.connect()
        await self.send(resume=self.resume_frame(**changes))
        return await self._opened("resume")

    def resume_frame(self, **changes: Any) -> session_pb2.Resume:
        assert self.opened is not None
        self.share, self.nonce = KeyShare.generate(), os.urandom(32)
        sequence = changes.pop("sequence", None) or next(self.numbers)
        session = self.opened.session
        fields = {
            "sequence": sequence,
            "protocol_version": 1,
            "session": session,
            "resume_ticket": self.opened.resume_ticket,
            "nonce": self.nonce,
            "key_share": self.share.public,
            "mac": self.codes.resume(sequence, session, self.nonce, self.share.public),
        }
        return session_pb2.Resume(**{**fields, **changes})

    async def _opened(self, command: str) -> session_pb2.Opened:
        opened: session_pb2.Opened = await self.next("opened")
        key = self.share.agree(opened.key_share, self.nonce, opened.session)
        self.codes = FrameAuthenticator(key)
        valid_for_us = opened.valid_for.ToMicroseconds()
        expected = self.codes.opened(
            opened.sequence, opened.session, valid_for_us, opened.resumed, opened.leases
        )
        assert opened.mac == expected
        self.opened = opened
        self.verified(opened.proof, opened.key_share)
        return opened

    def verified(self, proof: Any, server_share: bytes | None = None) -> Verified:
        """What the app's own verification makes of a proof."""
        assert self.opened is not None
        found = verify(
            proof,
            Expectation(
                publisher_root=self.world.trust.root.public_key.key,
                publisher=PUBLISHER,
                product=PRODUCT,
                session=self.opened.session,
                device=self.device.id,
                nonce=self.nonce,
                client_key_share=self.share.public,
                server_key_share=server_share or self.opened.key_share,
                now=self.world.clock.wall(),
                fingerprint=None,
                seen=self.seen,
            ),
        )
        self.seen[PUBLISHER] = found.delegation.generation
        return found

    async def renew(self, *, signed: bool = False) -> session_pb2.Renewed:
        frame = self.renew_frame(signed=signed)
        await self.send(renew=frame)
        renewed: session_pb2.Renewed = await self.next("renewed")
        assert renewed.sequence == frame.sequence
        us = renewed.valid_for.ToMicroseconds()
        assert renewed.mac == self.codes.renewed(renewed.sequence, us)
        return renewed

    def renew_frame(self, *, signed: bool = False) -> session_pb2.Renew:
        sequence = next(self.numbers)
        nonce = os.urandom(32) if signed else b""
        if signed:
            self.nonce = nonce
        return session_pb2.Renew(
            sequence=sequence, nonce=nonce, mac=self.codes.renew(sequence, nonce)
        )

    async def ask(self, **fields: Any) -> session_pb2.Acquire:
        frame = session_pb2.Acquire(
            **{"sequence": next(self.numbers), "request_id": str(uuid.uuid4()), **fields}
        )
        await self.send(acquire=frame)
        return frame

    async def acquire(self, **fields: Any) -> seat_pb2.Lease:
        """A seat now; what is denied raises."""
        frame = await self.ask(**fields)
        while True:
            answer = await self.read()
            kind = answer.WhichOneof("frame")
            if kind == "acquired" and answer.acquired.request_id == frame.request_id:
                acquired = answer.acquired
                expected = self.codes.acquired(
                    acquired.sequence, acquired.request_id, acquired.lease
                )
                assert acquired.mac == expected
                return acquired.lease
            if kind == "denied" and answer.denied.sequence == frame.sequence:
                raise Denied(answer.denied)
            self.early.append(answer)

    async def wait(self, **fields: Any) -> session_pb2.Queued:
        frame = await self.ask(wait=True, **fields)
        queued: session_pb2.Queued = await self.next("queued")
        assert queued.sequence == frame.sequence
        return queued

    async def release(self, name: str) -> session_pb2.Released:
        sequence = next(self.numbers)
        await self.send(release=session_pb2.Release(sequence=sequence, name=name))
        return await self.next("released")

    async def close(self) -> None:
        await self.send(close=session_pb2.Close(sequence=next(self.numbers)))
        await self.next("closed")
        assert await self.ends() is None

    def drop(self) -> None:
        """Lose the stream, as a pulled cable or a killed process does."""
        self.call.cancel()


class Denied(Exception):
    """A command was denied in-band."""

    def __init__(self, denied: session_pb2.Denied) -> None:
        super().__init__(denied.explanation.sentence)
        self.denied = denied
        self.explanation = denied.explanation


def error_of(trailers: Any) -> KeypegError:
    """The error that a call ended with."""
    for key, value in trailers or ():
        if key == DETAILS_KEY:
            return from_status(status_pb2.Status.FromString(value))
    raise AssertionError("the call ended without details")


def changed(world: World, **changes: Any) -> None:
    """Other limits from the next start on."""
    world.limits = replace(world.limits, **changes)

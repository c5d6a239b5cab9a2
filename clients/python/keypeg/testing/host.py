"""A location host inside the test's own process: a real gRPC server with a publisher of its own.

Promises: what a session with it sees is what a real host sends: verified proofs, codes, seats, a queue,
statuses with reasons. It listens on a Unix socket, or on loopback with TLS.

Leaves to others: the faults of the field (testing.scripts); whole systems: a real keypegd starts in a second
(`keypegd dev`).
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from keypeg import background, errors
from keypeg.clock import Clock, SystemClock
from keypeg.serving import ErrorInterceptor
from keypeg.testing.certificates import Certificate, make_certificate
from keypeg.testing.pool import StandInPool, Terms
from keypeg.testing.publisher import StandInPublisher
from keypeg.testing.scripts import Scripts
from keypeg.testing.services import SessionServicer, account_handlers
from keypeg.testing.sessions import Out, StandInSession
from keypeg.v1 import session_pb2, session_service_pb2_grpc
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse


class StandInHost(Scripts):
    """Start it with `with` (in plain tests) or `async with` (in coroutines).

        with StandInHost(product="demo") as host:
            with keypeg.open_session("demo", root=host.root, server=host.target, **host.alone) as session:
                host.unplug(...)

    `terms` may be changed at any time. `received` has every frame of every stream, in order. A host that is
    made `beside` another one is a second server of the same: sessions and seats are those of both.
    """

    def __init__(
        self,
        product: str = "stand-in",
        *,
        kind: str = "cloud",
        tls: bool = False,
        clock: Clock | None = None,
        publisher: StandInPublisher | None = None,
        beside: StandInHost | None = None,
        **terms: Any,
    ) -> None:
        self.terms: Terms = beside.terms if beside else Terms(kind=kind, product=product, **terms)
        self.publisher: StandInPublisher = (
            beside.publisher if beside else publisher or StandInPublisher()
        )
        super().__init__(
            beside.sessions if beside else {}, beside.pool if beside else StandInPool(self.terms)
        )
        self.home = ""  # the address of the server that clients which can follow are sent to
        self.following: list[bool] = []  # of every stream: whether it said that it can follow
        self.received: list[HoldSessionRequest] = []
        self.closed_from_outside: list[str] = []  # sessions closed by their release token
        self.cloud_session_device: str | None = ""  # None: not asked for; "": closed; else a device
        self.password = "stand-in-password"  # noqa: S105 (with which anybody signs in)
        self.tokens: list[str | None] = []  # the token of every stream
        self.tamper: Callable[[HoldSessionResponse], HoldSessionResponse | None] | None = None
        self._clock = clock or SystemClock()
        self._tls: bool = tls or bool(beside and beside._tls)
        self._certificate: Certificate | None = beside._certificate if beside else None
        self._directory: Path | None = None
        self._server: grpc.aio.Server | None = None
        self._numbers: Iterator[int] = (
            beside._numbers if beside else itertools.count(1)
        )  # of sessions
        self.target = ""
        self.ca: bytes | None = None

    @property
    def root(self) -> bytes:
        """What the app pins."""
        return self.publisher.root

    # Starting and stopping.

    async def start(self) -> None:
        """Serves from here on."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._server = grpc.aio.server(interceptors=(ErrorInterceptor(),))
        servicer = SessionServicer(self)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(servicer, self._server)
        self._server.add_generic_rpc_handlers(account_handlers(self))
        if self._tls:
            certificate = self._certificate or make_certificate(self._clock.wall())
            self._certificate = certificate
            credentials = grpc.ssl_server_credentials([(certificate.key, certificate.chain)])
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
            self.target, self.ca = f"localhost:{port}", certificate.chain
        else:
            self._directory = Path(tempfile.mkdtemp(prefix="keypeg-"))
            self.target = f"unix:{self._directory / 's'}"
            self._server.add_insecure_port(self.target)
        await self._server.start()

    async def stop(self) -> None:
        """Serves no more; streams are cut."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        background.run(self.start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        background.run(self.stop())

    # What the services use.

    def wall(self) -> Any:
        """The date that signatures are made at."""
        return self._clock.wall()

    def noticed(self) -> None:
        """Something has come."""
        if self._changed is not None:
            self._changed.set()

    def opened(self, first: HoldSessionRequest, out: Out) -> StandInSession:
        """The session of a new stream."""
        if self._away is not None:
            raise self._away
        if self._refusals:
            raise self._refusals.pop(0)
        if first.WhichOneof("frame") == "resume":
            return self._resumed(first.resume, out)
        self.check_cloud_session(first.open)
        if first.open.product != self.terms.product:
            raise errors.LicenseMissing(f"There is no license for {first.open.product}.")
        name = f"sessions/stand-in-{next(self._numbers)}"
        session = StandInSession(
            name, first.open, self.terms, self.pool, self.publisher, self._clock.wall
        )
        self.sessions[name] = session
        session.out = out
        session.answer_first(
            first.open.sequence, first.open.nonce, first.open.key_share, resumed=False
        )
        return session

    def check_cloud_session(self, frame: session_pb2.Open) -> None:
        """Refuses when another device, or none, holds the account's cloud session."""
        if not self._check_cloud or self.cloud_session_device == frame.device.id:
            return
        if not self.cloud_session_device:
            raise errors.CloudSessionClosed("The cloud session is closed; open it on this device.")
        raise errors.CloudSessionElsewhere(
            "Another device holds the cloud session.", device=self.cloud_session_device
        )

    def take(self, session: StandInSession, request: HoldSessionRequest) -> None:
        """A frame of an open session."""
        match request.WhichOneof("frame"):
            case "renew":
                session.renew(request.renew)
            case "acquire":
                self.pool.acquire(session, request.acquire)
            case "release":
                name, sequence = request.release.name, request.release.sequence
                if self.pool.release(name):
                    session.say(released=session_pb2.Released(sequence=sequence, name=name))
                else:
                    session.deny(sequence, errors.LeaseExpired(f"{name} is not held.", lease=name))
            case "close":
                self.close(session)
                session.say(closed=session_pb2.Closed(sequence=request.close.sequence))
            case other:
                raise errors.ProtocolViolation(f"{other} may not come here.")

    def close(self, session: StandInSession) -> None:
        """Ends a session, and gives back what it held."""
        self.sessions.pop(session.name, None)
        self.pool.release_all(session)

    def _resumed(self, frame: session_pb2.Resume, out: Out) -> StandInSession:
        session = self.sessions.get(frame.session)
        if session is None:
            raise errors.SessionExpired("The session is not known here.")
        session.check_resume(frame)
        if session.out is not None:
            session.out.put_nowait(errors.SessionSuperseded("Another stream has resumed it."))
        session.out = out
        session.answer_first(frame.sequence, frame.nonce, frame.key_share, resumed=True)
        return session

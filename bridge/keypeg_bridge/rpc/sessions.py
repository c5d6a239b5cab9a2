"""Sessions on keys: what a running app asks of the bridge, frame by frame.

Promises: the bridge counts no seats, and gives no answer that the app could not check. The stream is `session_service`; what
may come when is `protocol`; what keys prove is `key_proofs`; how long a session lives is `lives`, and what its key does to it `key_news`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from keypeg import names
from keypeg.errors import (
    FrameReplayed,
    KeypegError,
    KeyUnplugged,
    LicenseUnsuitable,
    LimitExceeded,
    LocationNotAllowed,
    NotFound,
    ResumeInvalid,
    SessionClosed,
    SessionExpired,
    SessionSuperseded,
)
from keypeg.v1 import location_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_bridge.rack.choice import Choice
from keypeg_bridge.rack.memory import Memory
from keypeg_bridge.rack.ports import Time
from keypeg_bridge.rack.rack import Rack
from keypeg_bridge.rack.record import grace_of
from keypeg_bridge.rack.states import State
from keypeg_bridge.rpc import replies
from keypeg_bridge.rpc.key_news import KeyNews
from keypeg_bridge.rpc.key_proofs import KeyProofs
from keypeg_bridge.rpc.lives import Lives, going
from keypeg_bridge.rpc.protocol import Event, Phase, after
from keypeg_bridge.rpc.session import Session, SessionSettings, Stream, release_of

TICKET_BYTES: Final = 32
_LOG = structlog.get_logger(__name__)


class Sessions:
    """The sessions of this bridge."""

    def __init__(
        self,
        rack: Rack,
        time: Time,
        location_host: str,
        secret: bytes,
        settings: SessionSettings | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
        memory: Memory | None = None,
    ) -> None:
        self._rack = rack
        self._time = time
        self._secret = secret
        self._settings = settings or SessionSettings()
        self._new_id = new_id
        self._lives = Lives(time, self._settings.valid_for)
        memory = memory or Memory()
        self._proofs = KeyProofs(rack, time, location_host, memory)
        self._news = KeyNews(self._lives, time, self._resumed, memory.objection)
        rack.listen(self._news.heard)

    def __len__(self) -> int:
        return len(self._lives)

    @property
    def left(self) -> asyncio.Event:
        """Set once the bridge drains and no session has a stream any more."""
        return self._lives.left

    async def open(self, frame: session_pb2.Open, stream: Stream) -> Session:
        """A new session on a key that opens the product; its `opened` is on the stream."""
        self._take_new(frame)
        name = names.SESSION.build(self._new_id())
        chosen, signature = await self._proofs.first(name, frame)
        session = Session(
            name=name,
            product=frame.product,
            key=chosen.key,
            activation=chosen.license.document.activation,
            grace=grace_of(chosen.license.document),
            ticket=secrets.token_bytes(TICKET_BYTES),
            sequence=frame.sequence,
            stream=stream,
            release=release_of(frame.app),
        )
        self._lives.begin(session)
        await stream.answer(self._opened(session, chosen, signature, frame.sequence, resumed=False))
        self._catch_up(session)
        return session

    async def resume(self, frame: session_pb2.Resume, stream: Stream) -> Session:
        """Go on with a session; its `opened` comes now, or when its key is back within the grace."""
        if self._lives.draining:
            raise going()
        session = self._lives.get(frame.session)
        if session is None:
            raise SessionExpired(
                f"{frame.session} is not known here, or has run out. Open a new session.",
                session=frame.session,
            )
        if not hmac.compare_digest(session.ticket, frame.resume_ticket):
            raise ResumeInvalid(
                f"The resume ticket is not that of {frame.session}. Open a new session.",
                session=frame.session,
            )
        self._take_sequence(session, frame.sequence)
        if session.stream is not None:
            session.stream.end(SessionSuperseded("Another stream has resumed this session."))
        session.stream = stream
        session.pending = None
        if session.phase is Phase.AWAY:
            session.pending = frame
            left = max(0.0, session.away_until - self._time.monotonic())
            stream.push(replies.missing(session, timedelta(seconds=left)))
        else:
            await self._resumed(session, frame)
        return session

    async def renew(self, session: Session, frame: session_pb2.Renew) -> None:
        """A fresh proof, or why there is none."""
        self._advance(session, Event.RENEW, frame.sequence)
        stream = session.stream
        if stream is None:
            return
        try:
            if session.phase is Phase.AWAY:
                raise KeyUnplugged(
                    f"The key {session.key} is not plugged in. Plug it in again.", key=session.key
                )
            chosen = self._proofs.again(session)
            signature = await self._proofs.prove(session.name, chosen, frame.nonce)
        except KeypegError as error:
            await stream.answer(replies.denied(frame.sequence, "", error))
            return
        session.activation = chosen.license.document.activation
        session.grace = grace_of(chosen.license.document)
        if session.phase is Phase.RUNNING:
            self._lives.go_on(session)
        given = self._proofs.proof(session, chosen, signature)
        await stream.answer(replies.renewed(self._settings, given, frame.sequence))

    async def acquire(self, session: Session, frame: session_pb2.Acquire) -> None:
        """There are no seats on keys."""
        self._advance(session, Event.ACQUIRE, frame.sequence)
        error = LicenseUnsuitable(
            f"Licenses on keys are not counted: {session.product} runs without a seat. For seats,"
            " ask a server.",
            rule="not_counted",
        )
        if session.stream is not None:
            await session.stream.answer(
                replies.denied(frame.sequence, frame.request_id[:64], error)
            )

    async def release(self, session: Session, frame: session_pb2.Release) -> None:
        """There is nothing to give back."""
        self._advance(session, Event.RELEASE, frame.sequence)
        error = NotFound("This session holds no seats and no queue places: it lives on a key.")
        if session.stream is not None:
            await session.stream.answer(replies.denied(frame.sequence, "", error))

    async def close(self, session: Session, frame: session_pb2.Close) -> None:
        """End the session at the app's own wish."""
        self._advance(session, Event.CLOSE, frame.sequence)
        stream = session.stream
        self._lives.forget(session, "closed by the app")
        if stream is not None:
            closed = session_pb2.Closed(sequence=frame.sequence)
            await stream.answer(HoldSessionResponse(closed=closed))
            stream.end()

    def close_by_token(self, name: str, release_token: bytes) -> bool:
        """End a session from outside; whether it was alive. Raises NotFound for another session's token."""
        if not hmac.compare_digest(self._release_token(name), release_token):
            raise NotFound(f"There is no {name} with this release token.", session=name)
        session = self._lives.get(name)
        if session is None:
            return False
        session.phase = Phase.ENDED
        stream = session.stream
        self._lives.forget(session, "closed by its release token")
        if stream is not None:
            stream.end(SessionClosed("The session was closed by its release token."))
        return True

    def lost(self, session: Session, stream: Stream) -> None:
        """A stream has ended."""
        self._lives.lost(session, stream)

    def drain(self, closes_in: timedelta) -> None:
        """Tell all apps that the bridge goes away, and take no new ones."""
        self._lives.drain(closes_in)

    def end_all(self) -> None:
        """End all streams, after `drain`."""
        self._lives.end_all()

    # Parts

    def _take_new(self, frame: session_pb2.Open) -> None:
        if self._lives.draining:
            raise going()
        if len(self._lives) >= self._settings.limit:
            raise LimitExceeded(
                f"The bridge holds {self._settings.limit} sessions, the most that it may.",
                limit="sessions.limit",
            )
        kinds = frame.location_kinds
        if kinds and location_pb2.LOCATION_KIND_KEY not in kinds:
            raise LocationNotAllowed(
                "The app takes no license from a key, and this bridge has no others. Ask a server.",
                allowed="key",
            )

    def _advance(self, session: Session, event: Event, sequence: int) -> None:
        """Check that a frame may come now, and that it comes for the first time."""
        following = after(session.phase, event)
        self._take_sequence(session, sequence)
        session.phase = following

    def _take_sequence(self, session: Session, sequence: int) -> None:
        if sequence <= session.sequence:
            raise FrameReplayed(
                f"The frame has sequence {sequence}, and {session.sequence} has been seen. Number"
                " frames upwards.",
                sequence=str(sequence),
                seen=str(session.sequence),
            )
        session.sequence = sequence

    async def _resumed(self, session: Session, frame: session_pb2.Resume) -> None:
        stream = session.stream
        if stream is None:
            return
        chosen = self._proofs.again(session)
        signature = await self._proofs.prove(session.name, chosen, frame.nonce)
        session.activation = chosen.license.document.activation
        session.grace = grace_of(chosen.license.document)
        if session.phase is Phase.RUNNING:
            self._lives.go_on(session)
        await stream.answer(self._opened(session, chosen, signature, frame.sequence, resumed=True))

    def _catch_up(self, session: Session) -> None:
        """A key that left while it proved has been announced before its session was known."""
        record = self._rack.key(session.key)
        if record.state in (State.MISSING, State.GONE):
            self._news.left(session, record)

    def _opened(
        self, session: Session, chosen: Choice, signature: bytes, sequence: int, *, resumed: bool
    ) -> HoldSessionResponse:
        return replies.opened(
            session,
            self._settings,
            self._proofs.proof(session, chosen, signature),
            chosen.license.document.location,
            self._release_token(session.name),
            sequence,
            resumed=resumed,
        )

    def _release_token(self, name: str) -> bytes:
        return hmac.digest(self._secret, b"release\0" + name.encode(), hashlib.sha256)

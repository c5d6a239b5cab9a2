"""Opening and resuming sessions: from a first frame to a session on its stream.

Promises: resuming never makes a second holder: the ticket, its session key and growing sequence numbers see to
that; another stream of the same session is ended. What is shown as held is on disk.

Leaves to others: whether an app may run (admitting.py), tickets (tickets.py), signing (the GrantSigner port).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keypeg import errors, names, protocol
from keypeg.errors import KeypegError
from keypeg.ids import id_text, uuid7
from keypeg.sessionkey import FrameAuthenticator, KeyShare, check
from keypeg.v1 import session_pb2
from keypeg.v1.proof_pb2 import Proof
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.clock import to_us
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.service import frames
from keypeg_server.service.admitting import ADMIT_TRIES, Admitting, changing
from keypeg_server.service.copies import Copies
from keypeg_server.service.ending import SessionEnding
from keypeg_server.service.grants import prove
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import Clock, Entitlement, GrantSigner
from keypeg_server.service.presence import Session, State
from keypeg_server.service.streams import Streams
from keypeg_server.service.telling import show_again
from keypeg_server.service.tickets import Ticket, TicketBox, resume_invalid

if TYPE_CHECKING:
    from keypeg_server.service.conversation import Conversation

RENEW_INTERVAL: Final = (timedelta(seconds=1), timedelta(seconds=30))  # the shortest and longest

_Found = tuple[list[Lease], list[Place]]


class Opening:
    """Puts sessions on streams."""

    def __init__(
        self,
        engine: Engine,
        admitting: Admitting,
        ending: SessionEnding,
        streams: Streams,
        signer: GrantSigner,
        tickets: TicketBox,
        clock: Clock,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._engine = engine
        self._admitting = admitting
        self._ending = ending
        self._presence = ending.presence
        self.copies: Final = Copies(ending, random)
        self._streams = streams
        self._signer = signer
        self._tickets = tickets
        self._clock = clock
        self._random = random

    async def open(self, conversation: Conversation, frame: session_pb2.Open) -> None:
        """A new session on this stream; `opened` goes to its outbox."""
        protocol.check(frame.protocol_version)
        ticket = Ticket(
            session=id_text(uuid7(to_us(self._clock.wall()), self._random(8))),
            user=conversation.caller.user,
            device=frames.device(frame.device),
            app=frames.app(frame.app),
            product=frame.product,
            kinds=tuple(frame.location_kinds),
            sequence=frame.sequence,
            key=b"",
        )
        entitlement, changes = await self._admitted(conversation, ticket)
        async with self.copies.turn(entitlement, ticket.device.id):
            for _ in range(ADMIT_TRIES):
                await self.copies.opens(ticket.session, entitlement, ticket.device.id, frame.mark)
                if changes == self._admitting.changes:
                    break
                entitlement, changes = await self._admitted(conversation, ticket)
            else:
                raise changing()
            session = Session(ticket.session, _holder(ticket), self._clock.monotonic())
            answer = self._attach(
                conversation, session, ticket, entitlement, frame.nonce, frame.key_share, None
            )
            conversation.outbox.push(answer)

    async def _admitted(
        self, conversation: Conversation, ticket: Ticket
    ) -> tuple[Entitlement, int]:
        """What lets a new session run, as of so many changes; a refusal is recorded."""
        try:
            entitlement = await self._admitting.admit(conversation.caller, ticket)
        except KeypegError as error:
            asker = replace(_holder(ticket), session="", address=conversation.address)
            account = conversation.caller.account
            if account is not None:
                self._engine.aftermath.not_opened(account, asker, ticket.product, error)
            raise
        return entitlement, self._admitting.changes

    async def resume(self, conversation: Conversation, frame: session_pb2.Resume) -> None:
        """Go on with a session on this stream; `opened` goes to its outbox."""
        protocol.check(frame.protocol_version)
        (id,) = names.SESSION.parse(frame.session, "session")
        ticket = self._tickets.open(frame.resume_ticket)
        if ticket.session != id or ticket.user != conversation.caller.user:
            raise resume_invalid()
        expected = FrameAuthenticator(ticket.key).resume(
            frame.sequence, frame.session, frame.nonce, frame.key_share
        )
        check(expected, frame.mac, "resume")
        self._resumable(id, ticket, frame.sequence)
        for _ in range(ADMIT_TRIES):
            entitlement = await self._admitting.admit(conversation.caller, ticket)
            changes = self._admitting.changes
            async with self.copies.turn(entitlement, ticket.device.id):
                await self.copies.resumes(id, entitlement, ticket.device.id, frame.mark)
                if changes == self._admitting.changes and await self._rejoin(
                    conversation, frame, ticket, entitlement
                ):
                    return
        raise changing()

    def prove(self, session: Session, nonce: bytes, leases: Iterable[Lease]) -> Proof:
        """What the app verifies, signed for this nonce."""
        return prove(self._signer, session, nonce, leases, self._clock.wall())

    async def _rejoin(
        self,
        conversation: Conversation,
        frame: session_pb2.Resume,
        ticket: Ticket,
        entitlement: Entitlement,
    ) -> bool:
        """Put a session back on a stream; False when what it was admitted by may have changed meanwhile."""
        id, changes = ticket.session, self._admitting.changes
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def attach(found: _Found | KeypegError) -> None:
            """Runs when what was found is on disk, before anything later is told to this session."""
            try:
                if isinstance(found, KeypegError):
                    raise found
                if conversation.outbox.ended:  # the stream has gone meanwhile
                    raise _superseded(frame.session)
                if changes != self._admitting.changes:
                    if not future.done():
                        future.set_result(False)
                    return
                self._admitting.check_seats(id, entitlement)
                session = self._resumable(id, ticket, frame.sequence) or Session(
                    id, _holder(ticket), self._clock.monotonic()
                )
                answer = self._attach(
                    conversation,
                    session,
                    replace(ticket, sequence=frame.sequence),
                    self._admitting.bounded(id, entitlement),
                    frame.nonce,
                    frame.key_share,
                    found,
                )
                conversation.outbox.push(answer)
                for pool, lease, why in self._engine.aftermath.recalls.of_session(id):
                    conversation.outbox.push(frames.recalled(pool.lease_prefix + lease, why))
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(True)

        self._engine.look(lambda: self._engine.holdings.of(id), attach)
        return await future

    def _resumable(self, id: str, ticket: Ticket, sequence: int) -> Session | None:
        """The session in memory, None when it is not there; the refusal when it may not go on."""
        session = self._presence.get(id)
        highest = ticket.sequence
        if session is not None:
            now = self._clock.monotonic()
            if session.state is not State.LIVE or now >= session.deadline:
                raise self._ending.dead(session, now)
            highest = max(highest, session.sequence)
            # A newer ticket was given out, and its holder has spoken since: this one was copied before.
            if ticket.sequence < session.ticket_sequence < session.sequence:
                raise resume_invalid()
        if sequence <= highest:
            raise errors.FrameReplayed(
                f"The frame resume has sequence number {sequence}, but {highest} came before; "
                "resume with a higher one.",
                sequence=str(sequence),
                highest=str(highest),
            )
        return session

    def _attach(
        self,
        conversation: Conversation,
        session: Session,
        ticket: Ticket,
        entitlement: Entitlement,
        nonce: bytes,
        key_share: bytes,
        found: _Found | None,
    ) -> HoldSessionResponse:
        """Put a session on a stream, and say so. Nothing is changed when it fails."""
        self._admitting.check_home(entitlement)
        self._streams.may_promise()
        share = KeyShare.generate()
        name = session.name
        key = share.agree(key_share, nonce, name)
        before = (session.client_share, session.server_share)
        session.caller = conversation.caller
        session.device, session.app, session.kinds = ticket.device, ticket.app, ticket.kinds
        session.product = ticket.product
        session.holder = replace(_holder(ticket), address=conversation.address)
        self._presence.admit(session, entitlement)
        session.client_share, session.server_share = key_share, share.public
        leases, places = found or ([], [])
        now = self._clock.monotonic()
        try:
            proof = self.prove(session, nonce, leases)
        except KeypegError:
            session.client_share, session.server_share = before
            if self._presence.get(session.id) is not session:
                self._presence.forget(session)
            raise
        session.authenticator = authenticator = FrameAuthenticator(key)
        session.sequence = session.ticket_sequence = ticket.sequence
        session.doubted = False
        session.deadline = max(session.deadline, now + session.extent)
        session.admitted_at = now
        if self._presence.get(session.id) is not session:
            self._presence.add(session)
        if session.link is not None:
            session.link.outbox.end(_superseded(name))
        session.link = conversation
        conversation.session = session
        self._streams.joined(conversation)
        shown = [frames.own_lease(frames.lease_name(lease), name, lease) for lease in leases]
        return HoldSessionResponse(
            opened=session_pb2.Opened(
                sequence=ticket.sequence,
                session=name,
                renew_interval=frames.duration(_renew_interval(entitlement.valid_for)),
                valid_for=frames.duration(entitlement.valid_for),
                proof=proof,
                key_share=share.public,
                resume_ticket=self._tickets.seal(replace(ticket, key=key)),
                release_token=self._tickets.release_token(session.id),
                resumed=found is not None,
                leases=shown,
                places=[show_again(session, place, self._engine) for place in places],
                pools=entitlement.pools,
                seat_required=entitlement.seat_required,
                location=entitlement.location,
                mac=authenticator.opened(
                    ticket.sequence, name, session.valid_for_us, found is not None, shown
                ),
            )
        )


def _holder(ticket: Ticket) -> Holder:
    return Holder(
        ticket.session,
        ticket.user,
        ticket.device.id,
        ticket.device.host_name,
        ticket.app.name,
        ticket.app.process_id,
    )


def _renew_interval(valid_for: timedelta) -> timedelta:
    shortest, longest = RENEW_INTERVAL
    return max(shortest, min(longest, valid_for / 3))


def _superseded(session: str) -> errors.SessionSuperseded:
    return errors.SessionSuperseded(
        f"Another stream has resumed {session}; this one is over.", session=session
    )

"""Sessions: opening, resuming, ending; what befalls them from outside.

Promises: a session runs only by what admission said, and is looked at again when that may have changed; what
ends it from outside is told at once, but its seats go to others only when it is released or its deadline has
passed. Resuming never makes a second holder: the ticket, its session key and growing sequence numbers see to that.

Leaves to others: frames on an open stream (conversation.py), seats (pools.py), what lets an app run
(the Entitlements port), signing (the GrantSigner port).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from weakref import WeakValueDictionary

from keypeg import errors, names
from keypeg.errors import KeypegError
from keypeg.ids import id_text, uuid7
from keypeg.sessionkey import FrameAuthenticator, KeyShare, check
from keypeg.v1 import location_pb2, session_pb2
from keypeg.v1.proof_pb2 import Proof
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.clock import to_us
from keypeg_server.domain import events, explain
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.record import Ending
from keypeg_server.service import frames
from keypeg_server.service.conversation import Conversation, expired, tell_acquired, tell_queued
from keypeg_server.service.events import EventHub
from keypeg_server.service.grants import prove
from keypeg_server.service.outbox import FRAMES_LIMIT
from keypeg_server.service.pools import RETRY_PAUSE, Engine, server_deadline
from keypeg_server.service.ports import (
    Clock,
    Entitlement,
    Entitlements,
    GrantSigner,
)
from keypeg_server.service.presence import Presence, Session, State, Waiting
from keypeg_server.service.tickets import Ticket, TicketBox, resume_invalid

RENEW_INTERVAL: Final = (timedelta(seconds=1), timedelta(seconds=30))  # the shortest and longest
ADMIT_TRIES: Final = 20  # while licenses change under an admission that is under way
_US: Final = timedelta(microseconds=1)

# The disk or the server, not the license: the session goes on, and is looked at again later.
_PASSING: Final = (errors.StorageUnavailable, errors.Busy, errors.Internal, errors.LimitExceeded)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may take, and why not more."""

    unread_frames: int = (
        FRAMES_LIMIT  # a few times what a session with all its seats is told at once
    )
    holdings: int = 100  # leases and places: one app's seats, not a queue full of them
    restart_grant: timedelta = timedelta(seconds=60)  # at least so long sessions may come back


class Sessions:
    """All sessions of this server. `start` comes first."""

    def __init__(
        self,
        engine: Engine,
        entitlements: Entitlements,
        signer: GrantSigner,
        tickets: TicketBox,
        clock: Clock,
        hub: EventHub,
        *,
        limits: SessionLimits = SessionLimits(),
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.engine: Final = engine
        self.clock: Final = clock
        self.limits: Final = limits
        self._entitlements = entitlements
        self._signer = signer
        self._tickets = tickets
        self._random = random
        self.presence: Final = Presence(clock, self.expire)
        self.presence.is_idle = lambda session: not engine.knows(session.id)
        self._linked: set[Conversation] = set()
        self._draining = False
        self._all_left: asyncio.Event | None = None  # while draining
        self._changes = 0  # events that may have made an admission under way wrong
        self._known: WeakValueDictionary[Any, Entitlement] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        engine.audience = self
        hub.subscribe(events.CloudSessionMoved, self._cloud_moved)
        hub.subscribe(events.CloudSessionClosed, self._cloud_closed)
        hub.subscribe(events.LicenseAdded, self._license_added)
        hub.subscribe(events.LicenseChanged, self._license_changed)
        hub.subscribe(events.LicenseRemoved, self._license_removed)
        hub.subscribe(events.UserRemoved, self._user_removed)

    async def start(self) -> None:
        """Load the pools; every session found in them gets one full grant to come back."""
        await self.engine.load()
        now = self.clock.monotonic()
        for id, items in self.engine.holders().items():
            longest = max(item.valid_for_us for item in items) * _US
            deadline = server_deadline(now, max(longest, self.limits.restart_grant))
            self.presence.add(Session(id, items[0].holder, deadline))
        self.engine.recall_cut()

    def converse(self, caller: Caller, wake: Callable[[], None], address: str = "") -> Conversation:
        """A new stream from a network address; see Outbox for `wake`."""
        return Conversation(self, caller, wake, address)

    # Opening and resuming.

    async def open(self, conversation: Conversation, frame: session_pb2.Open) -> None:
        """A new session on this stream; `opened` goes to its outbox."""
        frames.check_version(frame.protocol_version)
        ticket = Ticket(
            session=id_text(uuid7(to_us(self.clock.wall()), self._random(8))),
            user=conversation.caller.user,
            device=frames.device(frame.device),
            app=frames.app(frame.app),
            product=frame.product,
            kinds=tuple(frame.location_kinds),
            sequence=frame.sequence,
            key=b"",
        )
        entitlement = await self._admit(conversation.caller, ticket)
        session = Session(ticket.session, _holder(ticket), self.clock.monotonic())
        answer = self._attach(
            conversation, session, ticket, entitlement, frame.nonce, frame.key_share, None
        )
        conversation.outbox.push(answer)

    async def resume(self, conversation: Conversation, frame: session_pb2.Resume) -> None:
        """Go on with a session on this stream; `opened` goes to its outbox."""
        frames.check_version(frame.protocol_version)
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
            entitlement = await self._admit(conversation.caller, ticket)
            if await self._rejoin(conversation, frame, ticket, entitlement):
                return
        raise _changing()

    async def _rejoin(
        self,
        conversation: Conversation,
        frame: session_pb2.Resume,
        ticket: Ticket,
        entitlement: Entitlement,
    ) -> bool:
        """Put a session back on a stream; False when what it was admitted by may have changed meanwhile."""
        id, changes = ticket.session, self._changes
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def attach(found: tuple[list[Lease], list[Place]] | KeypegError) -> None:
            """Runs when what was found is on disk, before anything later is told to this session."""
            try:
                if isinstance(found, KeypegError):
                    raise found
                if conversation.outbox.ended:  # the stream has gone meanwhile
                    raise _superseded(frame.session)
                if changes != self._changes:
                    if not future.done():
                        future.set_result(False)
                    return
                self._check_seats(id, entitlement)
                session = self._resumable(id, ticket, frame.sequence) or Session(
                    id, _holder(ticket), self.clock.monotonic()
                )
                answer = self._attach(
                    conversation,
                    session,
                    replace(ticket, sequence=frame.sequence),
                    self._bounded(id, entitlement),
                    frame.nonce,
                    frame.key_share,
                    found,
                )
                conversation.outbox.push(answer)
                for pool, lease, why in self.engine.recalled_of(id):  # it may not have heard
                    conversation.outbox.push(frames.recalled(pool.lease_prefix + lease, why))
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(True)

        self.engine.look(lambda: self.engine.holdings(id), attach)
        return await future

    def _resumable(self, id: str, ticket: Ticket, sequence: int) -> Session | None:
        """The session in memory, None when it is not there; the refusal when it may not go on."""
        session = self.presence.get(id)
        highest = ticket.sequence
        if session is not None:
            now = self.clock.monotonic()
            if session.state is not State.LIVE or now >= session.deadline:
                raise self.dead(session, now)
            highest = max(highest, session.sequence)
        if sequence <= highest:
            raise errors.FrameReplayed(
                f"The frame resume has sequence number {sequence}, but {highest} came before; "
                "resume with a higher one.",
                sequence=str(sequence),
                highest=str(highest),
            )
        return session

    async def _admit(self, caller: Caller, ticket: Ticket) -> Entitlement:
        """What lets it run, as true now as what has been published."""
        for _ in range(ADMIT_TRIES):
            if self._draining:
                raise _draining()
            changes = self._changes
            entitlement = await self._entitlements.admit(
                caller,
                ticket.device,
                ticket.app,
                ticket.product,
                ticket.kinds,
                self.engine.pools_of(ticket.session),
            )
            await self.engine.present(entitlement.pools)
            if changes == self._changes and not self._draining:
                return self._interned(entitlement)
        raise _changing()

    def _check_seats(self, id: str, entitlement: Entitlement) -> None:
        """Nobody goes on by one license on the seats of another, of which there may be more.

        SessionExpired lets an app open a new session at once; the seats stay until it can not believe in them.
        """
        name = names.SESSION.build(id)
        for pool in self.engine.pools_of(id):
            if pool not in entitlement.pools:
                raise errors.SessionExpired(
                    f"The license of the seats that {name} has of {pool} serves it no more, but "
                    f"{entitlement.license} does; open a new session, and take seats there.",
                    session=name,
                    pool=pool,
                )

    def _bounded(self, id: str, entitlement: Entitlement) -> Entitlement:
        """For no longer than the rows of its seats say, for that is what a restart waits."""
        leases, places = self.engine.holdings(id)
        rows: list[Lease | Place] = [*leases, *places]
        least = min((row.valid_for_us for row in rows), default=None)
        if least is None or least * _US >= entitlement.valid_for:
            return entitlement
        return self._interned(replace(entitlement, valid_for=least * _US))

    def _interned(self, entitlement: Entitlement) -> Entitlement:
        """One object for all sessions that run by the same."""
        document = entitlement.license_document
        key = (
            entitlement.activation,
            entitlement.product,
            entitlement.products,
            entitlement.features,
            entitlement.location_kind,
            entitlement.valid_for,
            entitlement.seat_required,
            entitlement.pools,
            entitlement.ends_at,
            entitlement.delegation.SerializeToString(),
            b"" if document is None else document.SerializeToString(),
        )
        return self._known.setdefault(key, entitlement)

    def _attach(
        self,
        conversation: Conversation,
        session: Session,
        ticket: Ticket,
        entitlement: Entitlement,
        nonce: bytes,
        key_share: bytes,
        found: tuple[list[Lease], list[Place]] | None,
    ) -> HoldSessionResponse:
        """Put a session on a stream, and say so. Nothing is changed when it fails."""
        share = KeyShare.generate()
        name = session.name
        key = share.agree(key_share, nonce, name)
        before = (session.client_share, session.server_share)
        session.caller = conversation.caller
        session.device, session.app, session.kinds = ticket.device, ticket.app, ticket.kinds
        session.product = ticket.product
        session.holder = replace(_holder(ticket), address=conversation.address)
        self.presence.admit(session, entitlement)
        session.client_share, session.server_share = key_share, share.public
        leases, places = found or ([], [])
        now = self.clock.monotonic()
        try:
            proof = self.prove(session, nonce, leases)
        except KeypegError:
            session.client_share, session.server_share = before
            if self.presence.get(session.id) is not session:
                self.presence.forget(session)
            raise
        session.authenticator = FrameAuthenticator(key)
        session.sequence = ticket.sequence
        session.deadline = max(session.deadline, now + session.extent)
        session.admitted_at = now
        if self.presence.get(session.id) is not session:
            self.presence.add(session)
        if session.link is not None:
            session.link.outbox.end(_superseded(name))
        session.link = conversation
        conversation.session = session
        self._linked.add(conversation)
        shown = [frames.own_lease(frames.lease_name(lease), name, lease) for lease in leases]
        authenticator = session.authenticator
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
                places=[self._rejoined(session, place) for place in places],
                pools=entitlement.pools,
                seat_required=entitlement.seat_required,
                location=entitlement.location,
                mac=authenticator.opened(
                    ticket.sequence, name, session.valid_for_us, found is not None, shown
                ),
            )
        )

    def _rejoined(self, session: Session, place: Place) -> Any:
        """A place that a session has from an earlier stream."""
        pool = self.engine.by_id(place.pool)
        still_there = pool is not None and pool.place(place.id) is not None
        position = pool.position(place) if pool is not None and still_there else 1
        if session.waiting is None:
            session.waiting = {}
        waiting = session.waiting.setdefault(place.id, Waiting(0, place.request_id, position))
        waiting.sequence, waiting.position = 0, position
        if pool is None or not still_there or session.caller is None:
            return frames.queue_place(place, position, 1, session.name)
        why = explain.why_not(pool, place, self.engine.sight(session.caller), position=position)
        estimate = explain.estimated_wait(pool, place, position)
        return frames.queue_place(place, position, pool.waiting, session.name, why, estimate)

    def prove(self, session: Session, nonce: bytes, leases: Iterable[Lease]) -> Proof:
        """What the app verifies, signed for this nonce."""
        return prove(self._signer, session, nonce, leases, self.clock.wall())

    # Ending.

    def left(self, conversation: Conversation) -> None:
        """A stream is gone."""
        self._linked.discard(conversation)
        if self._all_left is not None and not self._linked:
            self._all_left.set()
        session = conversation.session
        if session is not None and session.link is conversation:
            session.link = None

    def dead(self, session: Session, now: float) -> KeypegError:
        """Why a session goes on no more; it is ended when its deadline has passed but not yet fired."""
        if now >= session.deadline:
            self.expire(session)
        return session.ended or expired(session.name)

    def end(self, session: Session, error: KeypegError) -> None:
        """The session may renew no more; what it holds stays until its holder can not believe in it."""
        if session.state is State.LIVE:
            session.state = State.ENDED
            session.ended = error
        if session.link is not None:
            session.link.outbox.end(error)

    def expire(self, session: Session) -> None:
        """The deadline has passed: release all that the session has, and forget it."""
        if session.state is State.FORGOTTEN:
            return
        if session.link is not None:
            session.link.outbox.end(session.ended or expired(session.name))

        def done(error: KeypegError | None) -> None:
            if error is not None:  # the disk is away: try until it is back
                self.presence.watch(session, self.clock.monotonic() + RETRY_PAUSE)

        session.state = State.DYING
        self._release_all(session, done, Ending.DEADLINE)

    def finish(
        self,
        session: Session,
        done: Callable[[KeypegError | None], None],
        how: Ending = Ending.CLOSED,
    ) -> None:
        """End a session whose holder is done with it; `done` hears when that is on disk, or why not."""
        before = session.state
        session.state = State.DYING

        def finished(error: KeypegError | None) -> None:
            if error is not None and session.state is State.DYING:
                session.state = before
            done(error)

        self._release_all(session, finished, how)

    async def close(self, name: str, token: bytes) -> bool:
        """End a session from outside by its release token; whether it was there."""
        (id,) = names.SESSION.parse(name, "session")
        if not self._tickets.is_release_token(id, token):
            raise errors.NotFound(
                f"There is no {name} that this token could end; use the token of its last `opened`.",
                resource=name,
            )
        session = self.presence.get(id)
        if session is None:
            return False
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: KeypegError | None) -> None:
            if error is None and session.link is not None:
                session.link.outbox.end(
                    errors.SessionClosed(
                        f"{name} was ended by its release token; open a new session.", session=name
                    )
                )
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

        self.finish(session, done, Ending.TOKEN)
        await future
        return True

    def _release_all(
        self, session: Session, done: Callable[[KeypegError | None], None], how: Ending
    ) -> None:
        def gone(error: KeypegError | None) -> None:
            if error is None:
                self.presence.forget(session)
                self.engine.forget(session.id)
            done(error)

        if self.engine.knows(session.id):
            self.engine.gone(session.id, gone, how)
        else:
            gone(None)

    async def drain(self, within: timedelta) -> None:
        """Tell every app to go elsewhere; after `within` at most, end the streams that are left."""
        self._draining = True
        closes_in = frames.duration(within)
        for conversation in tuple(self._linked):
            conversation.outbox.push(
                HoldSessionResponse(draining=session_pb2.Draining(closes_in=closes_in))
            )
        self._all_left = asyncio.Event()
        if self._linked:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_left.wait(), within.total_seconds())
        for conversation in tuple(self._linked):
            conversation.outbox.end(_draining())

    def stop(self) -> None:
        """Stop all timers and tasks; what is held stays on disk."""
        self.presence.stop()
        self.engine.stop()
        for task in tuple(self._tasks):
            task.cancel()

    # What befalls sessions: `Audience`, and events.

    def ends_at(self, session: str) -> float | None:
        """When a session's time runs out unless it renews."""
        found = self.presence.get(session)
        return None if found is None else found.deadline

    def served(self, pool: Pool, lease: Lease) -> None:
        """A session that waited holds a seat now."""
        session = self.presence.get(lease.holder.session)
        if session is not None:
            waiting = session.waiting.get(lease.id) if session.waiting else None
            sequence, request_id = (waiting.sequence, waiting.request_id) if waiting else (0, "")
            tell_acquired(session, session.link, pool, lease, sequence, request_id)

    def recalled(self, pool: Pool, lease: Lease, error: errors.LeaseRecalled) -> None:
        """A session has to stop using a seat, now."""
        session = self.presence.get(lease.holder.session)
        if session is not None and session.link is not None:
            session.link.outbox.push(frames.recalled(pool.lease_prefix + lease.id, error))

    def refused(self, pool: Pool, place: Place, error: KeypegError) -> None:
        """A session that waited does so no more."""
        session = self.presence.get(place.holder.session)
        waiting = session.waiting.pop(place.id, None) if session and session.waiting else None
        if session is not None and session.link is not None and waiting is not None:
            session.link.outbox.push(frames.denied(waiting.sequence, waiting.request_id, error))

    def moved(self, pool: Pool, place: Place, position: int, *, again: bool) -> None:
        """Where a session stands in a queue that has moved."""
        session = self.presence.get(place.holder.session)
        if session is not None and session.waiting is not None:
            waiting = session.waiting.get(place.id)
            if waiting is not None and (again or waiting.position != position):
                waiting.position = position
                tell_queued(session, pool, place, self.engine)

    def within_term(self, session: Session) -> KeypegError | None:
        """Cut what a session is granted to the term of its license; the refusal when that has ended."""
        entitlement = session.admitted
        assert entitlement.ends_at is not None
        left = entitlement.ends_at - self.clock.wall()
        if left <= timedelta(0):
            self.readmit(session)  # another license may serve; else this ends the session
            return errors.LicenseExpired(
                f"{entitlement.license} has ended; renew it with its publisher.",
                license=entitlement.license,
                expire_time=entitlement.ends_at.isoformat(),
            )
        if left < entitlement.valid_for:
            self.presence.admit(session, replace(entitlement, valid_for=left))
        return None

    def readmit(self, session: Session) -> None:
        """Look again whether a session may run; it goes on meanwhile."""
        session.admitted_at = self.clock.monotonic()
        task = asyncio.get_running_loop().create_task(self._readmit(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _readmit(self, session: Session) -> None:
        caller, device, app = session.caller, session.device, session.app
        if caller is None or device is None or app is None:
            return
        again = Ticket(session.id, caller.user, device, app, session.product, session.kinds, 0, b"")
        try:
            entitlement = await self._admit(caller, again)
            self._check_seats(session.id, entitlement)
        except (*_PASSING, errors.ServerDraining):
            return
        except KeypegError as error:
            self.end(session, error)
        else:
            if session.state is State.LIVE:
                self.presence.admit(session, self._bounded(session.id, entitlement))

    def _on_cloud(self, account: str) -> Iterable[Session]:
        for session in self.presence.of_account(account):
            if session.admitted.location_kind == location_pb2.LOCATION_KIND_CLOUD:
                yield session

    def _cloud_moved(self, event: events.CloudSessionMoved) -> None:
        self._changes += 1
        for session in self._on_cloud(event.account):
            if session.device is not None and session.device.id != event.to_device:
                where = event.to_host_name or event.to_device
                self.end(
                    session,
                    errors.CloudSessionMoved(
                        f"The cloud session of {event.account} was opened on {where}; "
                        "open it here again to go on here.",
                        account=event.account,
                        device=event.to_device,
                        host_name=event.to_host_name,
                    ),
                )

    def _cloud_closed(self, event: events.CloudSessionClosed) -> None:
        self._changes += 1
        for session in self._on_cloud(event.account):
            self.end(
                session,
                errors.CloudSessionClosed(
                    f"The cloud session of {event.account} was closed; open it to go on.",
                    account=event.account,
                ),
            )

    def _license_added(self, event: events.LicenseAdded) -> None:
        for session in self.presence.of_account(event.account):
            if session.product in event.products:
                _tell_changed(session, session_pb2.CHANGE_LICENSE_ADDED, event.license)

    def _license_changed(self, event: events.LicenseChanged) -> None:
        self._license_differs(event.account, event.license, session_pb2.CHANGE_LICENSE_CHANGED)

    def _license_removed(self, event: events.LicenseRemoved) -> None:
        self._license_differs(event.account, event.license, session_pb2.CHANGE_LICENSE_REMOVED)

    def _license_differs(
        self, account: str, license: str, change: session_pb2.Change.ValueType
    ) -> None:
        self._changes += 1
        for session in self.presence.of_account(account):
            if session.admitted.license == license and session.state is State.LIVE:
                _tell_changed(session, change, license)
                self.readmit(session)

    def _user_removed(self, event: events.UserRemoved) -> None:
        self._changes += 1
        for session in self.presence:
            if session.caller is not None and session.caller.user == event.user:
                self.end(
                    session,
                    errors.TokenInvalid(
                        f"{event.user} was removed; sign in as another user.", user=event.user
                    ),
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


def _tell_changed(session: Session, change: session_pb2.Change.ValueType, resource: str) -> None:
    if session.link is not None:
        session.link.outbox.push(
            HoldSessionResponse(changed=session_pb2.Changed(change=change, resource=resource))
        )


def _renew_interval(valid_for: timedelta) -> timedelta:
    shortest, longest = RENEW_INTERVAL
    return max(shortest, min(longest, valid_for / 3))


def _superseded(session: str) -> errors.SessionSuperseded:
    return errors.SessionSuperseded(
        f"Another stream has resumed {session}; this one is over.", session=session
    )


def _changing() -> errors.Busy:
    return errors.Busy(
        "Licenses change faster than this session can be opened; try again shortly.",
        retry_after=timedelta(seconds=1),
    )


def _draining() -> errors.ServerDraining:
    return errors.ServerDraining(
        "The server is going away; connect again, elsewhere or a little later, and resume.",
        retry_after=timedelta(seconds=1),
    )

"""The sessions of this server: its parts put together, and accounts that come and go with all their sessions.

Promises: every session that is found on disk when an account is taken over gets one full grant to come back;
when an account is given up, its streams end so that apps come back elsewhere, and nothing is written.

Leaves to others: opening and resuming (opening.py), admission (admitting.py), ending (ending.py), events
(upheavals.py), frames on an open stream (conversation.py), seats (pools.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import AccountAbandoned
from keypeg_server.service.admitting import Admitting
from keypeg_server.service.conversation import Conversation
from keypeg_server.service.deadlines import server_deadline
from keypeg_server.service.ending import SessionEnding
from keypeg_server.service.events import EventHub
from keypeg_server.service.opening import Opening
from keypeg_server.service.outbox import FRAMES_LIMIT
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import Clock, Entitlements, GrantSigner
from keypeg_server.service.presence import Presence, Session
from keypeg_server.service.refusals import elsewhere
from keypeg_server.service.streams import Streams
from keypeg_server.service.telling import Telling
from keypeg_server.service.term_watch import TermWatch
from keypeg_server.service.tickets import TicketBox
from keypeg_server.service.upheavals import Upheavals

_US: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What one session may take, and why not more."""

    unread_frames: int = (
        FRAMES_LIMIT  # a few times what a session with all its seats is told at once
    )
    holdings: int = 100  # leases and places: one app's seats, not a queue full of them
    restart_grant: timedelta = timedelta(seconds=60)  # at least so long sessions may come back


class Sessions:
    """All sessions of this server. `start` comes first, or `adopt` for each account."""

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
        self._hub = hub
        self.streams: Final = Streams(engine.alive)
        self.ending: Final = SessionEnding(engine, clock, tickets)
        self.presence: Final[Presence] = self.ending.presence
        self.admitting: Final = Admitting(engine, entitlements, clock, self.streams, self.ending)
        self.opening: Final = Opening(
            engine, self.admitting, self.ending, self.streams, signer, tickets, clock, random
        )
        self._terms: Final = TermWatch(clock, self.admitting.readmit)
        self.presence.bounded = self._terms.bounded
        engine.audience = Telling(engine, self.presence, clock)
        Upheavals(hub, self.admitting, self.ending)

    # Accounts that come and go.

    async def start(self) -> None:
        """Take over every account there is."""
        await self.adopt()

    async def adopt(self, account: str | None = None) -> None:
        """Load the pools of an account; every session found in them gets one full grant to come back.

        ServerDraining when the account was abandoned meanwhile.
        """
        pools = await self.engine.adopt(account)
        now = self.clock.monotonic()
        for id, items in self.engine.holdings.all_of(pools).items():
            if self.presence.get(id) is None:
                longest = max(item.valid_for_us for item in items) * _US
                deadline = server_deadline(now, max(longest, self.limits.restart_grant))
                self.presence.add(Session(id, items[0].holder, deadline))
        self.engine.aftermath.recall_cut(pools)

    def abandon(self, account: str) -> None:
        """Give up an account at once: end the streams of its sessions, forget them, and write nothing.

        Apps connect again, and resume wherever the account is taken over.
        """
        self.admitting.changes += 1  # what is under way is looked at again, and refused
        found = {session.id: session for session in self.presence.of_account(account)}
        for id in self.engine.abandon(account):
            if (session := self.presence.get(id)) is not None:
                found[id] = session
        for session in found.values():
            self.ending.drop(session, elsewhere(account))
        self._hub.publish(AccountAbandoned(account))

    def disconnect(self) -> None:
        """End every stream for now; sessions stay, and may resume once `alive` says so again."""
        self.streams.disconnect()

    # Streams.

    def converse(self, caller: Caller, wake: Callable[[], None], address: str = "") -> Conversation:
        """A new stream from a network address; see Outbox for `wake`."""
        return Conversation(self, caller, wake, address)

    def left(self, conversation: Conversation) -> None:
        """A stream is gone."""
        self.streams.left(conversation)
        session = conversation.session
        if session is not None and session.link is conversation:
            session.link = None
            self.opening.copies.gone(session)

    async def close(self, name: str, token: bytes) -> bool:
        """End a session from outside by its release token; whether it was there."""
        return await self.ending.close(name, token)

    # The end of the server.

    async def drain(self, within: timedelta) -> None:
        """Tell every app to go elsewhere; after `within` at most, end the streams that are left."""
        self.engine.aftermath.polls.drain()
        await self.streams.drain(within)

    def stop(self) -> None:
        """Stop all timers and tasks; what is held stays on disk."""
        self.presence.stop()
        self._terms.stop()
        self.engine.stop()
        self.admitting.stop()

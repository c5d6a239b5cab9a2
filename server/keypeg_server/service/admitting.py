"""Whether a session may run, and by what: asked when it opens or resumes, and again while it runs.

Promises: a session runs only by what admission said, and is looked at again when that may have changed; nobody
goes on by one license on the seats of another, nor for longer than the rows of its seats say.

Leaves to others: what lets an app run (the Entitlements port), who says that something changed (upheavals.py).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from weakref import WeakValueDictionary

from keypeg import errors, names
from keypeg.errors import KeypegError
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.service.ending import SessionEnding
from keypeg_server.service.pools import Engine
from keypeg_server.service.ports import Clock, Entitlement, Entitlements
from keypeg_server.service.presence import Session, State
from keypeg_server.service.refusals import elsewhere
from keypeg_server.service.streams import Streams
from keypeg_server.service.tickets import Ticket

ADMIT_TRIES: Final = 20  # while licenses change under an admission that is under way
_US: Final = timedelta(microseconds=1)

# The disk or the server, not the license: the session goes on, and is looked at again later.
_PASSING: Final = (
    errors.StorageUnavailable,
    errors.Busy,
    errors.Internal,
    errors.LimitExceeded,
    errors.ServerDraining,
)


class Admitting:
    """Asks the entitlements."""

    def __init__(
        self,
        engine: Engine,
        entitlements: Entitlements,
        clock: Clock,
        streams: Streams,
        ending: SessionEnding,
    ) -> None:
        self._engine = engine
        self._entitlements = entitlements
        self._clock = clock
        self._streams = streams
        self._ending = ending
        self.changes = 0  # events that may have made an admission under way wrong
        self._known: WeakValueDictionary[Any, Entitlement] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(self, caller: Caller, ticket: Ticket) -> Entitlement:
        """What lets it run, as true now as what has been published."""
        for _ in range(ADMIT_TRIES):
            self._streams.may_begin()
            changes = self.changes
            entitlement = await self._entitlements.admit(
                caller,
                ticket.device,
                ticket.app,
                ticket.product,
                ticket.kinds,
                self._engine.holdings.pools_of(ticket.session),
            )
            await self._engine.present(entitlement.pools)
            if changes == self.changes and not self._streams.draining:
                self.check_home(entitlement)
                return self._interned(entitlement)
        raise changing()

    def check_home(self, entitlement: Entitlement) -> None:
        """ServerDraining when this server serves the account no more."""
        if not self._engine.pools.serves(entitlement.account):
            raise elsewhere(entitlement.account)

    def check_seats(self, id: str, entitlement: Entitlement) -> None:
        """Nobody goes on by one license on the seats of another, of which there may be more.

        SessionExpired lets an app open a new session at once; the seats stay until it can not believe in them.
        """
        name = names.SESSION.build(id)
        for pool in self._engine.holdings.pools_of(id):
            if pool not in entitlement.pools:
                raise errors.SessionExpired(
                    f"The license of the seats that {name} has of {pool} serves it no more, but "
                    f"{entitlement.license} does; open a new session, and take seats there.",
                    session=name,
                    pool=pool,
                )

    def bounded(self, id: str, entitlement: Entitlement) -> Entitlement:
        """For no longer than the rows of its seats say, for that is what a restart waits."""
        leases, places = self._engine.holdings.of(id)
        rows: list[Lease | Place] = [*leases, *places]
        least = min((row.valid_for_us for row in rows), default=None)
        if least is None or least * _US >= entitlement.valid_for:
            return entitlement
        return self._interned(replace(entitlement, valid_for=least * _US))

    def within_term(self, session: Session) -> KeypegError | None:
        """Cut what a session is granted to the term of its license; the refusal when that has ended."""
        entitlement = session.admitted
        assert entitlement.ends_at is not None
        left = entitlement.ends_at - self._clock.wall()
        if left <= timedelta(0):
            self.readmit(session)  # another license may serve; else this ends the session
            return errors.LicenseExpired(
                f"{entitlement.license} has ended; renew it with its publisher.",
                license=entitlement.license,
                expire_time=entitlement.ends_at.isoformat(),
            )
        if left < entitlement.valid_for:
            if self._clock.monotonic() - session.admitted_at >= 1.0:
                self.readmit(session)  # by a license that lasts, where there is one
            self._ending.presence.admit(session, replace(entitlement, valid_for=left))
        return None

    def readmit(self, session: Session) -> None:
        """Look again whether a session may run; it goes on meanwhile."""
        session.admitted_at = self._clock.monotonic()
        task = asyncio.get_running_loop().create_task(self._readmit(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Look at no session any more."""
        for task in tuple(self._tasks):
            task.cancel()

    async def _readmit(self, session: Session) -> None:
        caller, device, app = session.caller, session.device, session.app
        if caller is None or device is None or app is None:
            return
        again = Ticket(session.id, caller.user, device, app, session.product, session.kinds, 0, b"")
        try:
            entitlement = await self.admit(caller, again)
            self.check_seats(session.id, entitlement)
        except _PASSING:
            return
        except KeypegError as error:
            self._ending.end(session, error)
        else:
            if session.state is State.LIVE:
                self._ending.presence.admit(session, self.bounded(session.id, entitlement))

    def _interned(self, entitlement: Entitlement) -> Entitlement:
        """One object for all sessions that run by the same."""
        site = entitlement.site_license
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
            entitlement.sold_as,
            entitlement.borrowing,
            entitlement.delegation.SerializeToString(),
            b"" if site is None else site.envelope.SerializeToString(),
        )
        return self._known.setdefault(key, entitlement)


def changing() -> errors.Busy:
    """The refusal while licenses change faster than they can be looked at."""
    return errors.Busy(
        "Licenses change faster than this session can be opened; try again shortly.",
        retry_after=timedelta(seconds=1),
    )

"""Sessions and seats without asyncio: the twin of keypeg.aio, on a thread of its own.

    with keypeg.open_session("cad", root=ROOT) as session:
        with session.seat(wait=True) as seat:
            ...

Promises: the same behavior as keypeg.aio, because it is the same code on a shared background thread;
`may_run` and the other properties never wait. A forked child is refused with a sentence; when the
interpreter ends, open sessions are closed within a bounded time.

Leaves to others: everything else (aio, background).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import Self

from keypeg import aio, background
from keypeg.clock import Clock
from keypeg.cloud_twin import CloudSession
from keypeg.errors import KeypegError
from keypeg.event_hub import OnEvent
from keypeg.events import Event
from keypeg.request import Cloud
from keypeg.seat import Lease, Place, SeatStage
from keypeg.session_state import State

__all__ = ["CloudSession", "Seat", "Session", "open_session"]


class Session:
    """A license in use by this app; made by `open_session`."""

    def __init__(self, session: aio.Session) -> None:
        self._session = session
        self._process_id = os.getpid()
        background.at_exit(self, session.close)

    @property
    def may_run(self) -> bool:
        """Whether the app may run at this moment; never waits."""
        return self._process_id == os.getpid() and self._session.may_run

    @property
    def state(self) -> State:
        """What the session is doing."""
        return self._session.state

    @property
    def time_left(self) -> timedelta:
        """For how long the app may run if nothing more is heard."""
        return self._session.time_left

    @property
    def error(self) -> KeypegError | None:
        """Why the session has stopped; None while it has not, and when the app closed it."""
        return self._session.error

    @property
    def name(self) -> str:
        """`sessions/{session}`; empty for a license document of this computer."""
        return self._session.name

    @property
    def product(self) -> str:
        """The product that was asked for."""
        return self._session.product

    @property
    def products(self) -> tuple[str, ...]:
        """Every product that the license opens."""
        return self._session.products

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are switched on."""
        return self._session.features

    @property
    def location(self) -> str:
        """Where the license lives."""
        return self._session.location

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that seats may be taken from, that of the product first."""
        return self._session.pools

    @property
    def seat_required(self) -> bool:
        """Whether the app must hold a seat to run."""
        return self._session.seat_required

    @property
    def license_expire_time(self) -> datetime | None:
        """The end of the license's term, where it is known and has one."""
        return self._session.license_expire_time

    @property
    def borrowed_until(self) -> datetime | None:
        """The end of the borrowed seat by which the app runs without a server; None when it runs otherwise."""
        return self._session.borrowed_until

    def require(self) -> None:
        """Raises why the app may not run; returns when it may. Never waits."""
        background.check_process(self._process_id)
        self._session.require()

    def events(self) -> Iterator[Event]:
        """What happens, from the opening on; waits for the next, and ends after `Stopped`."""
        background.check_process(self._process_id)
        events = self._session.events()
        while True:
            event = background.run(_next(events))
            if event is None:
                return
            yield event

    def seat(
        self,
        units: int = 1,
        features: Iterable[str] | Mapping[str, int] = (),
        *,
        wait: bool = False,
        timeout: float | timedelta | None = None,
        priority: int = 0,
        pool: str = "",
    ) -> Seat:
        """A seat to take: all that it names or none. `timeout` bounds the waiting; then it raises TimedOut."""
        background.check_process(self._process_id)
        seat = self._session.seat(
            units, features, wait=wait, timeout=timeout, priority=priority, pool=pool
        )
        return Seat(seat, self._process_id)

    def until_stopped(self) -> KeypegError | None:
        """Waits for the end of the session; returns why, None when the app closed it."""
        background.check_process(self._process_id)
        return background.run(self._session.until_stopped())

    def close(self) -> None:
        """Gives everything back and ends the session; waits a bounded time for the server's word."""
        if self._process_id != os.getpid():
            return  # the parent's; a child that ends must not end it
        background.not_at_exit(self)
        background.run(self._session.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return repr(self._session)


class Seat:
    """A seat of a session; made by `session.seat()`, taken by `with` or `acquire`."""

    def __init__(self, seat: aio.Seat, process_id: int) -> None:
        self._seat = seat
        self._process_id = process_id

    @property
    def stage(self) -> SeatStage | None:
        """Where it stands; None before it is asked for."""
        return self._seat.stage

    @property
    def held(self) -> bool:
        """Whether it is held now, and its session may run; true to the clock as `may_run` is."""
        return self._process_id == os.getpid() and self._seat.held

    @property
    def lease(self) -> Lease | None:
        """What is, or was, held."""
        return self._seat.lease

    @property
    def fencing_number(self) -> int:
        """Grows with every lease of the pool; 0 when nothing was held yet."""
        return self._seat.fencing_number

    @property
    def place(self) -> Place | None:
        """The place in the queue, while there is one."""
        return self._seat.place

    @property
    def error(self) -> KeypegError | None:
        """Why it is held no more, unless the app gave it back."""
        return self._seat.error

    def require(self) -> None:
        """Raises why the seat is not held; returns when it is. Never waits."""
        background.check_process(self._process_id)
        self._seat.require()

    def acquire(self) -> Self:
        """Takes it; raises why it is not given, TimedOut after `timeout`."""
        background.check_process(self._process_id)
        background.run(self._seat.acquire())
        return self

    def release(self) -> None:
        """Gives it back, and waits a bounded time until the server says so. Again: nothing."""
        if self._process_id == os.getpid():
            background.run(self._seat.release())

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def open_session(
    product: str,
    *,
    root: bytes | str,
    publisher: str | None = None,
    server: str | Iterable[str] | None = None,
    ca_file: str | None = None,
    bridge: str | None = None,
    token: str | None = None,
    credential: str | None = None,
    profile: str | None = None,
    account: str | None = None,
    app_name: str | None = None,
    app_version: str = "",
    app_released: date | None = None,
    on_event: OnEvent | None = None,
    locations: Iterable[str] | None = None,
    cloud: Cloud | None = None,
    clock: Clock | None = None,
) -> Session:
    """Opens a session for a product; raises why the app may not run.

    `root`: the publisher's public key that the app pins, 32 bytes or hexadecimal. `publisher`: its name,
    where the app wants no other. `server` (`host:port`, several separated by commas), `ca_file`, `token`,
    `account` and `bridge` override the profile and the environment. `credential`: a file that signs in; nothing of
    it is kept. `locations`: kinds of place to ask, of
    cloud, key, host, site; all by default. `cloud`: what to do when the account's cloud session is not on
    this device: ask or never (raise), open, move. `app_version` (dotted numbers) and `app_released` (a day, or a
    moment): what licenses for some versions alone are judged by. `on_event`: called with each event on a thread of its own.
    """

    async def opening() -> aio.Session:
        return await aio.open_session(
            product,
            root=root,
            publisher=publisher,
            server=server,
            ca_file=ca_file,
            bridge=bridge,
            token=token,
            credential=credential,
            profile=profile,
            account=account,
            app_name=app_name,
            app_version=app_version,
            app_released=app_released,
            on_event=on_event,
            locations=locations,
            cloud=cloud,
            clock=clock,
        )

    return Session(background.run(opening()))


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)

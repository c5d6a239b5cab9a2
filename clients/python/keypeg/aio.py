"""Sessions and seats for asyncio.

    async with keypeg.aio.open_session("cad", root=ROOT) as session:
        async with session.seat(wait=True) as seat:
            ...

Promises: an open session renews, reconnects and resumes by itself until it is closed or over; `may_run` is
always true to the clock. Leaving a block gives back what was taken in it, also when the task is cancelled.

Leaves to others: where a license is looked for (client), and use without asyncio (session).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator, Iterable, Mapping
from datetime import date, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from keypeg.aio_seat import Driver, Seat
from keypeg.client import open_first
from keypeg.clock import Clock
from keypeg.cloud import CloudSession
from keypeg.errors import KeypegError
from keypeg.event_hub import EventHub, OnEvent
from keypeg.events import Event
from keypeg.launching import Launch, launch
from keypeg.request import Cloud, Request
from keypeg.seat import Wish, features_of
from keypeg.session_state import State

__all__ = ["CloudSession", "Launch", "Seat", "Session", "launch", "open_session"]


class Session:
    """A license in use by this app; made by `open_session`."""

    def __init__(self, driver: Driver, clock: Clock, hub: EventHub) -> None:
        self._driver = driver
        self._clock = clock
        self._hub = hub

    @property
    def may_run(self) -> bool:
        """Whether the app may run at this moment."""
        return self._driver.view.refusal(self._clock.monotonic()) is None

    @property
    def state(self) -> State:
        """What the session is doing."""
        return self._driver.view.state

    @property
    def time_left(self) -> timedelta:
        """For how long the app may run if nothing more is heard."""
        return self._driver.view.time_left(self._clock.monotonic())

    @property
    def error(self) -> KeypegError | None:
        """Why the session has stopped; None while it has not, and when the app closed it."""
        return self._driver.view.error

    @property
    def name(self) -> str:
        """`sessions/{session}`; empty for a license document of this computer."""
        return self._driver.view.name

    @property
    def product(self) -> str:
        """The product that was asked for."""
        return self._driver.view.product

    @property
    def products(self) -> tuple[str, ...]:
        """Every product that the license opens."""
        return self._driver.view.products

    @property
    def features(self) -> tuple[str, ...]:
        """The features that are switched on."""
        return self._driver.view.features

    @property
    def location(self) -> str:
        """Where the license lives."""
        return self._driver.view.location

    @property
    def pools(self) -> tuple[str, ...]:
        """The pools that seats may be taken from, that of the product first."""
        return self._driver.view.pools

    @property
    def seat_required(self) -> bool:
        """Whether the app must hold a seat to run."""
        return self._driver.view.seat_required

    @property
    def license_expire_time(self) -> datetime | None:
        """The end of the license's term, where it is known and has one."""
        return self._driver.view.license_expire_time

    @property
    def borrowed_until(self) -> datetime | None:
        """The end of the borrowed seat by which the app runs without a server; None when it runs otherwise."""
        return self._driver.view.borrowed_until

    def require(self) -> None:
        """Raises why the app may not run; returns when it may."""
        refusal = self._driver.view.refusal(self._clock.monotonic())
        if refusal is not None:
            raise refusal

    def events(self) -> AsyncIterator[Event]:
        """What happens, from the opening on; ends after `Stopped`."""
        return self._hub.listen()

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
        wish = Wish(pool, units, features_of(features), wait, priority)
        return Seat(self._driver, self._clock, wish, seconds(timeout))

    async def until_stopped(self) -> KeypegError | None:
        """Waits for the end of the session; returns why, None when the app closed it."""
        return await self._driver.until_stopped()

    async def close(self) -> None:
        """Gives everything back and ends the session; waits a bounded time for the server's word."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        view = self._driver.view
        return f"<keypeg session {view.name or 'of this computer'}: {view.product}, {view.state.value}>"


class Opening(Awaitable[Session]):
    """What `open_session` returns: await it, or use it with `async with`."""

    def __init__(self, request: Request, on_event: OnEvent | None) -> None:
        self._request = request
        self._on_event = on_event
        self._session: Session | None = None

    def __await__(self) -> Generator[Any, None, Session]:
        return self._open().__await__()

    async def __aenter__(self) -> Session:
        self._session = await self._open()
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> Session:
        hub = EventHub(self._on_event)
        driver = await open_first(self._request, hub)
        return Session(driver, self._request.clock, hub)


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
) -> Opening:
    """Opens a session; see `keypeg.open_session` for what the arguments mean."""
    request = Request.make(
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
        locations=locations,
        cloud=cloud,
        clock=clock,
    )
    return Opening(request, on_event)


def seconds(timeout: float | timedelta | None) -> float | None:
    """A timeout in seconds."""
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout

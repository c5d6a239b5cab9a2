"""The works of a launch, done: looking, finding out, using a place.

Promises: what is refused comes back as an outcome with its error, never as an exception; a call ends within its
time. `always` is remembered before the place is used.

Leaves to others: what is done when (launch_flow), signing in (launch_sign_in), keys and this computer (launch_placing).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from keypeg import launch_finding, launch_placing, launch_profile, launch_sign_in
from keypeg.client import open_first
from keypeg.cloud import CloudSession
from keypeg.errors import KeypegError
from keypeg.event_hub import EventHub, OnEvent
from keypeg.launch_memory import Memory
from keypeg.launch_steps import Tell
from keypeg.launch_survey import CLOUD, HOST, KEY, Survey
from keypeg.launch_works import (
    BeginCode,
    Done,
    Find,
    FinishCode,
    Found,
    Import,
    Look,
    OntoHost,
    OntoKey,
    OpenCloud,
    Outcome,
    PutIntoCloud,
    Refused,
    SignIn,
    Surveyed,
    Terms,
    Work,
)
from keypeg.request import Request

if TYPE_CHECKING:
    from keypeg.aio import Session
    from keypeg.profile import Profile

FIND_TIME: Final = 20.0  # s for all that is asked of server and bridge

Open = Callable[[Request, OnEvent | None], Awaitable[Any]]
"""Opens a session; raises why not."""


async def open_session(request: Request, on_event: OnEvent | None) -> Session:
    """A session, as an app gets it."""
    from keypeg.aio import Session

    hub = EventHub(on_event)
    driver = await open_first(request, hub)
    return Session(driver, request.clock, hub)


class Worker:
    """Does what one launch wants, for one computer and whoever is signed in."""

    def __init__(
        self,
        request: Request,
        terms: Terms,
        memory: Memory,
        on_event: OnEvent | None = None,
        opens: Open = open_session,
        tell: Tell | None = None,
    ) -> None:
        self._request = replace(request, profile=launch_profile.settled(request.profile))
        self._terms = terms
        self._memory = memory
        self._on_event = on_event
        self._opens = opens
        self._tell: Tell = tell or (lambda progress: None)
        self._sign_ins = launch_sign_in.SignIns(request.clock, request.pinned.device)
        self._survey: Survey | None = None

    @property
    def profile(self) -> Profile:
        """Who is signed in, and where."""
        return self._request.profile

    async def do(self, work: Work) -> Outcome:
        """Does it."""
        try:
            return await self._done(work)
        except KeypegError as error:
            profile = self.profile
            sealed = isinstance(work, Import) and launch_sign_in.is_sealed(work.path)
            signed_in = bool(profile.token or profile.credential)
            providers = () if signed_in else await self._sign_ins.providers(profile)
            return Refused(error, signed_in, profile.server, is_sealed=sealed, providers=providers)

    async def _done(self, work: Work) -> Outcome:
        match work:
            case Look():
                return Found(await self._opens(self._request, self._on_event))
            case SignIn():
                return self._sign_in_as(await self._sign_ins.with_password(self.profile, work))
            case Import():
                profile = await self._sign_ins.with_file(self.profile, work)
                return self._sign_in_as((profile, ""))
            case BeginCode():
                return await self._sign_ins.begin_code(self.profile, work)
            case FinishCode():
                return self._sign_in_as(await self._sign_ins.finish_code(work))
            case Find():
                return await self._find()
            case OpenCloud():
                self._remember(CLOUD, work.always)
                async with self._cloud() as cloud:
                    await cloud.open(move=work.move)
            case PutIntoCloud(license):
                async with self._cloud() as cloud:
                    await cloud.choose(add=[license])
            case OntoKey():
                self._remember(KEY, work.always)
                await launch_placing.onto_key(self._request, work, self._tell)
            case OntoHost():
                self._remember(HOST, work.always)
                await launch_placing.onto_host(self._request, work, self._tell)
        return Done()

    def _sign_in_as(self, signed_in: tuple[Profile, str]) -> Done:
        profile, tells = signed_in
        self._request = replace(self._request, profile=profile)
        return Done(tells)

    async def _find(self) -> Surveyed:
        request = self._request
        try:
            async with asyncio.timeout(FIND_TIME):
                survey = await launch_finding.find(request, self._terms.product)
        except TimeoutError:
            raise launch_finding.too_slow(FIND_TIME) from None
        self._survey = survey
        return Surveyed(survey, self._memory.always(survey.user, self._terms.family))

    def _remember(self, place: str, always: bool) -> None:
        assert self._survey is not None, "nobody was offered it"
        survey, now = self._survey, self._request.clock.wall()
        if always:
            self._memory.remember(survey.user, survey.login, self._terms.family, now, place)

    def _cloud(self) -> CloudSession:
        assert self._survey is not None
        account = self._survey.account
        profile = replace(self.profile, account=account)
        return CloudSession(profile=profile, device=self._request.pinned.device)

"""The works of a launch, done: looking, signing in, finding out, opening the cloud session.

Promises: what is refused comes back as an outcome with its error, never as an exception; a call ends within its
time. A password is sent once, over TLS or a Unix socket, and kept nowhere.

Leaves to others: what is done when (launch_flow).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from keypeg import launch_finding, launch_profile
from keypeg import profile as profiles
from keypeg.client import open_first
from keypeg.cloud import CALL_TIMEOUT, CloudSession
from keypeg.errors import FieldInvalid, KeypegError
from keypeg.event_hub import EventHub, OnEvent
from keypeg.launch_flow import (
    Done,
    Find,
    Found,
    Look,
    OpenCloud,
    Outcome,
    PutIntoCloud,
    Refused,
    SignIn,
    Surveyed,
    Terms,
    Work,
)
from keypeg.launch_memory import Memory
from keypeg.launch_survey import Survey
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
    ) -> None:
        self._request = replace(request, profile=launch_profile.settled(request.profile))
        self._terms = terms
        self._memory = memory
        self._on_event = on_event
        self._opens = opens
        self._survey: Survey | None = None

    @property
    def profile(self) -> Profile:
        """Who is signed in, and where."""
        return self._request.profile

    async def do(self, work: Work) -> Outcome:
        """Does it."""
        try:
            match work:
                case Look():
                    return Found(await self._opens(self._request, self._on_event))
                case SignIn():
                    return Done(tells=await self._sign_in(work))
                case Find():
                    return await self._find()
                case OpenCloud():
                    if work.always:
                        self._remember()
                    async with self._cloud() as cloud:
                        await cloud.open(move=work.move)
                case PutIntoCloud(license):
                    async with self._cloud() as cloud:
                        await cloud.choose(add=[license])
        except KeypegError as error:
            profile = self.profile
            signed_in = bool(profile.token or profile.credential)
            return Refused(error, signed_in, profile.server)
        return Done()

    async def _sign_in(self, work: SignIn) -> str:
        """What the person has to hear; empty for nothing."""
        import grpc

        from keypeg import calls, sign_in
        from keypeg.factor_reset import told_in
        from keypeg.v1 import account_service_pb2 as pb
        from keypeg.v1 import account_service_pb2_grpc as rpc

        profile = replace(self.profile, server=self.profile.server or work.server)
        for text, field in ((profile.server, "server"), (work.login, "login")):
            if not text:
                raise FieldInvalid(f"Fill in the {field}.", field=field)
        if work.remember:
            keeper = profiles.keeper(profile.name, profile.tokens)
            await asyncio.to_thread(keeper.check)
        ca = None if profile.server.startswith("unix:") else profile.ca_certificates()
        channel = calls.connect(profile.server, ca=ca)
        begun = self._request.clock.wall()
        try:
            answer = await rpc.AccountServiceStub(channel).SignIn(
                pb.SignInRequest(login=work.login, password=work.password, code=work.code),
                timeout=CALL_TIMEOUT,
            )
        except grpc.RpcError as error:
            raise calls.translate(error) from None
        finally:
            await channel.close()
        signed_in = sign_in.in_memory(profile, answer, begun)
        if work.remember:
            tokens = sign_in.tokens_in(answer, begun)
            await asyncio.to_thread(sign_in.keep_tokens, profile, tokens)
            signed_in = launch_profile.kept(replace(signed_in, in_memory=None))
        self._request = replace(self._request, profile=signed_in)
        return told_in(answer)

    async def _find(self) -> Surveyed:
        request = self._request
        try:
            async with asyncio.timeout(FIND_TIME):
                survey = await launch_finding.find(request, self._terms.product)
        except TimeoutError:
            raise launch_finding.too_slow(FIND_TIME) from None
        self._survey = survey
        return Surveyed(survey, self._memory.is_always(survey.user, self._terms.family))

    def _remember(self) -> None:
        assert self._survey is not None, "nobody was offered it"
        survey, now = self._survey, self._request.clock.wall()
        self._memory.remember(survey.user, survey.login, self._terms.family, now)

    def _cloud(self) -> CloudSession:
        assert self._survey is not None
        account = self._survey.account
        profile = replace(self.profile, account=account)
        return CloudSession(profile=profile, device=self._request.pinned.device)

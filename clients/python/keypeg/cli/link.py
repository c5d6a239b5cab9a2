"""Calls of the command line: bounded, repeated once, and refused in words that name the other side.

Promises: a call ends within its deadline; what was lost on the way is sent once more with the same
request, and so with the same request id; a listing follows all pages up to PAGES; every failure is a
KeypegError.

Leaves to others: channels and the translation of errors (keypeg.calls), and what is asked.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import grpc.aio

from keypeg import calls, errors, names, sign_in, watching
from keypeg.servers import why

if TYPE_CHECKING:
    from keypeg.profile import Profile
    from keypeg.v1 import account_service_pb2

Response = TypeVar("Response")
Item = TypeVar("Item")

DEADLINE: Final = 10.0  # seconds for one call; a person is waiting
PAGE_SIZE: Final = 1000  # the most that the server gives at once
PAGES: Final = 100  # 100,000 rows: what a terminal or a script still wants of one command


def request_id() -> str:
    """A new request id: made once per command, and the same when the call is repeated."""
    return str(uuid.uuid4())


@dataclass
class Link:
    """One channel, and what is at its other end."""

    channel: grpc.aio.Channel
    target: str
    role: str
    account_hint: str = ""
    deadline: float = DEADLINE

    @classmethod
    def to_server(cls, profile: Profile) -> Link:
        """The server of a profile."""
        from os import environ

        channel = calls.connect(
            profile.server, ca=profile.ca_certificates(), token=sign_in.token_of(profile)
        )
        hint = "" if environ.get("KEYPEG_TOKEN") else profile.account
        return cls(channel, profile.server, "server", hint)

    @classmethod
    def to_bridge(cls, target: str, profile: Profile) -> Link:
        """A bridge; on a Unix socket the certificates play no part."""
        ca = None if target.startswith("unix:") else profile.ca_certificates()
        return cls(calls.connect(target, ca=ca), target, "bridge")

    async def call(self, method: Callable[..., Awaitable[Response]], request: Any) -> Response:
        """One call, once more when the connection was lost."""
        try:
            return await self._once(method, request)
        except errors.Unreachable:
            return await self._once(method, request)

    async def _once(self, method: Callable[..., Awaitable[Response]], request: Any) -> Response:
        try:
            return await method(request, timeout=self.deadline)
        except grpc.aio.AioRpcError as error:
            raise self.named(calls.translate(error), error.details() or "") from error

    async def every(
        self,
        method: Callable[..., Awaitable[Response]],
        request: Any,
        take: Callable[[Response], Iterable[Item]],
    ) -> list[Item]:
        """All items of a listing, page by page."""
        found: list[Item] = []
        request.page_size = PAGE_SIZE
        for _ in range(PAGES):
            response = await self.call(method, request)
            found += take(response)
            token = getattr(response, "next_page_token", "")
            if not token:
                return found
            request.page_token = token
        raise errors.LimitExceeded(
            f"There are more than {PAGES * PAGE_SIZE} of these; ask for fewer, or call the API.",
            limit="cli.pages",
        )

    async def watch(
        self, begin: Callable[[], Awaitable[Any]], note: Callable[[str], None]
    ) -> AsyncGenerator[Any, None]:
        """The answers of a stream, begun again when its connection was lost, which is noted."""

        def translate(error: grpc.aio.AioRpcError) -> errors.KeypegError:
            return self.named(calls.translate(error), error.details() or "")

        def lost(error: errors.KeypegError) -> None:
            note(f"{error} Connecting again.")

        async with contextlib.aclosing(watching.answers(begin, translate, lost)) as answers:
            async for answer in answers:
                yield answer

    async def caller(self) -> account_service_pb2.GetCallerResponse:
        """Who is signed in."""
        from keypeg.v1 import account_service_pb2 as pb
        from keypeg.v1 import account_service_pb2_grpc as rpc

        return await self.call(
            rpc.AccountServiceStub(self.channel).GetCaller, pb.GetCallerRequest()
        )

    async def account(self, chosen: str | None) -> str:
        """The account to work on: the chosen one, else the caller's."""
        if chosen:
            return chosen if "/" in chosen else names.ACCOUNT.build(chosen)
        account = self.account_hint or (await self.caller()).account
        if not account:
            raise errors.FieldInvalid(
                "You work for a publisher, so you have no account of your own; "
                "name a customer's with --account."
            )
        return account

    def named(self, error: errors.KeypegError, details: str) -> errors.KeypegError:
        """The error with the other side's name, where it says only that there is none."""
        if "servers" in error.metadata:
            return error  # it names each of several
        if isinstance(error, errors.Unreachable):
            return errors.Unreachable(
                f"The {self.role} at {self.target} can not be reached: {why(details)}.",
                target=self.target,
            )
        if isinstance(error, errors.TimedOut):
            return errors.TimedOut(
                f"The {self.role} at {self.target} did not answer within {self.deadline:g} s.",
                target=self.target,
            )
        return error

    async def close(self) -> None:
        """Close the channel."""
        await self.channel.close()

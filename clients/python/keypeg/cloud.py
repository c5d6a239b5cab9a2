"""The account's cloud session, for asyncio: opened, moved, closed, and what is in the cloud.

    async with keypeg.aio.CloudSession() as cloud:
        shown = await cloud.open()
        print(shown.letter, shown.implies)

Promises: it is taken from another device only when the app says so; each change is asked for under one request id,
so that it happens once; what the server refuses is the error of its reason.

Leaves to others: when a session needs it (client), asking a person (the app, cli), use without asyncio (cloud_twin).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from keypeg import hostinfo, names, servers, sign_in
from keypeg import profile as profiles
from keypeg.errors import FieldInvalid, KeypegError, Reason
from keypeg.profile import Profile

if TYPE_CHECKING:
    from keypeg.dialing import CallToken, TokenSource
    from keypeg.v1 import cloud_session_pb2

Mode = Literal["automatic", "managed"]
"""Who chooses what is in the cloud: automatic takes every free license, managed what was chosen."""

_MODES: Final = {"automatic": 1, "managed": 2}  # as keypeg.v1.CloudMode
_OPEN: Final = 2  # as keypeg.v1.CloudSessionState
_HELPS: Final = {
    "open": frozenset({Reason.CLOUD_SESSION_CLOSED}),
    "move": frozenset({Reason.CLOUD_SESSION_CLOSED, Reason.CLOUD_SESSION_ELSEWHERE}),
}


@dataclass(frozen=True)
class CloudState:
    """An account's cloud session as it is."""

    name: str
    is_open: bool
    mode: str  # `automatic` or `managed`
    letter: str  # `A` or `M`: to be shown wherever the cloud session is
    implies: str  # what the mode means now, for a person
    device: str  # id of the device that holds it; empty when closed
    host_name: str
    open_time: datetime | None
    user: str
    activations: tuple[str, ...]  # in the cloud; reserved while it is closed
    generation: int  # grows whenever it is opened, moved or closed, and with its mode


def can_help(error: KeypegError, policy: str) -> bool:
    """Whether opening the cloud session here would remove the error, and the app wants that."""
    return error.reason in _HELPS.get(policy, frozenset())


async def open_here(profile: Profile, device: str, *, move: bool) -> None:
    """Opens the account's cloud session on this device; `move`: also when another device has it."""
    async with CloudSession(profile=profile, device=device) as cloud:
        await cloud.open(move=move)


class CloudSession:
    """The one cloud session of the account that is signed in on this computer."""

    def __init__(
        self,
        *,
        profile: str | Profile | None = None,
        server: str | Iterable[str] | None = None,
        ca_file: str | None = None,
        token: str | None = None,
        account: str | None = None,
        device: str | None = None,
        credential: str | None = None,
    ) -> None:
        """`server`, `ca_file`, `token`, `account` and `credential` (a file) override the profile and the environment."""
        if not isinstance(profile, Profile):
            address = None if server is None else servers.joined(server)
            profile = profiles.given(profile, address, ca_file, token, account, credential)
        if not profile.server:
            raise FieldInvalid(
                "No server is set: set KEYPEG_SERVER, or sign in with `keypeg login`.",
                field="server",
            )
        self._account = profile.account
        self._device = device or profiles.device_id()
        self._profile = profile
        self._source: TokenSource | None = None
        if profile.credential and not profile.token:
            from keypeg.credential_sign_in import source_of

            self._source = source_of(profile, self._device)
        self._connect(sign_in.token_of(profile.readable()) or "")

    def _connect(self, token: str | CallToken) -> None:
        from keypeg import calls
        from keypeg.v1 import cloud_session_service_pb2_grpc

        self._token = token
        server = self._profile.server
        ca = None if server.startswith("unix:") else self._profile.ca_certificates()
        self._channel = calls.connect(server, ca=ca, token=token)
        self._stub = cloud_session_service_pb2_grpc.CloudSessionServiceStub(self._channel)

    async def show(self) -> CloudState:
        """How it is now."""
        from keypeg.v1 import cloud_session_service_pb2 as pb

        request = pb.GetCloudSessionRequest(name=await self._name())
        return _state((await self._call(self._stub.GetCloudSession, request)).cloud_session)

    async def open(self, *, move: bool = True) -> CloudState:
        """Opens it on this device; without `move`, CloudSessionElsewhere when another device has it."""
        from keypeg.v1 import cloud_session_service_pb2 as pb

        request = pb.OpenCloudSessionRequest(
            name=await self._name(),
            request_id=str(uuid.uuid4()),
            device=self._here(),
            keep_elsewhere=not move,
        )
        return _state((await self._call(self._stub.OpenCloudSession, request)).cloud_session)

    async def close(self) -> CloudState:
        """Closes it, wherever it is open. In managed mode, what is in the cloud stays reserved."""
        from keypeg.v1 import cloud_session_service_pb2 as pb

        request = pb.CloseCloudSessionRequest(
            name=await self._name(), request_id=str(uuid.uuid4()), device=self._here()
        )
        return _state((await self._call(self._stub.CloseCloudSession, request)).cloud_session)

    async def set_mode(self, mode: Mode) -> CloudState:
        """Sets who chooses what is in the cloud."""
        from keypeg.v1 import cloud_session_service_pb2 as pb

        if mode not in _MODES:
            raise FieldInvalid(f"mode is one of {', '.join(_MODES)}, not {mode!r}.", field="mode")
        request = pb.SetCloudSessionModeRequest(
            name=await self._name(),
            request_id=str(uuid.uuid4()),
            mode=_MODES[mode],  # type: ignore[arg-type]  # equal by test
        )
        return _state((await self._call(self._stub.SetCloudSessionMode, request)).cloud_session)

    async def choose(self, add: Iterable[str] = (), remove: Iterable[str] = ()) -> CloudState:
        """Puts licenses (names) into the cloud and takes others out: all of it, or nothing.

        Taking one out switches the account to managed mode.
        """
        from keypeg.v1 import cloud_session_service_pb2 as pb

        request = pb.ChooseCloudLicensesRequest(
            name=await self._name(),
            request_id=str(uuid.uuid4()),
            add_licenses=add,
            remove_licenses=remove,
        )
        return _state((await self._call(self._stub.ChooseCloudLicenses, request)).cloud_session)

    async def watch(self) -> AsyncGenerator[CloudState, None]:
        """How it is, and again after every change, over lost connections, until it is left or refused."""
        from keypeg import calls, watching
        from keypeg.v1 import cloud_session_service_pb2 as pb

        async def begin() -> Any:
            request = pb.WatchCloudSessionRequest(name=await self._name())
            return self._stub.WatchCloudSession(request)

        async with contextlib.aclosing(watching.answers(begin, calls.translate)) as answers:
            async for answer in answers:
                yield _state(answer.cloud_session)

    async def leave(self) -> None:
        """Ends the connection; the cloud session stays as it is."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.leave()

    async def _name(self) -> str:
        """Of the cloud session; by then there is a token that is good."""
        from keypeg.v1 import account_service_pb2, account_service_pb2_grpc

        if self._source is not None and (token := await self._source.token()) != self._token:
            await self._channel.close()
            self._connect(token)
        if not self._account:
            accounts = account_service_pb2_grpc.AccountServiceStub(self._channel)
            caller = await self._call(accounts.GetCaller, account_service_pb2.GetCallerRequest())
            self._account = caller.account
        if not names.ACCOUNT.matches(self._account):
            raise FieldInvalid(
                "This sign-in belongs to no account that has a cloud session; sign in as a "
                "member of one.",
                field="account",
            )
        return names.CLOUD_SESSION.build(*names.ACCOUNT.parse(self._account))

    def _here(self) -> Any:
        from keypeg.v1 import session_pb2

        return session_pb2.Device(id=self._device, host_name=hostinfo.host_name())

    async def _call(self, method: Callable[..., Awaitable[Any]], request: Any) -> Any:
        from keypeg import calls

        return await calls.call(method, request)


def _state(message: cloud_session_pb2.CloudSession) -> CloudState:
    mode = next((word for word, number in _MODES.items() if number == message.mode), "")
    opened = message.open_time.ToDatetime(tzinfo=UTC) if message.HasField("open_time") else None
    return CloudState(
        name=message.name,
        is_open=message.state == _OPEN,
        mode=mode,
        letter=message.mode_letter,
        implies=message.implies,
        device=message.device,
        host_name=message.host_name,
        open_time=opened,
        user=message.user,
        activations=tuple(message.activations),
        generation=message.generation,
    )

"""The ways in which a launch signs a person in, done: with a password, a credential file, a code.

Promises: a password, a passphrase and a code are sent once or not at all, over TLS or a Unix socket, and kept
nowhere. What is not to be remembered is in memory only. A server is asked about a code no oftener than it wants.

Leaves to others: what is asked of the person (launch_flow), which profile it is (launch_profile).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from keypeg import (
    calls,
    credential_file,
    credential_keeping,
    hostinfo,
    launch_codes,
    launch_profile,
    sign_in,
)
from keypeg import credential_sign_in as by_credential
from keypeg import profile as profiles
from keypeg.clock import Clock
from keypeg.errors import FieldInvalid, KeypegError
from keypeg.factor_reset import told_in
from keypeg.launch_calls import certificates
from keypeg.launch_works import BeginCode, CodeShown, FinishCode, Import, SignIn

if TYPE_CHECKING:
    from keypeg.profile import Profile


LIST_TIME: Final = 3.0  # s to hear of providers


@dataclass(frozen=True)
class _Waiting:
    """A code that is to be approved."""

    profile: Profile
    code: launch_codes.Code
    asked: float  # when the server was asked last, on the monotonic clock


class SignIns:
    """Signs in for one launch."""

    def __init__(self, clock: Clock, device: str) -> None:
        self._clock = clock
        self._device = device
        self._waiting: _Waiting | None = None
        self._providers: tuple[str, ...] | None = None

    async def with_password(self, given: Profile, work: SignIn) -> tuple[Profile, str]:
        """The profile, signed in, and what the person has to hear."""
        from keypeg.v1 import account_service_pb2 as pb
        from keypeg.v1 import account_service_pb2_grpc as rpc

        profile = _with_server(given, work.server)
        if not work.login:
            raise FieldInvalid("Fill in the login.", field="login")
        await _check_keeping(profile, work.remember)
        begun = self._clock.wall()
        async with calls.connect(profile.server, ca=certificates(profile)) as channel:
            asked = pb.SignInRequest(
                login=work.login,
                password=work.password,
                code=work.code,
                client_name=_client_name(),
            )
            answer = await calls.call(rpc.AccountServiceStub(channel).SignIn, asked)
        return await _signed_in(profile, answer, begun, remember=work.remember)

    async def providers(self, profile: Profile) -> tuple[str, ...]:
        """The outside providers of the server, asked once; none where it does not say."""
        if self._providers is None and profile.server:
            from keypeg.v1 import identity_service_pb2 as pb
            from keypeg.v1 import identity_service_pb2_grpc as rpc

            try:
                async with calls.connect(profile.server, ca=certificates(profile)) as channel:
                    stub = rpc.IdentityServiceStub(channel)
                    asked = pb.ListSignInProvidersRequest()
                    answer = await calls.call(stub.ListSignInProviders, asked, timeout=LIST_TIME)
            except KeypegError:
                return ()
            self._providers = tuple(answer.providers)
        return self._providers or ()

    async def begin_code(self, given: Profile, work: BeginCode) -> CodeShown:
        """A code to show."""
        profile = _with_server(given, work.server)
        async with calls.connect(profile.server, ca=certificates(profile)) as channel:
            begun = launch_codes.ByProvider if work.provider else launch_codes.ByApproval
            code = await begun.begin(channel, work.provider, _client_name())
        self._waiting = _Waiting(profile, code, self._clock.monotonic())
        return CodeShown(code.user_code, profile.server, work.provider, code.url)

    async def finish_code(self, work: FinishCode) -> tuple[Profile, str]:
        """The profile, signed in, and what the person has to hear; SignInPending before the code is approved."""
        waiting = self._waiting
        assert waiting is not None, "no code was shown"
        since = self._clock.monotonic() - waiting.asked
        await asyncio.sleep(max(0.0, waiting.code.interval - since))
        self._waiting = replace(waiting, asked=self._clock.monotonic())
        profile, begun = waiting.profile, self._clock.wall()
        await _check_keeping(profile, work.remember)
        async with calls.connect(profile.server, ca=certificates(profile)) as channel:
            answer = await waiting.code.finish(channel, work.code)
        self._waiting = None
        return await _signed_in(profile, answer, begun, remember=work.remember)

    async def with_file(self, given: Profile, work: Import) -> Profile:
        """The profile, which signs in with the file from now on."""
        if not work.path:
            raise FieldInvalid("Fill in the credential file.", field="path")
        found = credential_file.load(work.path)
        if found.is_sealed and not work.passphrase:
            raise FieldInvalid("The file is sealed: type its passphrase.", field="passphrase")
        signer = await asyncio.to_thread(found.signer, lambda: work.passphrase)
        document = found.document
        listed = ",".join(document.servers)
        if not launch_profile.shares_host(given.server, listed):
            given = replace(given, server=listed, ca_file="")
        profile = replace(
            given,
            account=document.credential.partition("/credentials/")[0],
            user=document.user,
            ca_pem=document.ca_certificates,
            token="",
            unread=None,
            in_memory=None,
        )
        place = by_credential.Place(
            profile.server, certificates(profile), self._device, hostinfo.host_name()
        )
        answer = await by_credential.sign_in(found, signer, place)
        if not work.remember:
            opened = credential_file.make(found.envelope, signer.private_bytes())
            return replace(profile, credential=_whole(work.path), opened=opened)
        name = launch_profile.named_for(profile)
        current = not profiles.names() or name == profiles.load().name
        kept = credential_keeping.keep(name, found, signer, profile.server, answer, current=current)
        return replace(profile, name=name, credential=kept.credential, opened=None)


def is_sealed(path: str) -> bool:
    """Whether there is a credential file that takes a passphrase."""
    try:
        return bool(path) and credential_file.load(path).is_sealed
    except KeypegError:
        return False


def _with_server(profile: Profile, server: str) -> Profile:
    found = replace(profile, server=profile.server or server, credential="", opened=None)
    if not found.server:
        raise FieldInvalid("Fill in the server.", field="server")
    return found


async def _check_keeping(profile: Profile, remember: bool) -> None:
    """Raises why what is to be remembered could not be kept, before anything is sent."""
    if remember:
        await asyncio.to_thread(profiles.keeper(profile.name, profile.tokens).check)


async def _signed_in(
    profile: Profile, answer: Any, begun: Any, *, remember: bool
) -> tuple[Profile, str]:
    signed_in = sign_in.in_memory(profile, answer, begun)
    if remember:
        await asyncio.to_thread(sign_in.keep_tokens, profile, sign_in.tokens_in(answer, begun))
        signed_in = launch_profile.kept(replace(signed_in, in_memory=None))
    return signed_in, told_in(answer)


def _whole(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _client_name() -> str:
    return f"an app on {hostinfo.host_name()}"[:128]

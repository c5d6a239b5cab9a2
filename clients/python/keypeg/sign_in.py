"""Signing in, and staying so without anybody noticing.

    keypeg.sign_in.with_password("ada", password)            # tokens are kept in the profile from now on

Promises: tokens are kept with the profile, where only its owner reads them. Whoever calls with `token_of` a profile
sends a token that holds: shortly before its end it is refreshed, once for all processes of this computer. The id of a
refresh is kept before it is asked for, so that neither a lost answer nor a killed process ends the sign-in. A server
that does not answer costs nothing but the time: the old token goes on until its end.

Leaves to others: profiles (profile), where tokens are kept (token_place), what is called with the token (calls, client).
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

import grpc

from keypeg import profile as profiles
from keypeg import servers
from keypeg.clock import Clock, SystemClock
from keypeg.dialing import MESSAGE_SIZE, CallToken
from keypeg.errors import FieldInvalid, KeypegError, TokenExpired, TokenInvalid
from keypeg.profile import Profile
from keypeg.rpc_errors import translate
from keypeg.token_file import Tokens
from keypeg.token_keeping import Keeper, MemoryKeeper

if TYPE_CHECKING:
    from keypeg.servers import Server
    from keypeg.v1.account_service_pb2 import SignInResponse
    from keypeg.v1.sign_in_pb2 import SignedIn

T = TypeVar("T")
CALL_TIME: Final = 10.0  # seconds for a server to answer
EARLY: Final = 60.0  # seconds before its end at which a token is refreshed, or a fifth of what is left of short ones
_CLOCK: Final = SystemClock()


def with_password(
    login: str,
    password: str,
    *,
    profile: Profile | None = None,
    code: str = "",
    client_name: str = "",
    clock: Clock = _CLOCK,
) -> Profile:
    """Signs in at the profile's server, and keeps the tokens; the profile as it is kept from now on.

    CredentialsInvalid when name or password is wrong; CodeRequired when a one-time `code` is needed, too.
    """
    from keypeg.v1.account_service_pb2 import SignInRequest
    from keypeg.v1.account_service_pb2_grpc import AccountServiceStub

    wanted = profile or profiles.load()
    profiles.keeper(wanted.name, wanted.tokens).check()
    request = SignInRequest(login=login, password=password, code=code, client_name=client_name)
    begun = clock.wall()
    answer: SignInResponse = _call(
        wanted, lambda channel: AccountServiceStub(channel).SignIn(request, timeout=CALL_TIME)
    )
    return keep(wanted, answer, begun)


def keep(profile: Profile, answer: SignInResponse | SignedIn, begun: datetime) -> Profile:
    """Keeps what a sign-in gave that was `begun` then; the profile as it is kept from now on."""
    tokens = tokens_in(answer, begun)
    keep_tokens(profile, tokens)
    kept = replace(profile, account=answer.account, user=answer.user.name)
    profiles.save(replace(kept, token=""))
    return replace(kept, token=tokens.token, unread=None, follows=True)


def keep_tokens(profile: Profile, tokens: Tokens) -> None:
    """Keeps the tokens of a new sign-in where the profile wants them."""
    keeper = profiles.keeper(profile.name, profile.tokens)
    with keeper.alone():
        keeper.begin(tokens)


def forget_tokens(name: str) -> None:
    """Takes the tokens of a profile away, wherever they are."""
    keeper = profiles.keeper(name)
    with keeper.alone():
        keeper.forget()


def tokens_in(answer: SignInResponse | SignedIn, begun: datetime) -> Tokens:
    """The tokens of an answer to what was `begun` then."""
    until = begun + answer.valid_for.ToTimedelta()
    return Tokens(answer.token, until.timestamp(), answer.refresh_token)


def token_of(profile: Profile) -> CallToken | str | None:
    """What a profile calls with: what is kept in it follows its end, what came from elsewhere is used as it is."""
    if profile.follows and profile.token:
        kept: Keeper
        if profile.in_memory is not None:
            kept = MemoryKeeper(profile.in_memory)
        else:
            kept = placed = profiles.keeper(profile.name, profile.tokens)
            placed.settle()
        found = kept.load()
        if found.refresh_token:
            return KeptTokens(profile, kept, found)
    return profile.token or None


async def token_for(profile: Profile) -> CallToken | str | None:
    """The same for who works in an event loop, which waits for no keyring; raises why what is kept can not be read."""
    if profile.readable().token and profile.follows:
        return await asyncio.to_thread(token_of, profile)
    return profile.token or None


def in_memory(profile: Profile, answer: SignInResponse | SignedIn, begun: datetime) -> Profile:
    """The profile with what a sign-in gave, which is forgotten with this process."""
    tokens = tokens_in(answer, begun)
    user = answer.user.name
    return replace(
        profile,
        account=answer.account,
        user=user,
        token=tokens.token,
        follows=True,
        in_memory=tokens,
    )


class KeptTokens:
    """Tokens that follow one another: a CallToken."""

    def __init__(
        self, profile: Profile, keeper: Keeper, tokens: Tokens, clock: Clock = _CLOCK
    ) -> None:
        """`tokens` are those that are kept now."""
        self._profile = profile
        self._keeper = keeper
        self._clock = clock
        self._lock = threading.Lock()  # of the threads of this process
        self._tokens = tokens
        self._fresh_until = self._freshness(self._tokens)

    def is_fresh(self) -> bool:
        """Whether the token needs no refresh yet."""
        return self._now() < self._fresh_until

    def token(self) -> str:
        """The token for a call of now."""
        with self._lock:
            if not self.is_fresh():
                with contextlib.suppress(KeypegError, OSError):
                    self._take(self._next())
            return self._tokens.token

    def _now(self) -> float:
        return self._clock.wall().timestamp()

    def _freshness(self, tokens: Tokens) -> float:
        left = max(0.0, tokens.until - self._now())
        return tokens.until - min(EARLY, left / 5)

    def _take(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._fresh_until = self._freshness(tokens)

    def _next(self) -> Tokens:
        """The tokens that another process has got meanwhile, or new ones."""
        keeper = self._keeper
        with keeper.alone():
            kept = keeper.load()
            if not kept.refresh_token:
                return kept if kept.token else self._tokens  # somebody has signed out
            if kept.token != self._tokens.token and self._now() < self._freshness(kept):
                return kept
            asked = kept
            if not kept.request_id:
                asked = replace(kept, request_id=str(uuid.uuid4()))
                keeper.store(asked)
            begun = self._clock.wall()
            try:
                tokens = tokens_in(refresh(self._profile, asked), begun)
            except (TokenInvalid, TokenExpired):
                keeper.forget()  # for good: sign in again
                raise
            keeper.store(tokens)
            return tokens


def refresh(profile: Profile, tokens: Tokens) -> SignedIn:
    """Asks the profile's server for the tokens after these."""
    from keypeg.v1.sign_in_service_pb2 import RefreshSignInRequest
    from keypeg.v1.sign_in_service_pb2_grpc import SignInServiceStub

    request = RefreshSignInRequest(refresh_token=tokens.refresh_token, request_id=tokens.request_id)
    answer = _call(
        profile,
        lambda channel: SignInServiceStub(channel).RefreshSignIn(request, timeout=CALL_TIME),
    )
    found: SignedIn = answer.signed_in
    return found


def _call(profile: Profile, call: Callable[[grpc.Channel], T]) -> T:
    """Call the first of the profile's servers that answers."""
    if not profile.server:
        raise FieldInvalid("There is no server to sign in at: set KEYPEG_SERVER.", field="server")
    ca = profile.ca_certificates()
    error: KeypegError | None = None
    for server in servers.parse(profile.server):
        with _channel(server, ca) as channel:
            try:
                return call(channel)
            except grpc.RpcError as raised:
                error = translate(raised)
                if raised.code() not in (
                    grpc.StatusCode.UNAVAILABLE,
                    grpc.StatusCode.DEADLINE_EXCEEDED,
                ):
                    raise error from raised
    assert error is not None
    raise error


def _channel(server: Server, ca: bytes | None) -> grpc.Channel:
    """A channel for one call; it carries no token."""
    options = [
        ("grpc.max_receive_message_length", MESSAGE_SIZE),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if server.is_socket:
        return grpc.insecure_channel(server.address, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates=ca)
    return grpc.secure_channel(f"dns:///{server.address}", credentials, options=options)

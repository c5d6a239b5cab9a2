"""What every call passes before it is served: who is it, not too much of it, may they, is the request well-formed.

Promises: in this order, and before that its version, for every method of the server; a call that does not pass costs no more than that.
A stream's requests are checked by who reads them (`validate.frame`).

Leaves to others: the rules (authorization.py, validate.py), what becomes of refusals (refusing.py), and answering
errors (keypeg.serving).
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from keypeg.errors import KeypegError, SignInRequired, TokenInvalid
from keypeg.serving import METHOD_BUILDERS, METHOD_KINDS
from keypeg_server.domain.guessing import place_of
from keypeg_server.rpc import authorization, caller, credential_gate, factor_gate, validate
from keypeg_server.rpc.access_rules import Rule, check_account, check_right
from keypeg_server.rpc.certificate_door import CertificateDoor, check_client, is_public
from keypeg_server.rpc.client_versions import ANY, ClientVersions
from keypeg_server.rpc.doors import check_port
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.quotas import Quotas, TooLarge, reader
from keypeg_server.rpc.refusing import Refusals
from keypeg_server.service.tokens import SignedIn

_SCHEME: Final = "bearer"
_Behavior = Callable[..., Any]


class Authenticator(Protocol):
    """Knows tokens."""

    def known(self, text: str) -> SignedIn | None:
        """Who sent this token, when that needs no second look."""
        ...

    async def authenticate(self, text: str) -> SignedIn:
        """Who sent this token; TokenInvalid or TokenExpired when nobody may have."""
        ...


class Gate(grpc.aio.ServerInterceptor):
    """Comes right after the interceptor that answers errors."""

    def __init__(
        self,
        tokens: Authenticator,
        quotas: Quotas,
        refusals: Refusals,
        clients: ClientVersions = ANY,
        *,
        administers: bool = True,
        door: CertificateDoor | None = None,
        bridges_by_certificate: bool = False,
    ) -> None:
        """`administers`: whether this port serves what accounts may not do. `door`: callers show certificates at it.

        `bridges_by_certificate`: bridges may call at no other port.
        """
        self._tokens = tokens
        self._quotas = quotas
        self._refusals = refusals
        self._clients = clients
        self._administers = administers
        self._door = door
        self._bridges_by_certificate = bridges_by_certificate
        self._guards: dict[
            str, tuple[Any, Any]
        ] = {}  # method: its handler, and that behind the gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None  # no such method: grpc answers UNIMPLEMENTED
        method = handler_call_details.method
        known = self._guards.get(method)
        if known is None or known[0] is not handler:
            rule = authorization.rule_of(method)
            self._guards[method] = known = (handler, self._guarded(handler, method, rule))
        return known[1]

    def _guarded(self, handler: Any, method: str, rule: Rule) -> Any:
        kind = METHOD_KINDS[handler.request_streaming, handler.response_streaming]
        behavior: _Behavior = getattr(handler, kind)
        one_request = not handler.request_streaming
        public = is_public(rule, self._door)
        tokens, quotas, clients, refusals = (
            self._tokens,
            self._quotas,
            self._clients,
            self._refusals,
        )
        looks, administers = clients.looks_at(method), self._administers
        door, strict = self._door, self._bridges_by_certificate and not public

        def known(context: Any) -> SignedIn | None:
            return None if public or door else tokens.known(_token(context.invocation_metadata()))

        async def unknown(context: Any) -> SignedIn | None:
            if public:
                return None
            if door is not None:
                return await door.authenticate(context)
            return await tokens.authenticate(_token(context.invocation_metadata()))

        def enter(signed_in: SignedIn | None, request: Any) -> None:
            if signed_in is not None:
                quotas.call(signed_in.user.name)
                check_right(rule, signed_in.caller, method)
                if not administers and door is None:
                    check_port(rule.right, method)
                credential_gate.check_method(signed_in.caller, method)
                factor_gate.check_method(signed_in.caller, method)
            if one_request:
                if type(request) is TooLarge:
                    raise request.refusal()
                validate.request(request)
                if signed_in is not None:
                    credential_gate.check_request(signed_in.caller, request)
                    check_account(rule, signed_in.caller, request, method)

        async def admitted(request: Any, context: Any) -> SignedIn | None:
            refusals.read()
            if looks:
                clients.check(context.invocation_metadata())
            signed_in = known(context) or await unknown(context)
            if signed_in is not None:
                caller.become(signed_in)
            if strict and signed_in is not None:
                check_client(rule, signed_in.caller, context.invocation_metadata(), method)
            enter(signed_in, request)
            return signed_in

        def held(
            signed_in: SignedIn | None, context: Any
        ) -> contextlib.AbstractContextManager[None]:
            if signed_in is not None:
                return quotas.stream(signed_in.user.name)
            return quotas.strange_stream(place_of(address_of(context)))

        async def call(request: Any, context: Any) -> Any:
            try:
                await admitted(request, context)
                return await behavior(request, context)
            except KeypegError as error:
                await refusals.refused(error, method, caller.name(), context)
                raise

        async def stream(request: Any, context: Any) -> Any:
            try:
                with held(await admitted(request, context), context):
                    return await behavior(request, context)
            except KeypegError as error:
                await refusals.refused(error, method, caller.name(), context)
                raise

        async def generator(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                with held(await admitted(request, context), context):
                    async with contextlib.aclosing(behavior(request, context)) as responses:
                        async for response in responses:
                            yield response
            except KeypegError as error:
                await refusals.refused(error, method, caller.name(), context)
                raise

        guarded: _Behavior = stream if handler.response_streaming else call
        if inspect.isasyncgenfunction(behavior):
            guarded = generator
        assert guarded is generator or inspect.iscoroutinefunction(behavior), f"{method} is async"
        return METHOD_BUILDERS[kind](
            guarded,
            request_deserializer=reader(method, handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def _token(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    for key, value in metadata or ():
        if key == "authorization":
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            scheme, _, token = text.partition(" ")
            if scheme.lower() != _SCHEME:
                raise TokenInvalid("The authorization of this call is no bearer token; sign in.")
            return token.strip()
    raise SignInRequired("This call needs a signed-in caller; sign in first.")

"""IdentityService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg import names
from keypeg.v1 import identity_pb2, sign_in_pb2
from keypeg.v1.identity_service_pb2 import (
    AcceptInvitationAsIdentityRequest,
    AcceptInvitationAsIdentityResponse,
    BeginProviderSignInRequest,
    BeginProviderSignInResponse,
    CreateIdentityRequest,
    CreateIdentityResponse,
    DeleteIdentityRequest,
    DeleteIdentityResponse,
    FinishProviderSignInRequest,
    FinishProviderSignInResponse,
    LinkIdentityRequest,
    LinkIdentityResponse,
    ListIdentitiesRequest,
    ListIdentitiesResponse,
    ListSignInProvidersRequest,
    ListSignInProvidersResponse,
    ProveProviderSignInRequest,
    ProveProviderSignInResponse,
)
from keypeg.v1.identity_service_pb2_grpc import IdentityServiceServicer
from keypeg_server.domain.identity import Identity
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import once
from keypeg_server.rpc.peer import address_of
from keypeg_server.rpc.sign_in_service import tokens_in
from keypeg_server.service.identities import Identities
from keypeg_server.service.people import Joining
from keypeg_server.service.provider_sign_ins import ProviderSignIns


class IdentityRpc(IdentityServiceServicer):
    """Serves signing in at outside providers, and who is linked to whom."""

    def __init__(self, proofs: ProviderSignIns, identities: Identities) -> None:
        self._proofs = proofs
        self._identities = identities

    async def ListSignInProviders(
        self, request: ListSignInProvidersRequest, context: Any
    ) -> ListSignInProvidersResponse:
        return ListSignInProvidersResponse(providers=self._proofs.names())

    async def BeginProviderSignIn(
        self, request: BeginProviderSignInRequest, context: Any
    ) -> BeginProviderSignInResponse:
        begun = await self._proofs.begin(
            request.provider, request.redirect_uri, request.client_name, address_of(context)
        )
        answer = BeginProviderSignInResponse(sign_in=begun.secret, url=begun.url, state=begun.state)
        answer.valid_for.FromTimedelta(begun.valid_for)
        if begun.typed is not None:
            answer.user_code, answer.verification_url = begun.typed.user_code, begun.typed.url
            answer.interval.FromTimedelta(begun.typed.interval)
        return answer

    async def ProveProviderSignIn(
        self, request: ProveProviderSignInRequest, context: Any
    ) -> ProveProviderSignInResponse:
        proven = await self._proofs.prove(
            request.sign_in, request.code, request.state, request.issuer
        )
        return ProveProviderSignInResponse(issuer=proven.issuer, subject=proven.subject)

    async def FinishProviderSignIn(
        self, request: FinishProviderSignInRequest, context: Any
    ) -> FinishProviderSignInResponse:
        new = await self._proofs.finish(request.sign_in, request.code, address_of(context))
        return FinishProviderSignInResponse(signed_in=tokens_in(sign_in_pb2.SignedIn(), new))

    async def LinkIdentity(
        self, request: LinkIdentityRequest, context: Any
    ) -> LinkIdentityResponse:
        linked = await self._identities.link(
            current(), request.sign_in, request.password, address_of(context)
        )
        return LinkIdentityResponse(identity=_identity(linked))

    async def AcceptInvitationAsIdentity(
        self, request: AcceptInvitationAsIdentityRequest, context: Any
    ) -> AcceptInvitationAsIdentityResponse:
        account, id = names.INVITATION.parse(request.name)
        who = Joining(request.login, request.display_name, request.ticket, "")
        new = await self._identities.accept(account, id, who, request.sign_in)
        return AcceptInvitationAsIdentityResponse(
            user=encode.user(new.sign_in.user),
            signed_in=tokens_in(sign_in_pb2.SignedIn(), new),
        )

    async def CreateIdentity(
        self, request: CreateIdentityRequest, context: Any
    ) -> CreateIdentityResponse:
        account, id = names.USER.parse(request.parent, "parent")
        answer = await self._identities.create(
            once(request, lambda one: CreateIdentityResponse(identity=_identity(one))),
            current(),
            account,
            id,
            request.provider,
            request.subject,
        )
        return CreateIdentityResponse.FromString(answer)

    async def ListIdentities(
        self, request: ListIdentitiesRequest, context: Any
    ) -> ListIdentitiesResponse:
        account, id = names.USER.parse(request.parent, "parent")
        found = await self._identities.list(account, id)
        return ListIdentitiesResponse(identities=map(_identity, found))

    async def DeleteIdentity(
        self, request: DeleteIdentityRequest, context: Any
    ) -> DeleteIdentityResponse:
        account, id, identity = names.IDENTITY.parse(request.name)
        answer = await self._identities.delete(
            once(request, lambda _: DeleteIdentityResponse()), current(), account, id, identity
        )
        return DeleteIdentityResponse.FromString(answer)


def _identity(value: Identity) -> identity_pb2.Identity:
    message = identity_pb2.Identity(
        name=value.name,
        issuer=value.issuer,
        subject=value.subject,
        creator=value.creator,
        proven=value.proven,
    )
    message.create_time.FromDatetime(value.create_time)
    return message

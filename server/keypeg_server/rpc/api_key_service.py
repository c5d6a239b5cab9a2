"""ApiKeyService over gRPC: decode, call, encode."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from keypeg import names
from keypeg.v1.api_key_service_pb2 import (
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    DeleteApiKeyRequest,
    DeleteApiKeyResponse,
    ListApiKeysRequest,
    ListApiKeysResponse,
    RotateApiKeyRequest,
    RotateApiKeyResponse,
)
from keypeg.v1.api_key_service_pb2_grpc import ApiKeyServiceServicer
from keypeg_server.domain.access import KEY_TTL
from keypeg_server.rpc import encode
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import once
from keypeg_server.rpc.secret_answers import told_once
from keypeg_server.service.api_keys import ApiKeys, NewKey
from keypeg_server.service.store import Request
from keypeg_server.service.wrapping import Wrapping

OVERLAP: Final = timedelta(days=1)  # unless the request says otherwise


class ApiKeyRpc(ApiKeyServiceServicer):
    """Serves API keys."""

    def __init__(self, keys: ApiKeys, wrapping: Wrapping) -> None:
        self._keys = keys
        self._wrapping = wrapping

    async def CreateApiKey(
        self, request: CreateApiKeyRequest, context: Any
    ) -> CreateApiKeyResponse:
        caller, ttl = current(), _or(request, "ttl", KEY_TTL)

        def create(once: Request[NewKey]) -> Any:
            name, scopes = request.display_name, request.scopes
            return self._keys.create(once, caller, request.parent, name, scopes, ttl)

        return await told_once(self._wrapping, request, _created, CreateApiKeyResponse, create)

    async def ListApiKeys(self, request: ListApiKeysRequest, context: Any) -> ListApiKeysResponse:
        found = await self._keys.listed(current(), request.parent)
        return ListApiKeysResponse(api_keys=map(encode.api_key, found))

    async def RotateApiKey(
        self, request: RotateApiKeyRequest, context: Any
    ) -> RotateApiKeyResponse:
        user, id = _parts(request.name)
        caller = current()
        overlap, ttl = _or(request, "overlap", OVERLAP), _or(request, "ttl", KEY_TTL)

        def rotate(once: Request[NewKey]) -> Any:
            return self._keys.rotate(once, caller, user, id, overlap, ttl)

        return await told_once(self._wrapping, request, _rotated, RotateApiKeyResponse, rotate)

    async def DeleteApiKey(
        self, request: DeleteApiKeyRequest, context: Any
    ) -> DeleteApiKeyResponse:
        user, id = _parts(request.name)
        done: Request[None] = once(request, lambda _: DeleteApiKeyResponse())
        return DeleteApiKeyResponse.FromString(await self._keys.revoke(done, current(), user, id))


def _parts(name: str) -> tuple[str, str]:
    """The user (name) and the id of a key."""
    account, user, id = names.API_KEY.parse(name)
    return names.USER.build(account, user), id


def _or(request: Any, field: str, default: timedelta) -> timedelta:
    found: timedelta = getattr(request, field).ToTimedelta() if request.HasField(field) else default
    return found


def _created(made: NewKey) -> CreateApiKeyResponse:
    return CreateApiKeyResponse(api_key=encode.api_key(made.key), key=made.text)


def _rotated(made: NewKey) -> RotateApiKeyResponse:
    assert made.previous is not None
    return RotateApiKeyResponse(
        api_key=encode.api_key(made.key), key=made.text, previous=encode.api_key(made.previous)
    )

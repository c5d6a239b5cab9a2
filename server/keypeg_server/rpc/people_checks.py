"""What requests about people and API keys have to be: rules for validate.py.

Promises: as there: one rule for every field, as the contract's comments say.

Leaves to others: which scopes there are, and who gives what (service/api_keys.py, domain/people.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.v1.account_pb2 import Role
from keypeg_server.domain.access import RESELLER_LIMIT
from keypeg_server.rpc.checks import (
    PAGE,
    anything,
    duration,
    each,
    matching,
    name,
    one_of,
    optional,
    size_between,
    text,
    uuid,
)
from keypeg_server.rpc.parts import OPTIONAL_LABEL, Fields

LOGIN: Final = matching(
    r"[^\sA-Z\x00-\x20\x7f]{3,128}", "3 to 128 characters, lower case, without spaces"
)
PASSWORD: Final = text(8, 1_024)
_ACCOUNT, _USER = name(names.ACCOUNT), name(names.USER)
_INVITATION, _KEY, _PASSKEY = name(names.INVITATION), name(names.API_KEY), name(names.PASSKEY)
_CODE: Final = text(0, 32)
_CLIENT_DATA: Final = size_between(1, 2_048)
_TTL: Final = optional(duration(timedelta(hours=1), timedelta(days=366)))

RULES: Final[Mapping[str, Fields]] = {
    "SetSecondFactorRequiredRequest": {
        "name": _ACCOUNT,
        "request_id": uuid,
        "required": anything,
    },
    "BeginPasskeyRegistrationRequest": {"password": PASSWORD, "code": _CODE},
    "FinishPasskeyRegistrationRequest": {
        "request_id": uuid,
        "display_name": text(1, 128),
        "client_data_json": _CLIENT_DATA,
        "attestation_object": size_between(1, 8_192),
    },
    "ListPasskeysRequest": {},
    "UpdatePasskeyRequest": {"name": _PASSKEY, "request_id": uuid, "display_name": text(1, 128)},
    "DeletePasskeyRequest": {
        "name": _PASSKEY,
        "request_id": uuid,
        "password": PASSWORD,
        "code": _CODE,
    },
    "BeginPasskeySignInRequest": {"login": text(0, 128), "password": optional(PASSWORD)},
    "FinishPasskeySignInRequest": {
        "credential_id": size_between(1, 1_024),
        "client_data_json": _CLIENT_DATA,
        "authenticator_data": size_between(37, 2_048),
        "signature": size_between(1, 1_024),
        "user_handle": size_between(0, 64),
        "client_name": OPTIONAL_LABEL,
    },
    "UpdateUserRoleRequest": {"name": _USER, "request_id": uuid, "role": one_of(Role)},
    "CreateServiceUserRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "login": LOGIN,
        "display_name": OPTIONAL_LABEL,
        "role": one_of(Role, unset=True),
    },
    "CreateInvitationRequest": {
        "parent": _ACCOUNT,
        "request_id": uuid,
        "address": text(1, 128),
        "role": one_of(Role, unset=True),
        "ttl": optional(duration(timedelta(minutes=5), timedelta(days=30))),
    },
    "ListInvitationsRequest": {
        "parent": _ACCOUNT,
        **PAGE,
    },
    "DeleteInvitationRequest": {"name": _INVITATION, "request_id": uuid},
    "AcceptInvitationRequest": {
        "name": _INVITATION,
        "request_id": uuid,
        "ticket": text(1, 128),
        "login": LOGIN,
        "password": PASSWORD,
        "display_name": OPTIONAL_LABEL,
    },
    "SetResellerAccountsRequest": {
        "name": _USER,
        "request_id": uuid,
        "accounts": each(_ACCOUNT, high=RESELLER_LIMIT, key=str),
    },
    "GetResellerAccountsRequest": {"name": _USER},
    "ResetSecondFactorsRequest": {"name": _USER, "request_id": uuid},
    "CreateApiKeyRequest": {
        "parent": _USER,
        "request_id": uuid,
        "display_name": text(1, 128),
        "scopes": each(text(1, 64), low=1, high=32, key=str),
        "ttl": _TTL,
    },
    "ListApiKeysRequest": {"parent": _USER},
    "RotateApiKeyRequest": {
        "name": _KEY,
        "request_id": uuid,
        "overlap": optional(duration(timedelta(0), timedelta(days=30))),
        "ttl": _TTL,
    },
    "DeleteApiKeyRequest": {"name": _KEY, "request_id": uuid},
}

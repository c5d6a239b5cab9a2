"""What requests about sign-ins at outside providers have to be: rules for validate.py.

Promises: as there: one rule for every field, as the contract's comments say.

Leaves to others: which providers there are (oidc/registry.py), where a redirect may go (domain/identity.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keypeg import names
from keypeg_server.domain.id_token import SUBJECT_SIZE
from keypeg_server.rpc.checks import name, text, uuid
from keypeg_server.rpc.parts import OPTIONAL_LABEL, Fields
from keypeg_server.rpc.people_checks import LOGIN, PASSWORD

_PROVIDER, _SIGN_IN = text(1, 32), text(1, 64)

RULES: Final[Mapping[str, Fields]] = {
    "ListSignInProvidersRequest": {},
    "BeginProviderSignInRequest": {
        "provider": _PROVIDER,
        "redirect_uri": text(0, 64),
        "client_name": OPTIONAL_LABEL,
    },
    "ProveProviderSignInRequest": {
        "sign_in": _SIGN_IN,
        "code": text(0, 4_096),
        "state": text(0, 64),
        "issuer": text(0, 512),
    },
    "FinishProviderSignInRequest": {"sign_in": _SIGN_IN, "code": text(0, 32)},
    "LinkIdentityRequest": {"sign_in": _SIGN_IN, "password": PASSWORD},
    "AcceptInvitationAsIdentityRequest": {
        "name": name(names.INVITATION),
        "ticket": text(1, 128),
        "sign_in": _SIGN_IN,
        "login": LOGIN,
        "display_name": OPTIONAL_LABEL,
    },
    "CreateIdentityRequest": {
        "parent": name(names.USER),
        "request_id": uuid,
        "provider": _PROVIDER,
        "subject": text(1, SUBJECT_SIZE),
    },
    "ListIdentitiesRequest": {"parent": name(names.USER)},
    "DeleteIdentityRequest": {"name": name(names.IDENTITY), "request_id": uuid},
}

"""What requests to sign in, and about accounts and their users, have to be: rules for validate.py.

Promises: as there: one rule for every field, as the contract's comments say.

Leaves to others: who may ask, and what is guessed (service/sign_ins.py, service/accounts.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from keypeg import names
from keypeg.v1.account_pb2 import AccountKind, Role
from keypeg_server.rpc import people_checks
from keypeg_server.rpc.checks import PAGE, anything, matching, name, one_of, optional, text, uuid
from keypeg_server.rpc.parts import ACCOUNT, OPTIONAL_LABEL, Fields

_ID: Final = matching(r"[a-z][a-z0-9-]{2,62}", "3 to 63 characters of [a-z0-9-], a letter first")
_LABEL: Final = text(1, 128)

RULES: Final[Mapping[str, Fields]] = {
    "SignInRequest": {
        "login": text(1, 128),
        "password": people_checks.PASSWORD,
        "client_name": OPTIONAL_LABEL,
        "code": text(0, 32),
    },
    "RefreshSignInRequest": {"refresh_token": text(1, 256), "request_id": uuid},
    "ListSignInsRequest": PAGE,
    "EndSignInRequest": {"name": name(names.SIGN_IN), "request_id": uuid},
    "SignOutEverywhereRequest": {},
    "BeginDeviceSignInRequest": {"client_name": OPTIONAL_LABEL},
    "FinishDeviceSignInRequest": {"device_code": text(1, 64)},
    "GetDeviceSignInRequest": {"user_code": text(1, 16)},
    "DecideDeviceSignInRequest": {
        "user_code": text(1, 16),
        "approve": anything,
        "request_id": uuid,
    },
    "BeginOneTimeCodesRequest": {"password": people_checks.PASSWORD},
    "ConfirmOneTimeCodesRequest": {"code": text(1, 32)},
    "RemoveOneTimeCodesRequest": {"password": people_checks.PASSWORD, "code": text(1, 32)},
    "EndUserSignInsRequest": {"name": name(names.USER), "request_id": uuid},
    "SignOutRequest": {},
    "GetCallerRequest": {},
    "CreateAccountRequest": {
        "request_id": uuid,
        "account_id": optional(_ID),
        "display_name": _LABEL,
        "kind": one_of(AccountKind, unset=True),
    },
    "SetAccountKindRequest": {
        "name": ACCOUNT,
        "request_id": uuid,
        "kind": one_of(AccountKind),
    },
    "GetAccountRequest": {"name": ACCOUNT},
    "ListAccountsRequest": PAGE,
    "CreateUserRequest": {
        "parent": ACCOUNT,
        "request_id": uuid,
        "login": people_checks.LOGIN,
        "password": people_checks.PASSWORD,
        "display_name": OPTIONAL_LABEL,
        "role": one_of(Role, unset=True),
    },
    "ListUsersRequest": {"parent": ACCOUNT, **PAGE},
    "DeleteUserRequest": {"name": name(names.USER), "request_id": uuid},
}

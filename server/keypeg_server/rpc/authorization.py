"""Who may call what: one table, method by method; what is not in it is denied.

Promises: pure rules. A rule says which kind of caller a method takes and, for what belongs to an account,
which field of the request names it; what is not the caller's and what is not there are the same NOT_FOUND.

Leaves to others: finding out who calls (gate.py); carrying out the rules for pools, seats and borrows, whose account
and holder only their service knows; what each rule means for each caller (authorization_cells.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from keypeg import names
from keypeg.errors import PermissionDenied
from keypeg_server.domain.caller import Caller, Role
from keypeg_server.service.accounts import not_found


class Access(enum.Enum):
    """Which callers a method takes."""

    PUBLIC = "anyone, without signing in"
    CALLER = "anyone who is signed in"
    MEMBER = "users of the account that the request names, and the publisher's staff"
    ADMIN = "administrators of the account that the request names, and the publisher's staff"
    PUBLISHER = "the publisher's staff"
    POOL_MEMBER = "users of the account whose pool the request names, and the publisher's staff"
    POOL_ADMIN = (
        "administrators of the account whose pool the request names, and the publisher's staff"
    )
    HOLDER = "who holds it"
    BORROWER = "who borrowed it"
    BORROW_MEMBER = "who borrowed it, administrators of the account, and the publisher's staff"
    BORROW_ADMIN = (
        "administrators of the account in which it is borrowed, and the publisher's staff"
    )


@dataclass(frozen=True)
class Rule:
    """Who may call a method; `field` of the request has the name of something in the account."""

    access: Access
    field: str = ""

    def __post_init__(self) -> None:
        assert bool(self.field) == (self.access in (Access.MEMBER, Access.ADMIN))


_PUBLIC, _CALLER, _PUBLISHER = Rule(Access.PUBLIC), Rule(Access.CALLER), Rule(Access.PUBLISHER)
_POOL_MEMBER, _POOL_ADMIN = Rule(Access.POOL_MEMBER), Rule(Access.POOL_ADMIN)
_HOLDER = Rule(Access.HOLDER)


def _member(field: str) -> Rule:
    return Rule(Access.MEMBER, field)


def _admin(field: str) -> Rule:
    return Rule(Access.ADMIN, field)


_BY_SERVICE: Final[Mapping[str, Mapping[str, Rule]]] = {
    "keypeg.v1.AccountService": {
        "SignIn": _PUBLIC,
        "SignOut": _CALLER,
        "GetCaller": _CALLER,
        "CreateAccount": _PUBLISHER,
        "GetAccount": _member("name"),
        "ListAccounts": _PUBLISHER,
        "CreateUser": _admin("parent"),
        "ListUsers": _admin("parent"),
        "DeleteUser": _admin("name"),
    },
    "keypeg.v1.CatalogService": {
        "GetPublisher": _CALLER,
        "CreateProduct": _PUBLISHER,
        "GetProduct": _CALLER,
        "ListProducts": _CALLER,
    },
    "keypeg.v1.LicenseService": {
        "CreateLicense": _PUBLISHER,
        "GetLicense": _member("name"),
        "ListLicenses": _member("parent"),
    },
    "keypeg.v1.ActivationService": {
        "CreateActivation": _member("parent"),
        "GetActivation": _member("name"),
        "ListActivations": _member("parent"),
        # Others may be working with it: seats of a site are everyone's.
        "BeginDeactivation": _admin("name"),
        "DeleteActivation": _admin("name"),
    },
    "keypeg.v1.CloudSessionService": {
        "GetCloudSession": _member("name"),
        "OpenCloudSession": _member("name"),
        "CloseCloudSession": _member("name"),
        "SetCloudSessionMode": _member("name"),
        "ChooseCloudLicenses": _member("name"),
        "WatchCloudSession": _member("name"),
    },
    "keypeg.v1.LocationService": {
        "GetLocation": _member("name"),
        "ListLocations": _member("parent"),
        "AuthorizeKeyWrite": _member("parent"),
        "CreateKeyLocation": _member("parent"),
        "CheckKey": _member("parent"),
        "ReportKeyLost": _admin("name"),
        "ReplaceKey": _admin("name"),
    },
    "keypeg.v1.SessionService": {
        "HoldSession": _CALLER,  # what it asks for is looked up in the caller's own account
        "CloseSession": _PUBLIC,  # whoever has the release token
    },
    "keypeg.v1.SeatService": {
        "AcquireSeat": _POOL_MEMBER,
        "LeaveQueue": _HOLDER,
        "RenewSeat": _HOLDER,
        "ReleaseSeat": _HOLDER,
        "FreeSeat": _POOL_ADMIN,
        "GetPool": _POOL_MEMBER,
        "ListPools": _member("parent"),
        "ListLeases": _POOL_MEMBER,
        "ListQueuePlaces": _POOL_MEMBER,
        "Explain": _POOL_MEMBER,
        "GetPoolRules": _POOL_ADMIN,
        "UpdatePoolRules": _POOL_ADMIN,
        "WatchPool": _POOL_MEMBER,
        "ListPoolEvents": _POOL_MEMBER,
    },
    "keypeg.v1.BorrowService": {
        "CreateBorrow": _POOL_MEMBER,
        "RenewBorrow": Rule(Access.BORROWER),
        "ReturnBorrow": _POOL_MEMBER,  # whoever hands in what its key has signed
        "WriteOffBorrow": Rule(Access.BORROW_ADMIN),
        "GetBorrow": Rule(Access.BORROW_MEMBER),
        "ListBorrows": _POOL_MEMBER,
    },
    "keypeg.v1.ReportService": {
        "ExportLog": _admin("parent"),
        "SimulateSeats": _admin("parent"),
    },
    "grpc.health.v1.Health": {"Check": _PUBLIC, "List": _PUBLIC, "Watch": _PUBLIC},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _PUBLIC},
}

TABLE: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        f"/{service}/{method}": rule
        for service, methods in _BY_SERVICE.items()
        for method, rule in methods.items()
    }
)


def rule_of(method: str) -> Rule:
    """The rule of a method, as `/package.Service/Method`; PermissionDenied when it has none."""
    try:
        return TABLE[method]
    except KeyError:
        raise _denied(method) from None


def check_role(rule: Rule, caller: Caller, method: str) -> None:
    """Refuse staff's methods to others; before the request is looked at."""
    if rule.access is Access.PUBLISHER and caller.role is not Role.PUBLISHER:
        raise _denied(method)


def check_account(rule: Rule, caller: Caller, request: Any, method: str) -> None:
    """Refuse what belongs to another account; the request's names are well-formed by now."""
    if not rule.field or caller.role is Role.PUBLISHER:
        return
    name = getattr(request, rule.field)
    account = "/".join(name.split("/", 2)[:2])
    if not names.ACCOUNT.matches(account) or caller.account != account:
        raise not_found(name)
    if rule.access is Access.ADMIN and caller.role is not Role.ADMIN:
        raise _denied(method)


def _denied(method: str) -> PermissionDenied:
    short = method.rpartition("/")[2]
    return PermissionDenied(
        f"You may not call {short}; ask an administrator of your account, or the publisher.",
        method=method,
    )

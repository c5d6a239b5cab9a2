"""What a rule says of who may call a method, and its carrying out.

Promises: pure rules. Who lacks the right is denied before anything is looked at, whatever the request names; what is
not the caller's and what is not there are the same NOT_FOUND.

Leaves to others: which method has which rule (authorization.py), finding out who calls (gate.py), the rights of roles
(domain/rights.py); carrying out the rules for pools, seats and borrows, whose account and holder only their service
knows.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from keypeg.errors import PermissionDenied
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.client_certificate import CertificateRole
from keypeg_server.domain.rights import RIGHTS, Right
from keypeg_server.service.accounts import not_found


class Access(enum.Enum):
    """To whom, of those who have the right, what a request names is there."""

    PUBLIC = "anyone, without signing in"
    CALLER = "anyone who is signed in: it names nothing of anybody's, or their own"
    USER = "the user whom the request names, and who has the right in their account"
    ACCOUNT = "who sees the account that the request names"
    POOL = "who sees the account whose pool the request names"
    HOLDER = "who holds it"
    BORROWER = "who borrowed it"
    BORROW = "who borrowed it, and who sees the people of the account"
    CERTIFICATE = "who calls by a certificate, about that certificate"
    CREDENTIAL = "for whom it signs in, and who sees the people of the account"


@dataclass(frozen=True)
class Rule:
    """Who may call a method: who has the right (None: everyone), and sees what is named.

    `field` of the request has the name of something in the account. Without a right, and where it is about one
    user, people call themselves: an API key may only where the rule says so. `in_person`: nor may one although it is
    about others, whatever its scopes. `certificates`: whose certificates open it,
    which have no right of their own.
    """

    access: Access
    right: Right | None = None
    field: str = ""
    keys: bool = False
    certificates: frozenset[CertificateRole] = frozenset()
    in_person: bool = False

    def __post_init__(self) -> None:
        assert bool(self.field) == (self.access in (Access.ACCOUNT, Access.USER))
        assert self.right is not None or self.access in (
            Access.PUBLIC,
            Access.CALLER,
            Access.CERTIFICATE,
        )
        if self.access is Access.PUBLIC and self.certificates:  # nobody asks which one calls
            assert self.certificates == frozenset(CertificateRole)


def check_right(rule: Rule, caller: Caller, method: str) -> None:
    """Refuse who lacks the right of a method; before the request is looked at."""
    if caller.machine is not None:
        if caller.machine not in rule.certificates:
            raise _by_certificate(caller.machine, method)
        return
    if rule.access is Access.CERTIFICATE:
        raise denied(method)
    right = rule.right
    by_key = caller.scopes is not None
    own = right is None or rule.access is Access.USER or rule.in_person
    if by_key and not rule.keys and own:
        short = method.rpartition("/")[2]
        raise PermissionDenied(f"API keys may not call {short}; sign in.", method=method)
    if right is None or caller.may(right) or rule.access is Access.USER:
        return
    if right in RIGHTS[caller.role]:
        short = method.rpartition("/")[2]
        raise PermissionDenied(
            f"This API key may not call {short}, which takes the scope {right.value}; use a key that has it.",
            method=method,
            scope=right.value,
        )
    raise denied(method)


def check_account(rule: Rule, caller: Caller, request: Any, method: str) -> None:
    """Refuse what belongs to an account that the caller does not see; the request's names are well-formed by now."""
    if not rule.field:
        return
    name = getattr(request, rule.field)
    if rule.access is Access.USER and "/".join(name.split("/", 4)[:4]) != caller.user:
        assert rule.right is not None
        if not caller.may(rule.right):
            raise denied(method)
    elif rule.access is Access.USER:
        return
    if not caller.sees_account("/".join(name.split("/", 2)[:2])):
        raise not_found(name)


def _by_certificate(machine: CertificateRole, method: str) -> PermissionDenied:
    """The refusal for a bridge or site that asks for what those do not need."""
    short = method.rpartition("/")[2]
    return PermissionDenied(
        f"The certificate of a {machine.word} does not open {short}; users call it, with a token.",
        method=method,
    )


def denied(method: str) -> PermissionDenied:
    """The refusal of a method that somebody may not call."""
    short = method.rpartition("/")[2]
    return PermissionDenied(
        f"You may not call {short}; ask an administrator of your account, or the publisher.",
        method=method,
    )

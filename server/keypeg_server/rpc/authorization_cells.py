"""What the table of who may call what means, cell by cell: each rule, for each kind of caller.

Promises: pure; says of every cell how a call ends, so that docs/authorization.md is made from it and a test calls
each of them for real.

Leaves to others: the table itself (authorization.py), the rights of roles (domain/rights.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from keypeg_server.domain.client_certificate import CertificateRole
from keypeg_server.domain.rights import RIGHTS, Right, Role
from keypeg_server.rpc.access_rules import Access, Rule


class Who(enum.Enum):
    """Who calls, seen from what the request names."""

    NOBODY = "not signed in"
    HOLDER = "member, whose it is"
    MEMBER = "another member"
    ADMIN = "administrator"
    OWNER = "owner"
    STRANGER = "member of another account"
    STRANGE_ADMIN = "administrator of another account"
    STRANGE_OWNER = "owner of another account"
    RESELLER = "reseller of the account"
    STRANGE_RESELLER = "another reseller"
    SUPPORT = "publisher's support"
    OPERATOR = "publisher's operator"
    STAFF = "publisher's administrator"
    BRIDGE = "bridge of the account"
    STRANGE_BRIDGE = "bridge of another account"
    SITE = "site of the account"
    STRANGE_SITE = "site of another account"


class Outcome(enum.Enum):
    """How a call ends, as far as it depends on who calls."""

    ALLOWED = "yes"
    SIGN_IN = "sign in"  # UNAUTHENTICATED
    DENIED = "no"  # PERMISSION_DENIED
    HIDDEN = "not there"  # NOT_FOUND, as for what does not exist


ROLE_OF: Final[Mapping[Who, Role]] = {
    Who.HOLDER: Role.MEMBER,
    Who.MEMBER: Role.MEMBER,
    Who.ADMIN: Role.ADMIN,
    Who.OWNER: Role.OWNER,
    Who.STRANGER: Role.MEMBER,
    Who.STRANGE_ADMIN: Role.ADMIN,
    Who.STRANGE_OWNER: Role.OWNER,
    Who.RESELLER: Role.RESELLER,
    Who.STRANGE_RESELLER: Role.RESELLER,
    Who.SUPPORT: Role.SUPPORT,
    Who.OPERATOR: Role.OPERATOR,
    Who.STAFF: Role.PUBLISHER,
}
assert set(ROLE_OF.values()) == set(Role), "every role is called for real"

MACHINES: Final[Mapping[Who, CertificateRole]] = {
    Who.BRIDGE: CertificateRole.BRIDGE,
    Who.STRANGE_BRIDGE: CertificateRole.BRIDGE,
    Who.SITE: CertificateRole.SITE,
    Who.STRANGE_SITE: CertificateRole.SITE,
}
"""Who calls by a certificate, at the port for that; they have no right."""
assert set(MACHINES.values()) == set(CertificateRole), "every kind of certificate calls for real"

STRANGERS: Final = frozenset(
    {
        Who.STRANGER,
        Who.STRANGE_ADMIN,
        Who.STRANGE_OWNER,
        Who.STRANGE_RESELLER,
        Who.STRANGE_BRIDGE,
        Who.STRANGE_SITE,
    }
)
"""To whom the account is not there."""


def outcome(rule: Rule, who: Who) -> Outcome:
    """How a call ends."""
    if who in MACHINES:
        if MACHINES[who] not in rule.certificates:
            return Outcome.DENIED
        strange = who in STRANGERS and rule.access is Access.ACCOUNT
        return Outcome.HIDDEN if strange else Outcome.ALLOWED
    if rule.access is Access.PUBLIC:
        return Outcome.ALLOWED
    if who is Who.NOBODY:
        return Outcome.SIGN_IN
    if rule.access is Access.CERTIFICATE:
        return Outcome.DENIED
    if rule.access is Access.USER and who is Who.HOLDER:
        return Outcome.ALLOWED
    rights = RIGHTS[ROLE_OF[who]]
    if rule.right is not None and rule.right not in rights:
        return Outcome.DENIED
    if rule.access is Access.CALLER or who is Who.HOLDER:
        return Outcome.ALLOWED
    if who in STRANGERS or rule.access is Access.HOLDER:
        return Outcome.HIDDEN
    owned = (Access.BORROWER, Access.BORROW, Access.CREDENTIAL)
    if rule.access in owned and Right.PEOPLE_READ not in rights:
        return Outcome.HIDDEN
    return Outcome.DENIED if rule.access is Access.BORROWER else Outcome.ALLOWED

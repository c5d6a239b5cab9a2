"""What people may do: roles, and the rights that each has.

Promises: one table from role to rights. A right is also a scope of an API key, by the same name; a key has the
rights of its user's role that are among its scopes, and never more.

Leaves to others: which accounts a role sees (caller.py), which right a method takes (rpc/authorization.py), who
gives which role to whom (people.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class Role(enum.IntEnum):
    """What a user may do; numbers of keypeg.v1.Role."""

    MEMBER = 1
    ADMIN = 2
    PUBLISHER = 3  # the publisher's administrators
    OWNER = 4
    OPERATOR = 5
    SUPPORT = 6
    RESELLER = 7


class Right(enum.Enum):
    """Something that one may do or may not; its value is the name of the scope."""

    LICENSES_READ = "licenses:read"  # an account, what it owns, and where that is
    LICENSES_USE = "licenses:use"  # activate, open cloud sessions, run apps, take and borrow seats
    LICENSES_MANAGE = "licenses:manage"  # take back what others use, replace lost keys
    LICENSES_WRITE = "licenses:write"  # make licenses
    SEATS_READ = "seats:read"  # pools, and how they are used
    SEATS_FREE = "seats:free"  # take a seat from who holds it
    SEATS_MANAGE = "seats:manage"  # rules of pools, and what is borrowed
    PEOPLE_READ = "people:read"  # who is there, and who holds what
    PEOPLE_WRITE = "people:write"  # invite, change and remove people
    REPORTS_READ = "reports:read"  # the log, and what is made of it
    ACCOUNTS_READ = "accounts:read"  # which accounts there are
    ACCOUNTS_WRITE = "accounts:write"  # make accounts
    CATALOG_WRITE = "catalog:write"  # make products
    STAFF_READ = "staff:read"  # for which accounts resellers act
    STAFF_WRITE = "staff:write"  # the publisher's own people, and resellers


_MEMBER: Final = frozenset({Right.LICENSES_READ, Right.LICENSES_USE, Right.SEATS_READ})
_ADMIN: Final = _MEMBER | {
    Right.LICENSES_MANAGE,
    Right.SEATS_FREE,
    Right.SEATS_MANAGE,
    Right.PEOPLE_READ,
    Right.PEOPLE_WRITE,
    Right.REPORTS_READ,
}
_RESELLER: Final = frozenset(
    {
        Right.LICENSES_READ,
        Right.LICENSES_WRITE,
        Right.SEATS_READ,
        Right.PEOPLE_READ,
        Right.PEOPLE_WRITE,
        Right.ACCOUNTS_READ,
        Right.ACCOUNTS_WRITE,
    }
)
_SUPPORT: Final = frozenset(
    {
        Right.LICENSES_READ,
        Right.SEATS_READ,
        Right.SEATS_FREE,
        Right.PEOPLE_READ,
        Right.REPORTS_READ,
        Right.ACCOUNTS_READ,
        Right.STAFF_READ,
    }
)
_OPERATOR: Final = _ADMIN | _RESELLER | _SUPPORT

RIGHTS: Final[Mapping[Role, frozenset[Right]]] = MappingProxyType(
    {
        Role.MEMBER: _MEMBER,
        Role.ADMIN: _ADMIN,
        Role.OWNER: _ADMIN,
        Role.RESELLER: _RESELLER,
        Role.SUPPORT: _SUPPORT,
        Role.OPERATOR: _OPERATOR,
        Role.PUBLISHER: frozenset(Right),
    }
)
assert set(RIGHTS) == set(Role)

STAFF: Final = frozenset({Role.SUPPORT, Role.OPERATOR, Role.PUBLISHER})
"""The publisher's own people: they see every account, and belong to none."""

OUTSIDE: Final = STAFF | {Role.RESELLER}
"""Who belongs to no account."""

"""What the table of who may call what means, cell by cell: each kind of access, for each kind of caller.

Promises: pure; says of every cell how a call ends, so that docs/authorization.md is made from it and a test calls
each of them for real.

Leaves to others: the table itself (authorization.py).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from keypeg_server.rpc.authorization import Access


class Who(enum.Enum):
    """Who calls, seen from what the request names."""

    NOBODY = "not signed in"
    HOLDER = "member, whose it is"
    MEMBER = "another member"
    ADMIN = "administrator"
    STRANGER = "member of another account"
    STRANGE_ADMIN = "administrator of another account"
    STAFF = "publisher's staff"


class Outcome(enum.Enum):
    """How a call ends, as far as it depends on who calls."""

    ALLOWED = "yes"
    SIGN_IN = "sign in"  # UNAUTHENTICATED
    DENIED = "no"  # PERMISSION_DENIED
    HIDDEN = "not there"  # NOT_FOUND, as for what does not exist


_OWN: Final = frozenset({Who.HOLDER, Who.MEMBER, Who.ADMIN, Who.STAFF})
_ADMINS: Final = frozenset({Who.ADMIN, Who.STAFF})

ALLOWED: Final[Mapping[Access, frozenset[Who]]] = {
    Access.PUBLIC: frozenset(Who),
    Access.CALLER: frozenset(Who) - {Who.NOBODY},
    Access.MEMBER: _OWN,
    Access.POOL_MEMBER: _OWN,
    Access.ADMIN: _ADMINS,
    Access.POOL_ADMIN: _ADMINS,
    Access.PUBLISHER: frozenset({Who.STAFF}),
    Access.HOLDER: frozenset({Who.HOLDER}),
    Access.BORROWER: frozenset({Who.HOLDER}),
    Access.BORROW_MEMBER: frozenset({Who.HOLDER, *_ADMINS}),
    Access.BORROW_ADMIN: _ADMINS,
}
"""Whose call goes on."""

SEES: Final[Mapping[Access, frozenset[Who]]] = {
    **ALLOWED,
    Access.ADMIN: _OWN,
    Access.POOL_ADMIN: _OWN,
    Access.PUBLISHER: frozenset(Who) - {Who.NOBODY},
    Access.BORROWER: frozenset({Who.HOLDER, *_ADMINS}),
    Access.BORROW_ADMIN: frozenset({Who.HOLDER, *_ADMINS}),
}
"""To whom what the request names is there at all."""


def outcome(access: Access, who: Who) -> Outcome:
    """How a call ends."""
    if who in ALLOWED[access]:
        return Outcome.ALLOWED
    if who is Who.NOBODY:
        return Outcome.SIGN_IN
    return Outcome.DENIED if who in SEES[access] else Outcome.HIDDEN

"""Who gives which role to whom, and who takes it back.

Promises: pure tables. Nobody gives more than they have; an account that has an owner keeps one; who sets up an
account for others, a reseller, has no say in its people once it has an owner. Who gives and takes a role has a say in
the second factors of who has it.

Leaves to others: what each role may do (rights.py), storing people (service/people.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from keypeg.errors import AccountOwned, FieldInvalid, LastOwner, PermissionDenied
from keypeg_server.domain.account import User
from keypeg_server.domain.rights import OUTSIDE, Role

_INSIDE: Final = frozenset({Role.MEMBER, Role.ADMIN, Role.OWNER})

GIVES: Final[Mapping[Role, frozenset[Role]]] = MappingProxyType(
    {
        Role.MEMBER: frozenset(),
        Role.ADMIN: frozenset({Role.MEMBER}),
        Role.OWNER: _INSIDE,
        Role.RESELLER: _INSIDE,
        Role.SUPPORT: frozenset(),
        Role.OPERATOR: _INSIDE,
        Role.PUBLISHER: frozenset(Role),
    }
)
"""The roles that each gives and takes, in what it sees."""
assert set(GIVES) == set(Role)


def check_place(role: Role, account: str | None) -> None:
    """Refuse a role of an account outside, and the other way round; `account` is None outside."""
    if (role in OUTSIDE) == (account is None):
        return
    there = [one.name.lower() for one in sorted(_INSIDE if account is not None else OUTSIDE)]
    what = (
        f"is no role {'there' if account is None else 'of an account'}; choose {', '.join(there)}"
    )
    raise FieldInvalid(f"{role.name.lower()} {what}.", fields={"role": what})


def check_gives(giver: Role, role: Role, owner_count: int) -> None:
    """Refuse who may not give this role, or take it, in an account with so many owners."""
    if giver is Role.ADMIN and not owner_count:
        giver = Role.OWNER  # an account from before there were owners, or one that is being set up
    if role not in GIVES[giver]:
        raise PermissionDenied(
            f"Who is {giver.name.lower()} can not give or take the role {role.name.lower()};"
            f" {_ask(role)} can.",
            role=role.name.lower(),
        )
    if giver is Role.RESELLER and owner_count:
        raise AccountOwned(
            "This account has an owner, who invites and removes its people; ask them.",
            role=role.name.lower(),
        )


def check_requires(giver: Role, account: str | None, owner_count: int) -> None:
    """Refuse who may not say whether people need a second factor; `account` is None for the publisher's."""
    check_gives(giver, Role.MEMBER if account is not None else Role.PUBLISHER, owner_count)


def check_resets(giver: Role, giver_name: str, user: User, owner_count: int) -> None:
    """Refuse who may not take away the second factors of a user, in an account with so many owners."""
    check_gives(giver, user.role, owner_count)
    if user.name == giver_name:
        what = "is yourself"
        raise FieldInvalid(
            f"{user.name} {what}; you remove your own: keypeg one-time-codes remove, keypeg login passkey remove.",
            fields={"name": what},
        )
    if user.service:
        what = "is a program, which has no second factor"
        raise FieldInvalid(
            f"{user.name} {what}; revoke its API keys instead.", fields={"name": what}
        )


def check_leaves(role: Role, owner_count: int) -> None:
    """Refuse to take the last owner, or the last administrator of the publisher, away; `owner_count` has that role."""
    if role in (Role.OWNER, Role.PUBLISHER) and owner_count <= 1:
        raise LastOwner(
            "This is the last who may do everything here, and stays; give somebody else the role"
            f" {role.name.lower()} first.",
            role=role.name.lower(),
        )


def _ask(role: Role) -> str:
    return "the publisher's administrator" if role in OUTSIDE else "an owner of the account"

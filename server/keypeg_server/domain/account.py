"""Accounts, and the people who sign in.

Promises: a user of an account is named below it; staff of the publisher belong to no account and are
named below `accounts/-`, an id that no account can have.

Leaves to others: passwords and tokens (service), what a role may do (rpc/authorization.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keypeg import names

from .rights import Role

NO_ACCOUNT: Final = "-"
OUTSIDE_NAME: Final = names.ACCOUNT.build(NO_ACCOUNT)


class AccountKind(enum.IntEnum):
    """keypeg.v1.AccountKind, but for its zero."""

    PERSONAL = 1  # one cloud session
    GROUP = 2  # each member has their own


@dataclass(frozen=True)
class Account:
    """A customer."""

    id: str
    display_name: str
    create_time: datetime
    second_factor_required: bool = False  # of its people
    kind: AccountKind = AccountKind.PERSONAL

    @property
    def name(self) -> str:
        return names.ACCOUNT.build(self.id)


@dataclass(frozen=True)
class PublisherPeople:
    """The publisher's people and resellers, who belong to no account."""

    second_factor_required: bool = False

    @property
    def name(self) -> str:
        return OUTSIDE_NAME


@dataclass(frozen=True)
class User:
    """A person, or a program, that signs in."""

    account: str | None  # id; None for staff of the publisher
    id: str
    login: str
    display_name: str
    role: Role
    create_time: datetime
    service: bool = False  # a program: it has API keys and no password
    acts_for: frozenset[str] = frozenset()  # the accounts (names) of a reseller

    @property
    def name(self) -> str:
        return names.USER.build(self.account or NO_ACCOUNT, self.id)

    @property
    def group_name(self) -> str:
        """That of the account, or what stands for it outside."""
        return names.ACCOUNT.build(self.account or NO_ACCOUNT)

    @property
    def account_name(self) -> str | None:
        return None if self.account is None else names.ACCOUNT.build(self.account)

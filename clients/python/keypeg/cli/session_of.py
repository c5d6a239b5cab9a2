"""Whose cloud session a command is about: the account's, in a group one's own, or that of a member who is named.

Promises: the name for the contract, and the account of a name that came back.

Leaves to others: the commands (session.py, session_members.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from keypeg import names

if TYPE_CHECKING:
    from keypeg.cli.link import Link

member_option: Final[Callable[..., Any]] = click.option(
    "--member", metavar="USER", help="In a group: of this member, instead of your own."
)


async def name_of(link: Link, account: str | None, member: str | None) -> str:
    """The name of a cloud session."""
    from keypeg.cli import resolve

    if member:
        return f"{await resolve.user_name(link, member, account)}/cloudSession"
    return f"{await link.account(account)}/cloudSession"


def account_of(cloud_session: str) -> str:
    """The account of a cloud session (name)."""
    parent = names.parent(cloud_session)
    return names.parent(parent) if names.USER.matches(parent) else parent

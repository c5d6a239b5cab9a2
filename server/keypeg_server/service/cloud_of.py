"""Which cloud session is meant: that of an account, or of a member of a group.

Promises: found within a unit of work, as the account is then; what is not there is NOT_FOUND, and where an account is
a group and nobody is named, the refusal says what to name.

Leaves to others: who may ask for whose (rpc/cloud_session_service.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg_server.domain.cloud_session import CloudSession
from keypeg_server.service.accounts import not_found
from keypeg_server.service.store import Unit


@dataclass(frozen=True)
class Whose:
    """A cloud session, as it was asked for; all are ids."""

    account: str
    member: str = ""  # named; empty where only the account is
    asker: str = ""  # who asks, where they are of the account: whose it is in a group

    def session(self, unit: Unit) -> CloudSession:
        """As it is now."""
        found = unit.places.find_cloud_session(self.account, self.member or self.asker)
        if found is not None and (not self.member or found.member == self.member):
            return found
        if self.member:
            raise not_found(names.MEMBER_CLOUD_SESSION.build(self.account, self.member))
        name = names.ACCOUNT.build(self.account)
        if unit.accounts.account(self.account) is None:
            raise not_found(name)
        what = f"{name} is a group, in which each member has a cloud session"
        raise FieldInvalid(
            f"{what}; name whose: {name}/users/USER/cloudSession, or the member's login with --member.",
            fields={"name": what},
        )

"""Which cloud is meant: that of an account, or of a member of a group.

Promises: found within a unit of work, as the account is then; what is not there is NOT_FOUND, and where an account is
a group and nobody is named, the refusal says what to name. Who was removed while they asked hears that. Members put
nothing into the clouds of others, and take nothing out: these are not there for them.

Leaves to others: who may ask for whose cloud session (rpc/cloud_session_service.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg_server.domain.cloud_session import CloudSession
from keypeg_server.domain.events import MemberCutOff
from keypeg_server.domain.license_life import Who
from keypeg_server.domain.location import CLOUD_ID, Location, member_of
from keypeg_server.service.accounts import not_found
from keypeg_server.service.placing import cloud_place
from keypeg_server.service.refusals import cut_off
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
        if self.asker:
            raise cut_off(MemberCutOff(name, names.USER.build(self.account, self.asker)))
        what = f"{name} is a group, in which each member has a cloud session"
        raise FieldInvalid(
            f"{what}; name whose: {name}/users/USER/cloudSession, or the member's login with --member.",
            fields={"name": what},
        )


def place_for(unit: Unit, account: str, id: str, user: str, who: Who) -> Location | None:
    """A location as a user (name) names it: in a group, `cloud` is their own, and each member has one."""
    check_own(account, id, user, who)
    owner, asker = names.USER.parse(user)
    member = asker if id == CLOUD_ID and owner == account else member_of(id)
    session = unit.places.find_cloud_session(account, member) if member else None
    if session is not None and session.member:
        return cloud_place(unit, session)
    return unit.places.location(account, id)


def check_own(account: str, location: str, user: str, who: Who) -> None:
    """Refuse a member who would change what is in the cloud (id of the location) of another one."""
    member = member_of(location)
    if member and who is Who.MEMBER and names.USER.build(account, member) != user:
        raise not_found(names.LOCATION.build(account, location))

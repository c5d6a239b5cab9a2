"""Groups: who has what open where, members who are cut off, and which accounts are groups; one use case a method.

Promises: whoever is removed, suspended or ended from outside has nothing of the group's when the transaction is on
disk, with its records in the log: what they had in the cloud is back with the account, and goes to members who wait
for it in automatic mode. Their apps are told why (upheavals.py).

Leaves to others: who may ask (rpc), users themselves and their sign-ins (accounts.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from keypeg import names
from keypeg_server.domain import cloud_session as cloud
from keypeg_server.domain.account import Account, AccountKind, User
from keypeg_server.domain.cloud_session import CloudSession
from keypeg_server.domain.events import CloudSessionClosed, MemberCutOff
from keypeg_server.domain.location import CLOUD_ID, Location, LocationKind
from keypeg_server.service.accounts import not_found
from keypeg_server.service.cloud import CloudView, view_of
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.license_changes import LicenseChanges
from keypeg_server.service.placing import Placing
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Page, Request, Store, Unit

_OTHER_KIND: Final = "the account became one of another kind"


class CloudGroups:
    """See EndCloudSession and its neighbors in the contract's CloudSessionService."""

    def __init__(
        self, store: Store, clock: Clock, placing: Placing, changes: LicenseChanges
    ) -> None:
        self._changes = changes
        self._store = store
        self._clock = clock
        self._placing = placing

    async def list_of(self, account: str, page: Page) -> list[CloudView]:
        """Of the members of a group who have used theirs; none where the account is no group."""

        def look(unit: Unit) -> list[CloudView]:
            if unit.accounts.account(account) is None:
                raise not_found(names.ACCOUNT.build(account))
            found = unit.places.list_cloud_sessions(account, page)
            return [view_of(unit, one) for one in found if one.member]

        return await self._store.read(look)

    async def end(
        self, request: Request[CloudView], whose: Whose, reason: str, *, suspend: bool
    ) -> bytes:
        """Take all from a member; `suspend` keeps them from opening it again."""
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            self._changes.settle(unit, whose.account, now)
            before = whose.session(unit)
            outcome = cloud.ended(before, reason if suspend else "")
            if suspend:
                unit.publish(MemberCutOff(_account(before), before.member_name, suspended=reason))
                unit.record(
                    _account(before), "member_suspended", member=before.member_name, why=reason
                )
            self._end(unit, before, outcome, reason, now)
            return view_of(unit, outcome.session)

        return await self._store.once(request, change)

    async def resume(self, request: Request[CloudView], whose: Whose) -> bytes:
        """Let a suspended member open it again."""
        now = self._clock.wall()

        def change(unit: Unit) -> CloudView:
            before = whose.session(unit)
            after = replace(before, suspended="")
            if after != before:
                unit.places.save_cloud_session(after)
                unit.record(_account(before), "member_resumed", member=before.member_name)
                self._changes.settle(unit, whose.account, now)  # what may go there again
            return view_of(unit, after)

        return await self._store.once(request, change)

    async def set_kind(self, request: Request[Account], account: str, kind: AccountKind) -> bytes:
        """Make a group of an account, or the reverse: nothing stays in a cloud by this."""
        now = self._clock.wall()

        def change(unit: Unit) -> Account:
            before = unit.accounts.account(account)
            if before is None:
                raise not_found(names.ACCOUNT.build(account))
            if before.kind is kind:
                return before
            for session in unit.places.list_cloud_sessions(account):
                outcome = cloud.ended(replace(session, suspended=""))
                self._end(unit, session, outcome, _OTHER_KIND, now)
                unit.places.delete_cloud_session(session)
            after = replace(before, kind=kind)
            unit.accounts.update_account(after)
            if kind is AccountKind.PERSONAL:
                place = Location(account, CLOUD_ID, LocationKind.CLOUD, CLOUD_ID)
                unit.places.add_location(place)
            unit.record(after.name, "account_kind", kind=kind.name.lower())
            self._changes.settle(unit, account, now)  # what was to go to a cloud that is no more
            return after

        return await self._store.once(request, change)

    def leaves(self, unit: Unit, user: User, now: datetime) -> None:
        """A user is about to be removed: where that is a member of a group, nothing of it stays with them."""
        if user.account is None:
            return
        session = unit.places.find_cloud_session(user.account, user.id)
        if session is None or not session.member:
            return
        self._changes.settle(unit, user.account, now)
        session = unit.places.cloud_session(user.account, user.id)  # after what comes first
        unit.publish(MemberCutOff(_account(session), session.member_name))
        self._end(unit, session, cloud.ended(session), "the member was removed", now)
        unit.places.delete_cloud_session(session)
        self._changes.settle(unit, user.account, now)  # what was to go there

    def _end(
        self, unit: Unit, before: CloudSession, outcome: cloud.Outcome, why: str, now: datetime
    ) -> None:
        if outcome.left is not None:
            account, member = _account(before), before.member_name
            said = {"member": member} if member else {}
            unit.record(
                account,
                "cloud_closed",
                user="",
                device="",
                host="",
                from_device=outcome.left.device,
                why=why,
                **said,
            )
            unit.publish(CloudSessionClosed(account, member=member, why=why))
        self._placing.carry_out(unit, before, outcome, now)


def _account(session: CloudSession) -> str:
    return names.ACCOUNT.build(session.account)

"""Cloud sessions in tables: those of accounts, and of members of groups; see service/store.py for what is promised.

Promises: rows without the ORM's bookkeeping, for they are read in every change; one query for an account that is no
group.

Leaves to others: locations (place_store.py), which mixes this in.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import bindparam, update
from sqlmodel import Session, col, delete, insert, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.cloud_session import CloudMode, CloudSession, CloudState, Holder
from keypeg_server.service.store import Page
from keypeg_server.storage.tables import AccountRow, LocationRow, UserRow
from keypeg_server.storage.tables_group import MemberCloudRow

_ACCOUNT: Final = AccountRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it
_MEMBER: Final = MemberCloudRow.__table__  # type: ignore[attr-defined]  # as above
_USER: Final = UserRow.__table__  # type: ignore[attr-defined]  # as above
_CLOUD: Final = [column for column in _ACCOUNT.c if column.name.startswith("cloud_")]
_FIND_CLOUD: Final = select(_ACCOUNT.c.id, _ACCOUNT.c.kind, *_CLOUD).where(
    _ACCOUNT.c.id == bindparam("account")
)
_SAVE_CLOUD: Final = (
    update(_ACCOUNT)
    .where(_ACCOUNT.c.id == bindparam("account"))
    .values({column.name: bindparam(column.name) for column in _CLOUD})
)
_OF_MEMBERS: Final = (
    select(_MEMBER, _USER.c.login)
    .join(_USER, _USER.c.id == _MEMBER.c.member)
    .where(_MEMBER.c.account == bindparam("account"))
)
_OF_MEMBER: Final = _OF_MEMBERS.where(_MEMBER.c.member == bindparam("of_member"))
_CHANGED: Final = [column for column in _MEMBER.c if column.name not in ("account", "member")]
_SAVE_MEMBER: Final = (
    update(_MEMBER)
    .where(_MEMBER.c.account == bindparam("of_account"), _MEMBER.c.member == bindparam("of_member"))
    .values({column.name: bindparam(column.name) for column in _CHANGED})
)


class SqlClouds:
    """Cloud sessions, on a session of the database."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def cloud_session(self, account: str, member: str = "") -> CloudSession:
        found = self.find_cloud_session(account, member)
        assert found is not None, "every account has its cloud session, and every member of a group"
        return found

    def find_cloud_session(self, account: str, member: str = "") -> CloudSession | None:
        row = self._session.execute(_FIND_CLOUD, {"account": account}).one_or_none()
        if row is None:
            return None
        if row.kind != AccountKind.GROUP:
            return _session_of(row, account)
        named = {"account": account, "of_member": member}
        found = self._session.execute(_OF_MEMBER, named).one_or_none()
        if found is not None:
            return _session_of(found, account, member, found.login, found.suspended)
        user = self._session.get(UserRow, member)
        if user is None or user.account != account:
            return None
        return CloudSession(account, member=member, login=user.login)

    def list_cloud_sessions(self, account: str, page: Page | None = None) -> list[CloudSession]:
        row = self._session.execute(_FIND_CLOUD, {"account": account}).one_or_none()
        if row is None:
            return []
        if row.kind != AccountKind.GROUP:
            return [_session_of(row, account)]
        wanted = _OF_MEMBERS.order_by(_MEMBER.c.member)
        if page is not None:
            wanted = wanted.where(_MEMBER.c.member > page.after).limit(page.limit)
        return [
            _session_of(one, account, one.member, one.login, one.suspended)
            for one in self._session.execute(wanted, {"account": account})
        ]

    def save_cloud_session(self, session: CloudSession) -> None:
        holder, opened = session.holder, session.open_time
        values = {
            "cloud_mode": session.mode,
            "cloud_state": session.state,
            "cloud_device": holder.device if holder else "",
            "cloud_host_name": holder.host_name if holder else "",
            "cloud_open_time_us": None if opened is None else to_us(opened),
            "cloud_user": session.user,
            "cloud_generation": session.generation,
        }
        if not session.member:
            self._session.execute(_SAVE_CLOUD, {"account": session.account, **values})
            return
        values["suspended"] = session.suspended
        named = {"of_account": session.account, "of_member": session.member}
        saved: Any = self._session.execute(_SAVE_MEMBER, {**named, **values})
        if saved.rowcount == 0:
            new = insert(_MEMBER).values(account=session.account, member=session.member, **values)
            self._session.execute(new)

    def delete_cloud_session(self, session: CloudSession) -> None:
        mine = (col(LocationRow.account) == session.account, col(LocationRow.id) == session.place)
        self._session.exec(delete(LocationRow).where(*mine))
        if session.member:
            self._session.exec(
                delete(MemberCloudRow).where(
                    col(MemberCloudRow.account) == session.account,
                    col(MemberCloudRow.member) == session.member,
                )
            )


def _session_of(
    row: Any, account: str, member: str = "", login: str = "", suspended: str = ""
) -> CloudSession:
    """Of an AccountRow, or of a MemberCloudRow with the login."""
    opened = row.cloud_open_time_us
    holder = Holder(row.cloud_device, row.cloud_host_name) if row.cloud_device else None
    return CloudSession(
        account=account,
        mode=CloudMode(row.cloud_mode),
        state=CloudState(row.cloud_state),
        holder=holder,
        open_time=None if opened is None else from_us(opened),
        user=row.cloud_user,
        generation=row.cloud_generation,
        member=member,
        login=login,
        suspended=suspended,
    )

"""Invitations, API keys and resellers in tables; see service/people_ports.py for what is promised."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, delete, select

from keypeg import names
from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.access import ApiKey, Invitation
from keypeg_server.domain.account import NO_ACCOUNT, User
from keypeg_server.domain.rights import Right, Role
from keypeg_server.service.people_ports import FoundKey
from keypeg_server.storage.account_store import user_of
from keypeg_server.storage.tables import UserRow
from keypeg_server.storage.tables_people import ApiKeyRow, InvitationRow, ResellerAccountRow


class SqlPeople:
    """`People` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def change_role(self, user: User, role: Role) -> User:
        row = self._session.get_one(UserRow, user.id)
        row.role = role
        self._session.add(row)
        return replace(user, role=role)

    def invitation(self, account: str, id: str) -> tuple[Invitation, bytes] | None:
        row = self._session.get(InvitationRow, id)
        if row is None or (row.account or NO_ACCOUNT) != account:
            return None
        return _invitation(row), row.digest

    def list_invitations(self, account: str, after: str, limit: int) -> list[Invitation]:
        wanted = (
            select(InvitationRow)
            .where(_of(account), col(InvitationRow.id) > after)
            .order_by(col(InvitationRow.id))
            .limit(limit)
        )
        return [_invitation(row) for row in self._session.exec(wanted)]

    def add_invitation(self, invitation: Invitation, digest: bytes) -> None:
        self._session.add(
            InvitationRow(
                id=invitation.id,
                account=invitation.account,
                digest=digest,
                address=invitation.address,
                role=invitation.role,
                created_by=invitation.created_by,
                create_time_us=to_us(invitation.create_time),
                expire_time_us=to_us(invitation.expire_time),
            )
        )
        self._session.flush()

    def delete_invitation(self, id: str) -> None:
        self._session.exec(delete(InvitationRow).where(col(InvitationRow.id) == id))

    def delete_ended_invitations(self, account: str, now: datetime) -> None:
        ended = col(InvitationRow.expire_time_us) <= to_us(now)
        self._session.exec(delete(InvitationRow).where(_of(account), ended))

    def key_by_digest(self, digest: bytes) -> FoundKey | None:
        wanted = (
            select(ApiKeyRow, UserRow)
            .join(UserRow, col(UserRow.id) == col(ApiKeyRow.user))
            .where(col(ApiKeyRow.digest) == digest)
        )
        found = self._session.exec(wanted).first()
        if found is None:
            return None
        row, user_row = found
        user = user_of(self._session, user_row)
        return FoundKey(_key(row, user), user, digest)

    def keys_of(self, user: User) -> list[ApiKey]:
        wanted = select(ApiKeyRow).where(col(ApiKeyRow.user) == user.id).order_by(col(ApiKeyRow.id))
        return [_key(row, user) for row in self._session.exec(wanted)]

    def add_key(self, key: ApiKey, digest: bytes) -> None:
        self._session.add(
            ApiKeyRow(
                id=key.id,
                user=names.USER.parse(key.user)[1],
                digest=digest,
                display_name=key.display_name,
                scopes=sorted(scope.value for scope in key.scopes),
                create_time_us=to_us(key.create_time),
                expire_time_us=to_us(key.expire_time),
                last_use_time_us=None,
            )
        )
        self._session.flush()

    def update_key(self, key: ApiKey) -> None:
        row = self._session.get(ApiKeyRow, key.id)
        if row is None:  # revoked meanwhile
            return
        row.expire_time_us = to_us(key.expire_time)
        row.last_use_time_us = None if key.last_use_time is None else to_us(key.last_use_time)
        self._session.add(row)

    def delete_key(self, id: str) -> None:
        self._session.exec(delete(ApiKeyRow).where(col(ApiKeyRow.id) == id))

    def act_for(self, user: User, accounts: frozenset[str]) -> User:
        mine = col(ResellerAccountRow.user) == user.id
        self._session.exec(delete(ResellerAccountRow).where(mine))
        for name in sorted(accounts):
            (account,) = names.ACCOUNT.parse(name)
            self._session.add(ResellerAccountRow(user=user.id, account=account))
        self._session.flush()
        return replace(user, acts_for=accounts)


def _of(account: str) -> ColumnElement[bool]:
    return col(InvitationRow.account) == (None if account == NO_ACCOUNT else account)


def _invitation(row: InvitationRow) -> Invitation:
    return Invitation(
        row.account,
        row.id,
        row.address,
        Role(row.role),
        row.created_by,
        from_us(row.create_time_us),
        from_us(row.expire_time_us),
    )


def _key(row: ApiKeyRow, user: User) -> ApiKey:
    return ApiKey(
        user.name,
        row.id,
        row.display_name,
        frozenset(map(Right, row.scopes)),
        from_us(row.create_time_us),
        from_us(row.expire_time_us),
        None if row.last_use_time_us is None else from_us(row.last_use_time_us),
    )

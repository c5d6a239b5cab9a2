"""Passkeys in tables; see service/sign_in_ports.py for what is promised."""

from __future__ import annotations

from sqlalchemy import ColumnElement, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import User
from keypeg_server.domain.passkey import Passkey
from keypeg_server.storage.account_store import user_of
from keypeg_server.storage.tables import UserRow
from keypeg_server.storage.tables_sign_in import PasskeyRow, PasskeyUseRow


class SqlPasskeys:
    """`Passkeys` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_user(self, user: str) -> list[Passkey]:
        return self._find(col(PasskeyRow.user) == user)

    def of_credential(self, credential_id: bytes) -> Passkey | None:
        found = self._find(col(PasskeyRow.credential_id) == credential_id)
        return found[0] if found else None

    def add(self, passkey: Passkey) -> None:
        row = PasskeyRow(
            id=passkey.id,
            user=passkey.user.id,
            credential_id=passkey.credential_id,
            public_key=passkey.public_key,
            sign_count=passkey.sign_count,
            display_name=passkey.display_name,
            create_time_us=to_us(passkey.create_time),
            use_time_us=None,
        )
        self._session.add(row)
        self._session.flush()

    def rename(self, passkey: Passkey) -> None:
        self._change(passkey, display_name=passkey.display_name)

    def count(self, passkey: Passkey) -> None:
        used = passkey.use_time
        self._change(
            passkey,
            sign_count=passkey.sign_count,
            use_time_us=None if used is None else to_us(used),
        )

    def delete(self, id: str) -> None:
        self._session.exec(delete(PasskeyRow).where(col(PasskeyRow.id) == id))

    def use(self, user: str, issue_us: int) -> bool:
        older = (col(PasskeyUseRow.user) == user, col(PasskeyUseRow.issue_time_us) < issue_us)
        used = update(PasskeyUseRow).where(*older).values(issue_time_us=issue_us)
        if self._session.exec(used).rowcount == 1:
            return True
        if self._session.get(PasskeyUseRow, user) is not None:
            return False
        self._session.add(PasskeyUseRow(user=user, issue_time_us=issue_us))
        try:
            self._session.flush()
        except IntegrityError:  # the user's first one, at another server, just now
            return False
        return True

    def _change(self, passkey: Passkey, **values: object) -> None:
        self._session.exec(
            update(PasskeyRow).where(col(PasskeyRow.id) == passkey.id).values(**values)
        )

    def _find(self, which: ColumnElement[bool]) -> list[Passkey]:
        wanted = (
            select(PasskeyRow, UserRow)
            .join(UserRow, col(UserRow.id) == col(PasskeyRow.user))
            .where(which)
            .order_by(col(PasskeyRow.id))
        )
        return [
            _passkey(row, user_of(self._session, user)) for row, user in self._session.exec(wanted)
        ]


def _passkey(row: PasskeyRow, user: User) -> Passkey:
    return Passkey(
        user=user,
        id=row.id,
        credential_id=row.credential_id,
        public_key=row.public_key,
        sign_count=row.sign_count,
        display_name=row.display_name,
        create_time=from_us(row.create_time_us),
        use_time=None if row.use_time_us is None else from_us(row.use_time_us),
    )

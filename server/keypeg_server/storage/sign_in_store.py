"""Sign-ins in tables; see service/sign_in_ports.py for what is promised."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, delete, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import User
from keypeg_server.domain.sign_in import Method, SignIn
from keypeg_server.storage.account_store import user_of
from keypeg_server.storage.tables import UserRow
from keypeg_server.storage.tables_sign_in import SignInRow


class SqlSignIns:
    """`SignInRepository` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def sign_in(self, id: str) -> SignIn | None:
        return self._one(col(SignInRow.id) == id)

    def of_digest(self, digest: bytes) -> SignIn | None:
        return self._one(col(SignInRow.digest) == digest)

    def of_user(self, user: str) -> list[SignIn]:
        return self._find(col(SignInRow.user) == user)

    def add(self, sign_in: SignIn, now: datetime) -> None:
        ended = delete(SignInRow).where(
            col(SignInRow.user) == sign_in.user.id, col(SignInRow.expire_time_us) <= to_us(now)
        )
        self._session.exec(ended)
        row = SignInRow(
            id=sign_in.id,
            user=sign_in.user.id,
            method=sign_in.method,
            client_name=sign_in.client_name,
            create_time_us=to_us(sign_in.create_time),
            use_time_us=to_us(sign_in.use_time),
            expire_time_us=to_us(sign_in.expire_time),
            generation=sign_in.generation,
            salt=sign_in.salt,
            digest=None,
        )
        self._session.add(row)
        self._session.flush()

    def update(self, sign_in: SignIn, generation: int) -> bool:
        change = (
            update(SignInRow)
            .where(col(SignInRow.id) == sign_in.id, col(SignInRow.generation) == generation)
            .values(
                generation=sign_in.generation,
                salt=sign_in.salt,
                use_time_us=to_us(sign_in.use_time),
                expire_time_us=to_us(sign_in.expire_time),
            )
        )
        return self._session.exec(change).rowcount == 1

    def delete(self, id: str) -> None:
        self._session.exec(delete(SignInRow).where(col(SignInRow.id) == id))

    def _one(self, which: ColumnElement[bool]) -> SignIn | None:
        found = self._find(which)
        return found[0] if found else None

    def _find(self, which: ColumnElement[bool]) -> list[SignIn]:
        wanted = (
            select(SignInRow, UserRow)
            .join(UserRow, col(UserRow.id) == col(SignInRow.user))
            .where(which)
            .order_by(col(SignInRow.id))
        )
        return [
            _sign_in(row, user_of(self._session, user)) for row, user in self._session.exec(wanted)
        ]


def _sign_in(row: SignInRow, user: User) -> SignIn:
    return SignIn(
        id=row.id,
        user=user,
        method=Method(row.method),
        client_name=row.client_name,
        create_time=from_us(row.create_time_us),
        use_time=from_us(row.use_time_us),
        expire_time=from_us(row.expire_time_us),
        generation=row.generation,
        salt=row.salt,
    )

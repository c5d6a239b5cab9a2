"""Sign-ins in tables; see service/sign_in_ports.py for what is promised."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, delete, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import User
from keypeg_server.domain.sign_in import Decision, DeviceSignIn, Method, SignIn
from keypeg_server.storage.account_store import user_of
from keypeg_server.storage.tables import UserRow
from keypeg_server.storage.tables_sign_in import DeviceSignInRow, SignInRow


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

    def device_sign_in(self, digest: bytes) -> DeviceSignIn | None:
        row = self._session.get(DeviceSignInRow, digest)
        return None if row is None else self._waiting(row)

    def device_sign_in_of(self, user_code: str) -> DeviceSignIn | None:
        wanted = select(DeviceSignInRow).where(col(DeviceSignInRow.user_code) == user_code)
        row = self._session.exec(wanted).first()
        return None if row is None else self._waiting(row)

    def add_device_sign_in(self, waiting: DeviceSignIn, now: datetime) -> None:
        ended = col(DeviceSignInRow.expire_time_us) <= to_us(now)
        self._session.exec(delete(DeviceSignInRow).where(ended))
        row = DeviceSignInRow(
            digest=waiting.digest,
            user_code=waiting.user_code,
            client_name=waiting.client_name,
            address=waiting.address,
            create_time_us=to_us(waiting.create_time),
            expire_time_us=to_us(waiting.expire_time),
            decision=waiting.decision,
            user=None,
        )
        self._session.add(row)
        self._session.flush()

    def decide_device_sign_in(self, waiting: DeviceSignIn) -> bool:
        undecided = col(DeviceSignInRow.decision) == Decision.NONE
        change = (
            update(DeviceSignInRow)
            .where(col(DeviceSignInRow.digest) == waiting.digest, undecided)
            .values(decision=waiting.decision, user=waiting.user and waiting.user.id)
        )
        return self._session.exec(change).rowcount == 1

    def delete_decided(self, user: str) -> None:
        self._session.exec(delete(DeviceSignInRow).where(col(DeviceSignInRow.user) == user))

    def delete_device_sign_in(self, digest: bytes) -> bool:
        gone = delete(DeviceSignInRow).where(col(DeviceSignInRow.digest) == digest)
        return self._session.exec(gone).rowcount == 1

    def _waiting(self, row: DeviceSignInRow) -> DeviceSignIn:
        user = None if row.user is None else self._session.get(UserRow, row.user)
        return DeviceSignIn(
            digest=row.digest,
            user_code=row.user_code,
            client_name=row.client_name,
            address=row.address,
            create_time=from_us(row.create_time_us),
            expire_time=from_us(row.expire_time_us),
            decision=Decision(row.decision),
            user=None if user is None else user_of(self._session, user),
        )

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

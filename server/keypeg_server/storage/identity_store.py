"""Identities, and sign-ins at providers, in tables; see service/provider_ports.py for what is promised."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import update
from sqlmodel import Session, col, delete, select

from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import User
from keypeg_server.domain.identity import Identity, ProviderSignIn
from keypeg_server.storage.account_store import user_of
from keypeg_server.storage.tables import UserRow
from keypeg_server.storage.tables_identity import IdentityRow, ProviderSignInRow

_US = timedelta(microseconds=1)


class SqlIdentities:
    """`IdentityRepository` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_subject(self, issuer: str, subject: str) -> list[tuple[Identity, User]]:
        mine = (col(IdentityRow.issuer) == issuer, col(IdentityRow.subject) == subject)
        wanted = (
            select(IdentityRow, UserRow)
            .join(UserRow, col(UserRow.id) == col(IdentityRow.user))
            .where(*mine)
            .order_by(col(IdentityRow.id))
        )
        found = [(row, user_of(self._session, user)) for row, user in self._session.exec(wanted)]
        return [(_identity(row, user), user) for row, user in found]

    def of_user(self, user: str) -> list[Identity]:
        row = self._session.get(UserRow, user)
        if row is None:
            return []
        wanted = (
            select(IdentityRow).where(col(IdentityRow.user) == user).order_by(col(IdentityRow.id))
        )
        owner = user_of(self._session, row)
        return [_identity(one, owner) for one in self._session.exec(wanted)]

    def add(self, identity: Identity) -> None:
        row = IdentityRow(
            id=identity.id,
            user=identity.user.rpartition("/")[2],
            issuer=identity.issuer,
            subject=identity.subject,
            creator=identity.creator,
            create_time_us=to_us(identity.create_time),
            proven=identity.proven,
        )
        self._session.add(row)
        self._session.flush()

    def prove(self, id: str) -> None:
        self._session.exec(update(IdentityRow).where(col(IdentityRow.id) == id).values(proven=True))

    def delete(self, id: str) -> None:
        self._session.exec(delete(IdentityRow).where(col(IdentityRow.id) == id))

    def sign_in(self, digest: bytes) -> ProviderSignIn | None:
        row = self._session.get(ProviderSignInRow, digest)
        return None if row is None else _sign_in(row)

    def add_sign_in(self, sign_in: ProviderSignIn, now: datetime) -> None:
        ended = col(ProviderSignInRow.expire_time_us) <= to_us(now)
        self._session.exec(delete(ProviderSignInRow).where(ended))
        row = ProviderSignInRow(
            digest=sign_in.digest,
            provider=sign_in.provider,
            redirect_uri=sign_in.redirect_uri,
            wrapped_code=sign_in.wrapped_code,
            client_name=sign_in.client_name,
            address=sign_in.address,
            create_time_us=to_us(sign_in.create_time),
            expire_time_us=to_us(sign_in.expire_time),
            ask_time_us=to_us(sign_in.ask_time),
            interval_us=sign_in.interval // _US,
            asked=sign_in.asked,
            issuer=sign_in.issuer,
            subject=sign_in.subject,
            asks_code=sign_in.asks_code,
        )
        self._session.add(row)
        self._session.flush()

    def update_sign_in(self, sign_in: ProviderSignIn, asked: int) -> bool:
        change = (
            update(ProviderSignInRow)
            .where(
                col(ProviderSignInRow.digest) == sign_in.digest,
                col(ProviderSignInRow.asked) == asked,
            )
            .values(
                wrapped_code=sign_in.wrapped_code,
                ask_time_us=to_us(sign_in.ask_time),
                interval_us=sign_in.interval // _US,
                asked=sign_in.asked,
                issuer=sign_in.issuer,
                subject=sign_in.subject,
                asks_code=sign_in.asks_code,
            )
        )
        return self._session.exec(change).rowcount == 1

    def delete_sign_in(self, digest: bytes) -> bool:
        gone = delete(ProviderSignInRow).where(col(ProviderSignInRow.digest) == digest)
        return self._session.exec(gone).rowcount == 1


def _identity(row: IdentityRow, user: User) -> Identity:
    return Identity(
        user=user.name,
        id=row.id,
        issuer=row.issuer,
        subject=row.subject,
        creator=row.creator,
        create_time=from_us(row.create_time_us),
        proven=row.proven,
    )


def _sign_in(row: ProviderSignInRow) -> ProviderSignIn:
    return ProviderSignIn(
        digest=row.digest,
        provider=row.provider,
        redirect_uri=row.redirect_uri,
        wrapped_code=row.wrapped_code,
        client_name=row.client_name,
        address=row.address,
        create_time=from_us(row.create_time_us),
        expire_time=from_us(row.expire_time_us),
        ask_time=from_us(row.ask_time_us),
        interval=row.interval_us * _US,
        asked=row.asked,
        issuer=row.issuer,
        subject=row.subject,
        asks_code=row.asks_code,
    )

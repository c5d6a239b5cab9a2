"""Accounts and users in tables; see service/store.py for what is promised."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sqlalchemy import ColumnElement
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, func, select

from keypeg import names
from keypeg_server.clock import from_us, to_us
from keypeg_server.domain.account import NO_ACCOUNT, Account, AccountKind, PublisherPeople, User
from keypeg_server.domain.cloud_session import CloudMode, CloudState
from keypeg_server.domain.location import BUILT_IN, CLOUD_ID, Location
from keypeg_server.domain.rights import Role
from keypeg_server.service.accounts import login_taken
from keypeg_server.service.store import Credential, Page
from keypeg_server.storage.place_store import SqlPlaces
from keypeg_server.storage.tables import AccountRow, MetaRow, UserRow
from keypeg_server.storage.tables_people import ApiKeyRow, ResellerAccountRow
from keypeg_server.storage.tables_sign_in import SignInRow

_REQUIRED: Final = "publisher.second_factor_required"


class SqlAccounts:
    """`Accounts` on a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def account(self, id: str) -> Account | None:
        row = self._session.get(AccountRow, id)
        return None if row is None else _account(row)

    def add_account(self, account: Account) -> None:
        """With its closed cloud session and the places that every account has."""
        row = AccountRow(
            id=account.id,
            display_name=account.display_name,
            create_time_us=to_us(account.create_time),
            cloud_mode=CloudMode.AUTOMATIC,
            cloud_state=CloudState.CLOSED,
            cloud_device="",
            cloud_host_name="",
            cloud_open_time_us=None,
            cloud_user="",
            cloud_generation=0,
            kind=account.kind,
        )
        self._session.add(row)
        self._session.flush()
        for id, kind in BUILT_IN.items():
            if id != CLOUD_ID or account.kind is not AccountKind.GROUP:
                SqlPlaces(self._session).add_location(Location(account.id, id, kind, id))

    def update_account(self, account: Account) -> None:
        row = self._session.get_one(AccountRow, account.id)
        row.second_factor_required = account.second_factor_required
        row.kind = account.kind
        self._session.flush()

    def publisher_people(self) -> PublisherPeople:
        row = self._session.get(MetaRow, _REQUIRED)
        return PublisherPeople(second_factor_required=row is not None and row.value == "yes")

    def update_publisher_people(self, people: PublisherPeople) -> None:
        required = "yes" if people.second_factor_required else "no"
        self._session.merge(MetaRow(key=_REQUIRED, value=required))
        self._session.flush()

    def list_accounts(self, page: Page, reseller: str | None = None) -> list[Account]:
        wanted = (
            select(AccountRow)
            .where(col(AccountRow.id) > page.after)
            .order_by(col(AccountRow.id))
            .limit(page.limit)
        )
        if reseller is not None:
            mine = select(ResellerAccountRow.account).where(
                col(ResellerAccountRow.user) == reseller
            )
            wanted = wanted.where(col(AccountRow.id).in_(mine))
        return [_account(row) for row in self._session.exec(wanted)]

    def user(self, account: str, id: str) -> User | None:
        row = self._session.get(UserRow, id)
        return (
            None if row is None or row.account != _column(account) else user_of(self._session, row)
        )

    def list_users(self, account: str, page: Page) -> list[User]:
        wanted = (
            select(UserRow)
            .where(_in(account), col(UserRow.id) > page.after)
            .order_by(col(UserRow.id))
            .limit(page.limit)
        )
        return [user_of(self._session, row) for row in self._session.exec(wanted)]

    def role_count(self, account: str, role: Role) -> int:
        wanted = select(func.count()).select_from(UserRow)
        return self._session.exec(wanted.where(_in(account), col(UserRow.role) == role)).one()

    def credential(self, login: str) -> Credential | None:
        row = self._session.exec(select(UserRow).where(col(UserRow.login) == login)).first()
        return None if row is None else Credential(user_of(self._session, row), row.password)

    def add_user(self, credential: Credential) -> None:
        user = credential.user
        row = UserRow(
            id=user.id,
            account=user.account,
            login=user.login,
            display_name=user.display_name,
            role=user.role,
            password=credential.password,
            create_time_us=to_us(user.create_time),
            service=user.service,
        )
        self._session.add(row)
        try:
            self._session.flush()
        except IntegrityError as error:  # made for another account, by another server, just now
            raise login_taken(user.login) from error

    def delete_user(self, user: User) -> None:
        self._session.exec(delete(SignInRow).where(col(SignInRow.user) == user.id))
        self._session.exec(delete(ApiKeyRow).where(col(ApiKeyRow.user) == user.id))
        mine = col(ResellerAccountRow.user) == user.id
        self._session.exec(delete(ResellerAccountRow).where(mine))
        self._session.exec(delete(UserRow).where(col(UserRow.id) == user.id))


def _column(account: str) -> str | None:
    return None if account == NO_ACCOUNT else account


def _in(account: str) -> ColumnElement[bool]:
    return col(UserRow.account) == _column(account)  # IS NULL for None


def _account(row: AccountRow) -> Account:
    return Account(
        row.id,
        row.display_name,
        from_us(row.create_time_us),
        row.second_factor_required,
        AccountKind(row.kind),
    )


def user_of(session: Session, row: UserRow) -> User:
    """The user of a row, with what a reseller acts for."""
    user = User(
        row.account,
        row.id,
        row.login,
        row.display_name,
        Role(row.role),
        from_us(row.create_time_us),
        row.service,
    )
    if user.role is not Role.RESELLER:
        return user
    mine = select(ResellerAccountRow.account).where(col(ResellerAccountRow.user) == row.id)
    return replace(user, acts_for=frozenset(map(names.ACCOUNT.build, session.exec(mine))))

"""All tables of the server; `metadata` is the schema that migrations follow.

Promises: what the administration keeps; every time is BIGINT microseconds UTC, every id a text made by
the application, every list JSON in its own order. The tables of seats are in tables_seat.py, those of keys in
tables_key.py, those of the log in tables_log.py, those of several servers in tables_home.py, those of
invitations, API keys and resellers in tables_people.py, those of signing in in tables_sign_in.py and tables_identity.py,
those of planned changes in tables_life.py, those of members' cloud sessions in tables_group.py, those of certificates
in tables_certificate.py.

Leaves to others: mapping to the domain (unit.py and the repositories).
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    text,
)
from sqlmodel import Field, SQLModel

from keypeg_server.domain.account import AccountKind
from keypeg_server.storage import (
    tables_certificate,
    tables_credential,
    tables_group,
    tables_home,
    tables_identity,
    tables_key,
    tables_life,
    tables_log,
    tables_people,
    tables_seat,
    tables_sign_in,
)

__all__ = [
    "metadata",
    "tables_certificate",
    "tables_credential",
    "tables_group",
    "tables_home",
    "tables_identity",
    "tables_key",
    "tables_life",
    "tables_log",
    "tables_people",
    "tables_seat",
    "tables_sign_in",
]


def _time(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


def _bytes(**options: Any) -> Any:
    return Field(sa_column=Column(LargeBinary, nullable=False, **options))


def _list() -> Any:
    return Field(sa_column=Column(JSON, nullable=False))


class MetaRow(SQLModel, table=True):
    """What the server remembers about itself, by key."""

    __tablename__: ClassVar[str] = "meta"
    key: str = Field(primary_key=True)
    value: str


class PublisherRow(SQLModel, table=True):
    """Who sells."""

    __tablename__: ClassVar[str] = "publisher"
    id: str = Field(primary_key=True)
    display_name: str
    root_public_key: bytes = _bytes()
    delegation: bytes = _bytes()  # Envelope, serialized
    create_time_us: int = _time()


class ProductRow(SQLModel, table=True):
    """What is protected, or a bundle of it."""

    __tablename__: ClassVar[str] = "product"
    publisher: str = Field(primary_key=True, foreign_key="publisher.id")
    id: str = Field(primary_key=True)
    display_name: str
    bundle_products: list[str] = _list()  # names
    allowed_locations: list[int] = _list()
    offline_grace_us: int = _time()
    unplug_grace_us: int = _time()
    minimum_app_version: str
    features: list[str] = _list()
    create_time_us: int = _time()
    key_loss_move_count: int
    key_loss_period_us: int = _time()
    key_loss_wait_us: int = _time()
    switches: dict[str, int] = Field(sa_column=Column(JSON, nullable=False))  # those that are set


class AccountRow(SQLModel, table=True):
    """A customer, with its one cloud session; a group's are in tables_group.py."""

    __tablename__: ClassVar[str] = "account"
    id: str = Field(primary_key=True)
    display_name: str
    create_time_us: int = _time()
    cloud_mode: int
    cloud_state: int
    cloud_device: str
    cloud_host_name: str
    cloud_open_time_us: int | None = _time(nullable=True)
    cloud_user: str  # name
    cloud_generation: int = _time()
    second_factor_required: bool = False
    kind: int = AccountKind.PERSONAL


class UserRow(SQLModel, table=True):
    """Who signs in; without an account for the publisher's staff."""

    __tablename__: ClassVar[str] = "user"
    id: str = Field(primary_key=True)
    account: str | None = Field(foreign_key="account.id", index=True)
    login: str = Field(unique=True)
    display_name: str
    role: int
    password: str  # PHC string; empty for who has none
    create_time_us: int = _time()
    service: bool = False


class LicenseRow(SQLModel, table=True):
    """What an account owns."""

    __tablename__: ClassVar[str] = "license"
    id: str = Field(primary_key=True)
    account: str = Field(foreign_key="account.id", index=True)
    product: str  # name
    type: int
    state: int
    allowed_locations: list[int] = _list()
    activation_count: int
    seat_count: int
    features: list[list[Any]] = _list()  # pairs of feature id and seats
    deposit_time_us: int = _time()
    expire_time_us: int | None = _time(nullable=True)
    term_days: int
    first_activate_time_us: int | None = _time(nullable=True)
    maintenance_end_time_us: int | None = _time(nullable=True)
    external_reference: str
    newest_version: str = ""  # of the app; empty for every version
    state_reason: str = ""
    state_by_publisher: bool = False
    waits_for: str = ""  # location
    waiting_change: str = ""
    next_change_time_us: int | None = _time(nullable=True, index=True)
    capacities: str = ""  # JSON; empty for none
    capacity_change_us: int | None = _time(
        nullable=True, index=True
    )  # when one begins or ends next


class LocationRow(SQLModel, table=True):
    """A place where licenses live."""

    __tablename__: ClassVar[str] = "location"
    __table_args__ = (Index("ix_location_card", "account", "card_id"),)
    account: str = Field(primary_key=True, foreign_key="account.id")
    id: str = Field(primary_key=True)
    kind: int
    display_name: str
    create_time_us: int | None = _time(nullable=True)
    serial: str
    model: str
    emulated: bool
    card_id: str
    key_algorithm: int
    public_key: bytes = _bytes()
    lost_time_us: int | None = _time(nullable=True)
    lost_reason: str = ""
    suspect_time_us: int | None = _time(nullable=True)
    device: str = ""
    fingerprint: bytes | None = Field(default=None, sa_column=Column(LargeBinary))


class EnrollmentRow(SQLModel, table=True):
    """A nonce for a key that is being enrolled, or written to; of a computer that was there, one that nobody knows."""

    __tablename__: ClassVar[str] = "enrollment"
    digest: bytes = _bytes(primary_key=True)  # SHA-256 of the nonce
    account: str = Field(foreign_key="account.id")
    card_id: str  # Location.hand_id
    expire_time_us: int = _time(index=True)


class ActivationRow(SQLModel, table=True):
    """One of a license's activations; its pools are in table pool."""

    __tablename__: ClassVar[str] = "activation"
    __table_args__ = (
        ForeignKeyConstraint(["account", "location"], ["location.account", "location.id"]),
        # A license is on a location once.
        Index("ix_activation_place", "license", "location", unique=True),
        # Few of them are looked for, those that are stale.
        Index(
            "ix_activation_document_keys",
            "document_keys",
            "id",
            sqlite_where=text("document_keys IS NOT NULL"),
            postgresql_where=text("document_keys IS NOT NULL"),
        ),
    )
    id: str = Field(primary_key=True)
    account: str = Field(foreign_key="account.id", index=True)
    license: str = Field(foreign_key="license.id")
    location: str
    location_kind: int
    create_time_us: int = _time()
    generation: int = _time()
    document: bytes = _bytes()  # Envelope, serialized
    document_keys: str | None = None  # of a site's: SiteLicense.keys
    return_nonce: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True))
    capacity: str = ""  # the temporary one that it was placed by; empty: none
    expire_time_us: int | None = _time(nullable=True)


metadata: Final[MetaData] = SQLModel.metadata

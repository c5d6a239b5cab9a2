"""Tables of signing in; see tables.py for what holds of all tables.

Leaves to others: mapping to the domain (sign_in_store.py).
"""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import BigInteger, Column, LargeBinary
from sqlmodel import Field, SQLModel

from keypeg_server.storage import tables_seat  # its naming convention comes first

__all__ = [
    "DeviceSignInRow",
    "FactorResetRow",
    "PasskeyRow",
    "PasskeyUseRow",
    "RecoveryCodeRow",
    "SignInRow",
    "TotpRow",
    "tables_seat",
]


class SignInRow(SQLModel, table=True):
    """A client that is signed in; its tokens are nowhere."""

    __tablename__: ClassVar[str] = "sign_in"
    id: str = Field(primary_key=True)
    user: str = Field(foreign_key="user.id", index=True, ondelete="CASCADE")
    method: int
    client_name: str
    create_time_us: int = Field(sa_type=BigInteger)
    use_time_us: int = Field(sa_type=BigInteger)
    expire_time_us: int = Field(sa_type=BigInteger)
    generation: int = Field(sa_type=BigInteger)  # of the newest refresh token
    salt: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    # SHA-256 of a token of before there were refresh tokens; None for all others.
    digest: bytes | None = Field(sa_column=Column(LargeBinary, nullable=True, unique=True))


class DeviceSignInRow(SQLModel, table=True):
    """A client that shows a code; the code that it finishes with is nowhere."""

    __tablename__: ClassVar[str] = "device_sign_in"
    digest: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))  # of the device code
    user_code: str = Field(unique=True)
    client_name: str
    address: str
    create_time_us: int = Field(sa_type=BigInteger)
    expire_time_us: int = Field(sa_type=BigInteger, index=True)
    decision: int
    user: str | None = Field(foreign_key="user.id", index=True, ondelete="CASCADE")


class TotpRow(SQLModel, table=True):
    """What makes a user's one-time codes."""

    __tablename__: ClassVar[str] = "totp"
    user: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE")
    wrapped_secret: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    confirmed: bool
    last_step: int = Field(sa_type=BigInteger)


class FactorResetRow(SQLModel, table=True):
    """The last time that a user's second factors were taken away by somebody else."""

    __tablename__: ClassVar[str] = "factor_reset"
    user: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE")
    reset_time_us: int = Field(sa_type=BigInteger)
    by: str  # name of who did it
    by_login: str
    one_time_codes: bool
    passkey_count: int
    first_told_us: int | None = Field(sa_type=BigInteger, nullable=True)


class PasskeyRow(SQLModel, table=True):
    """A passkey; its private key is on a security key."""

    __tablename__: ClassVar[str] = "passkey"
    id: str = Field(primary_key=True)
    user: str = Field(foreign_key="user.id", index=True, ondelete="CASCADE")
    credential_id: bytes = Field(sa_column=Column(LargeBinary, nullable=False, unique=True))
    public_key: bytes = Field(sa_column=Column(LargeBinary, nullable=False))  # COSE
    sign_count: int = Field(sa_type=BigInteger)
    display_name: str
    create_time_us: int = Field(sa_type=BigInteger)
    use_time_us: int | None = Field(sa_type=BigInteger, nullable=True)


class PasskeyUseRow(SQLModel, table=True):
    """The newest challenge of passkeys that a user has answered: it, and older ones, are used up."""

    __tablename__: ClassVar[str] = "passkey_use"
    user: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE")
    issue_time_us: int = Field(sa_type=BigInteger)


class RecoveryCodeRow(SQLModel, table=True):
    """A code for when the authenticator is lost; the code itself is nowhere."""

    __tablename__: ClassVar[str] = "recovery_code"
    user: str = Field(primary_key=True, foreign_key="user.id", ondelete="CASCADE")
    digest: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))

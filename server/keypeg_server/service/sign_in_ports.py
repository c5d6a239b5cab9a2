"""What signing in needs from storage: a repository of units of work (store.py).

Promises: only the Protocol and the values that cross it.

Leaves to others: how it is kept (storage/sign_in_store.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from keypeg_server.domain.passkey import Passkey
from keypeg_server.domain.second_factor import FactorReset
from keypeg_server.domain.sign_in import DeviceSignIn, SignIn


@dataclass(frozen=True)
class Totp:
    """What makes a user's (id) one-time codes; they are asked for once it is confirmed."""

    user: str
    wrapped_secret: bytes = field(repr=False)
    confirmed: bool
    last_step: int  # of the newest code that was used: it, and older ones, are used up


class Factors(Protocol):
    """What is asked for beside passwords."""

    def totp(self, user: str) -> Totp | None:
        """That of a user (id)."""
        ...

    def put_totp(self, totp: Totp) -> None:
        """Instead of the one before."""
        ...

    def use_step(self, user: str, step: int) -> bool:
        """Use up the codes to this one; False when they were."""
        ...

    def use_recovery_code(self, user: str, digest: bytes) -> bool:
        """Use it up; False when there is none."""
        ...

    def put_recovery_codes(self, user: str, digests: list[bytes]) -> None:
        """Instead of those before."""
        ...

    def delete_totp(self, user: str) -> None: ...
    def delete_factors(self, user: str) -> None:
        """What makes codes, and the recovery codes."""
        ...

    def reset_of(self, user: str) -> FactorReset | None:
        """The last time that those of a user (id) were taken away by somebody else."""
        ...

    def put_reset(self, reset: FactorReset) -> None:
        """Instead of the one before."""
        ...


class Passkeys(Protocol):
    """Passkeys of users. What is added must not be there."""

    def of_user(self, user: str) -> list[Passkey]:
        """Those of a user (id), oldest first."""
        ...

    def of_credential(self, credential_id: bytes) -> Passkey | None: ...
    def add(self, passkey: Passkey) -> None: ...
    def rename(self, passkey: Passkey) -> None: ...
    def count(self, passkey: Passkey) -> None:
        """Its counter and time of use."""
        ...

    def delete(self, id: str) -> None: ...
    def use(self, user: str, issue_us: int) -> bool:
        """Use up the user's challenges to this time; False when they were."""
        ...


class SignInRepository(Protocol):
    """Who is signed in. What is added must not be there."""

    def sign_in(self, id: str) -> SignIn | None: ...
    def of_digest(self, digest: bytes) -> SignIn | None:
        """That of a token of before there were refresh tokens, by its SHA-256."""
        ...

    def of_user(self, user: str) -> list[SignIn]:
        """Those of a user (id), oldest first."""
        ...

    def add(self, sign_in: SignIn, now: datetime) -> None:
        """And forget the user's sign-ins that have ended by now."""
        ...

    def update(self, sign_in: SignIn, generation: int) -> bool:
        """Its newest refresh token and times; False when its generation is another than this by now."""
        ...

    def delete(self, id: str) -> None: ...
    def device_sign_in(self, digest: bytes) -> DeviceSignIn | None:
        """By its device code's SHA-256."""
        ...

    def device_sign_in_of(self, user_code: str) -> DeviceSignIn | None: ...
    def add_device_sign_in(self, waiting: DeviceSignIn, now: datetime) -> None:
        """And forget those that have ended by now."""
        ...

    def decide_device_sign_in(self, waiting: DeviceSignIn) -> bool:
        """Keep its decision and user; False when there was a decision before."""
        ...

    def delete_decided(self, user: str) -> None:
        """Those that a user (id) has decided, and that nobody has finished."""
        ...

    def delete_device_sign_in(self, digest: bytes) -> bool:
        """False when it was not there."""
        ...

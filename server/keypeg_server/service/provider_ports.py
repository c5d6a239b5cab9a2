"""What signing in at outside providers needs: the providers, and where identities are kept.

Promises: only Protocols and the values that cross them.

Leaves to others: HTTP (oidc/client.py), tables (storage/identity_store.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from keypeg_server.domain.account import User
from keypeg_server.domain.id_token import Proven
from keypeg_server.domain.identity import Derived, Identity, ProviderSignIn, SecondFactor


@dataclass(frozen=True)
class TypedCode:
    """What a provider gives to a client whose user types a code there (RFC 8628)."""

    device_code: str = field(repr=False)
    user_code: str
    url: str
    whole_url: str  # with the code in it; may be empty
    valid_for: timedelta
    interval: timedelta


class Provider(Protocol):
    """An outside provider. What goes wrong there is ProviderUnavailable or ProviderRefused."""

    @property
    def name(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def second_factor(self) -> SecondFactor: ...
    async def authorization_url(self, redirect_uri: str, made: Derived) -> str:
        """Where the user signs in, to be sent back to the redirect with a code."""
        ...

    async def check_redirect(self, issuer: str) -> None:
        """Refuse a redirect that another provider may have made: `issuer` is what it says, or empty."""
        ...

    async def by_code(self, code: str, redirect_uri: str, made: Derived) -> Proven:
        """Who signed in, for the code of a redirect, which is used up."""
        ...

    async def begin_typed(self) -> TypedCode:
        """A code to be typed there; NotFound where it has none."""
        ...

    async def by_typed(self, device_code: str) -> Proven:
        """Who typed the code; SignInPending until somebody has, SignInDeclined when they would not."""
        ...


class Providers(Protocol):
    """Those of the settings."""

    def provider(self, name: str) -> Provider:
        """By its name; NotFound says which there are."""
        ...

    def names(self) -> tuple[str, ...]:
        """Of all of them, in order."""
        ...


class IdentityRepository(Protocol):
    """Identities, and clients whose users sign in at a provider. What is added must not be there."""

    def of_subject(self, issuer: str, subject: str) -> list[tuple[Identity, User]]:
        """To whom it is linked, oldest first."""
        ...

    def of_user(self, user: str) -> list[Identity]:
        """Those of a user (id), oldest first."""
        ...

    def add(self, identity: Identity) -> None: ...
    def prove(self, id: str) -> None:
        """They have signed in there."""
        ...

    def delete(self, id: str) -> None: ...
    def sign_in(self, digest: bytes) -> ProviderSignIn | None:
        """By the digest of its secret."""
        ...

    def add_sign_in(self, sign_in: ProviderSignIn, now: datetime) -> None:
        """And forget those that have ended by now."""
        ...

    def update_sign_in(self, sign_in: ProviderSignIn, asked: int) -> bool:
        """What is known by now; False when it was asked another number of times than this."""
        ...

    def delete_sign_in(self, digest: bytes) -> bool:
        """False when it was not there."""
        ...

"""Who somebody is at an outside provider of sign-ins, and signing in there.

Promises: pure; time is an argument. An identity is an issuer and a subject, never an e-mail address: these can be
given to somebody else. What a browser or a token has to bring back is made of the secret that the client alone has.

Leaves to others: asking the provider (oidc/), keeping identities (storage/identity_store.py).
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from keypeg import names

from .account import User

IDENTITIES_LIMIT: Final = 20  # of a user
MULTI_FACTOR: Final = "mfa"  # RFC 8176: more than one factor was asked for
URL_SIZE: Final = 2_048  # characters
_CALLBACK: Final = "/callback"


@dataclass(frozen=True)
class Identity:
    """Whoever signs in as this subject is this user (name)."""

    user: str
    id: str
    issuer: str
    subject: str
    creator: str  # name
    create_time: datetime
    proven: bool  # they have signed in there; else it is an administrator's word

    @property
    def name(self) -> str:
        return names.IDENTITY.build(*names.USER.parse(self.user), self.id)


def chosen(linked: Sequence[tuple[Identity, User]]) -> tuple[Identity, User] | None:
    """Who signs in by an identity, of those to whom it is linked, oldest first.

    Who has proven it comes before who an administrator says it is: nobody takes a subject away from its owner by
    linking it first. Of several such words, none counts.
    """
    for one in linked:
        if one[0].proven:
            return one
    return linked[0] if len(linked) == 1 else None


class SecondFactor(enum.Enum):
    """Whose second factor counts, where a user has one-time codes here."""

    OURS = "ours"  # a code is asked for
    AMR = "amr"  # a code is asked for, unless the provider says that it asked for several factors
    THEIRS = "theirs"  # the provider is trusted to ask for what is needed

    def asks(self, methods: Collection[str]) -> bool:
        """Whether one-time codes are asked for after a sign-in there by these methods (`amr`)."""
        if self is SecondFactor.THEIRS:
            return False
        return self is SecondFactor.OURS or MULTI_FACTOR not in methods


@dataclass(frozen=True)
class ProviderSignIn:
    """A client whose user signs in at a provider; `digest` is that of the secret which it goes on with."""

    digest: bytes = field(repr=False)
    provider: str  # name
    redirect_uri: str  # empty for a code that is typed there
    wrapped_code: bytes = field(repr=False)  # the provider's device code; empty with a redirect
    client_name: str
    address: str
    create_time: datetime
    expire_time: datetime
    ask_time: datetime  # the provider is not asked before
    interval: timedelta  # between two times that it is asked
    asked: int = 0  # how often it was
    issuer: str = ""  # proven: who they are
    subject: str = ""
    asks_code: bool = True  # one-time codes are asked for

    @property
    def proven(self) -> bool:
        return bool(self.subject)

    def asking(self, now: datetime) -> ProviderSignIn | None:
        """The same, once the provider is asked now; None when it may not be. A redirect's code is good once."""
        if self.asked and self.redirect_uri:
            return None
        if now < self.ask_time:
            return None
        return replace(self, asked=self.asked + 1, ask_time=now + self.interval)

    def proved(self, issuer: str, subject: str, *, asks_code: bool) -> ProviderSignIn:
        """The same, once it is known who they are; what was needed to ask is forgotten."""
        return replace(self, issuer=issuer, subject=subject, asks_code=asks_code, wrapped_code=b"")


@dataclass(frozen=True)
class Derived:
    """What is made of a sign-in's secret, so that nothing of it has to be kept."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)

    @classmethod
    def of(cls, secret: str) -> Derived:
        return cls(*(_derived(secret, use) for use in ("state", "nonce", "verifier")))

    @property
    def challenge(self) -> str:
        """RFC 7636, S256."""
        return _text(hashlib.sha256(self.verifier.encode()).digest())


def is_loopback(host: str | None) -> bool:
    """Whether a host of a URL is this computer, by address."""
    try:
        return host is not None and ip_address(host).is_loopback
    except ValueError:
        return False


def is_safe_url(url: object, *, loopback: bool) -> bool:
    """Whether an address is https; http only to this computer, and where `loopback`."""
    if not isinstance(url, str) or not 0 < len(url) <= URL_SIZE or not url.isascii():
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.fragment or not url.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and loopback and is_loopback(host))


def is_callback(uri: str) -> bool:
    """Whether a redirect goes to the client's own computer (RFC 8252, 7.3) and nowhere else."""
    try:
        parts = urlsplit(uri)
        hosts = (f"127.0.0.1:{parts.port}", f"[::1]:{parts.port}")
    except ValueError:
        return False
    return uri in [f"http://{host}{_CALLBACK}" for host in hosts] and bool(parts.port)


def _derived(secret: str, use: str) -> str:
    return _text(hmac.digest(secret.encode(), f"keypeg sign-in {use}".encode(), "sha256"))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

"""Whether the claims of an ID token say who signed in: OpenID Connect Core 1.0, section 3.1.3.7.

Promises: pure; `now` is an argument. Each claim is of its type before it is believed; what is missing is refused. The
tolerance for clocks that differ is bounded, and an old token is refused even where it says that it holds longer.

Leaves to others: the signature, which is verified first (oidc/signatures.py).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from keypeg.errors import ProviderRefused

CLOCKS_DIFFER: Final = timedelta(minutes=2)  # by so much, of provider and server
OLDEST: Final = timedelta(minutes=10)  # it was made for this sign-in, which is no older
SUBJECT_SIZE: Final = 255  # characters; OpenID Connect Core, section 2
_METHODS: Final = 32  # of amr, looked at
_FARTHEST: Final = (
    1e15  # seconds from 1970; JSON has numbers that are no time, and that fit into no float
)


@dataclass(frozen=True)
class Expected:
    """What a token has to say."""

    provider: str  # name, for people
    issuer: str
    client_id: str
    nonce: str | None  # None for a code that was typed: RFC 8628 has none


@dataclass(frozen=True)
class Proven:
    """Who signed in, and how (`amr`)."""

    subject: str
    methods: frozenset[str]


def check(claims: Mapping[str, Any], expected: Expected, now: datetime) -> Proven:
    """Who signed in; ProviderRefused says which claim is not as it has to be."""
    if claims.get("iss") != expected.issuer:
        raise refused(expected.provider, "is of another issuer")
    _check_audience(claims, expected)
    _check_times(claims, expected, now.timestamp())
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        known = isinstance(nonce, str) and nonce.isascii()
        if not known or not hmac.compare_digest(str(nonce), expected.nonce):
            raise refused(expected.provider, "is for another sign-in (nonce)")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_SIZE:
        raise refused(expected.provider, "names nobody (sub)")
    if not subject.isprintable():
        raise refused(expected.provider, "names nobody that can be written (sub)")
    methods = claims.get("amr")
    listed = methods[:_METHODS] if isinstance(methods, list) else []
    return Proven(subject, frozenset(one for one in listed if isinstance(one, str)))


def refused(provider: str, what: str) -> ProviderRefused:
    """The refusal of an ID token."""
    return ProviderRefused(
        f"The ID token of the provider {provider} {what}; sign in again, and if that does not help, tell the "
        "administrator of this server.",
        provider=provider,
    )


def _check_audience(claims: Mapping[str, Any], expected: Expected) -> None:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if expected.client_id not in audiences:
        raise refused(expected.provider, "is for another client (aud)")
    party = claims.get("azp")
    if party is None and len(audiences) > 1:
        raise refused(expected.provider, "is for several clients and does not say which (azp)")
    if party is not None and party != expected.client_id:
        raise refused(expected.provider, "was given to another client (azp)")


def _check_times(claims: Mapping[str, Any], expected: Expected, now: float) -> None:
    differ = CLOCKS_DIFFER.total_seconds()
    ends, made = _instant(claims, "exp", expected), _instant(claims, "iat", expected)
    if ends + differ <= now:
        raise refused(expected.provider, "has run out (exp)")
    if made - differ > now:
        raise refused(expected.provider, "is of the future (iat): look at both clocks")
    if made + OLDEST.total_seconds() + differ <= now:
        raise refused(expected.provider, "is old (iat)")
    if "nbf" in claims and _instant(claims, "nbf", expected) - differ > now:
        raise refused(expected.provider, "holds later (nbf): look at both clocks")


def _instant(claims: Mapping[str, Any], name: str, expected: Expected) -> float:
    value = claims.get(name)
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not -_FARTHEST < value < _FARTHEST:  # type: ignore[operator]  # a number, as was just looked at
        raise refused(expected.provider, f"does not say a time ({name})")
    return float(value)  # type: ignore[arg-type]

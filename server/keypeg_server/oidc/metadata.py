"""What a provider says of itself: OpenID Connect Discovery 1.0.

Promises: pure. The document is of the issuer that the settings name, and every address in it that is used is https, or
of this computer where the issuer is; anything else is a ProviderRefused that says what.

Leaves to others: getting it (client.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from keypeg.errors import ProviderRefused
from keypeg_server.domain.identity import is_loopback, is_safe_url
from keypeg_server.oidc.signatures import ALGORITHMS

WELL_KNOWN: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True)
class Metadata:
    """Where a provider is asked what."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    device_endpoint: str  # empty where it has no codes that are typed
    algorithms: frozenset[str]  # by which ID tokens are signed, of those that are accepted
    posts_secret: bool  # the client's secret goes into the body, for it takes no header
    names_itself: bool  # redirects say `iss` (RFC 9207)


def discovery_url(issuer: str) -> str:
    """Where the document is."""
    return issuer.rstrip("/") + WELL_KNOWN


def read(provider: str, issuer: str, document: Mapping[str, Any]) -> Metadata:
    """The document of an issuer."""
    if document.get("issuer") != issuer:
        raise _refused(provider, "is of another issuer than sign_in.providers says")
    loopback = is_loopback(urlsplit(issuer).hostname)

    def url(name: str, *, needed: bool = True) -> str:
        value = document.get(name, "")
        if value == "" and not needed:
            return ""
        if not is_safe_url(value, loopback=loopback):
            raise _refused(provider, f"has no {name} that is https")
        return str(value)

    listed = _texts(document, "id_token_signing_alg_values_supported", ["RS256"])
    algorithms = ALGORITHMS.intersection(listed)
    if not algorithms:
        raise _refused(provider, "names no way to sign ID tokens that is accepted")
    ways = _texts(document, "token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return Metadata(
        url("authorization_endpoint"),
        url("token_endpoint"),
        url("jwks_uri"),
        url("device_authorization_endpoint", needed=False),
        algorithms,
        "client_secret_basic" not in ways and "client_secret_post" in ways,
        document.get("authorization_response_iss_parameter_supported") is True,
    )


def _texts(document: Mapping[str, Any], name: str, default: list[str]) -> list[str]:
    value = document.get(name, default)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else default


def _refused(provider: str, what: str) -> ProviderRefused:
    return ProviderRefused(
        f"The discovery document of the provider {provider} {what}; tell the administrator of this server.",
        provider=provider,
    )

"""The providers of the settings, ready to be asked.

Promises: what is wrong with a provider's settings is said when the server starts; nothing is asked of a provider before
somebody signs in there, so that a server starts and serves whatever its providers do.

Leaves to others: one provider (client.py), reading the settings (settings_reading.py).
"""

from __future__ import annotations

import importlib.util
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from keypeg.errors import NotFound
from keypeg_server.domain.identity import SecondFactor, is_loopback
from keypeg_server.service.ports import Clock
from keypeg_server.service.provider_ports import Provider
from keypeg_server.settings import SignInProvider

if TYPE_CHECKING:
    from keypeg_server.oidc.client import OidcProvider

NEEDED: Final = ("httpx2", "joserfc")


class ProviderError(Exception):
    """One sentence: what is wrong with the settings of a provider."""


class DatedClock(Clock, Protocol):
    """A clock that also knows what others take for the date."""

    def date_us(self) -> int:
        """Microseconds since 1970, as the computer has it."""
        ...


class KnownProviders:
    """Implements `Providers`."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(providers)

    def provider(self, name: str) -> Provider:
        found = self._providers.get(name)
        if found is None:
            there = ", ".join(self.names()) or "none"
            raise NotFound(
                f"This server has no provider {name[:64]!r} to sign in at; it has: {there}.",
                name=name,
            )
        return found

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._providers))


def of_settings(
    settings: Iterable[SignInProvider],
    data: Path,
    clock: DatedClock,
    read: Callable[[str, Path, str], bytes],
) -> KnownProviders:
    """Those of the settings; `read` gives what is in a file or credential. ProviderError."""
    listed = list(settings)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if listed and missing:
        raise ProviderError(
            f"sign_in.providers needs {' and '.join(missing)}: pip install 'keypeg[oidc]'."
        )
    return KnownProviders({one.name: _made(one, data, clock, read) for one in listed})


def _made(
    one: SignInProvider, data: Path, clock: DatedClock, read: Callable[[str, Path, str], bytes]
) -> OidcProvider:
    from keypeg_server.oidc.client import OidcProvider, Registration
    from keypeg_server.oidc.http import Http

    what = f"client secret of the provider {one.name}"
    secret = ""
    if one.client_secret_file:
        secret = read(one.client_secret_file, data, what).decode("utf-8", "replace").strip()
        if not secret:
            raise ProviderError(f"The {what} is empty: {one.client_secret_file}.")
    trusted = ssl.create_default_context()
    if one.ca_file:
        try:
            trusted.load_verify_locations(cafile=data / one.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ProviderError(
                f"The ca_file {one.ca_file} of the provider {one.name} can not be used: {error}."
            ) from error
    direct = is_loopback(urlsplit(one.issuer).hostname)
    registration = Registration(
        one.name,
        one.issuer,
        one.client_id,
        secret,
        one.scopes,
        SecondFactor(one.second_factor),
    )
    return OidcProvider(registration, Http(one.name, trusted, direct=direct), clock, clock.date_us)

"""Reading the server's settings: a TOML file, then the environment over it (`KEYPEGD_SECTION__KEY`).

Promises: `load` gives one frozen `Settings`; what is wrong is a `SettingsError` of one sentence, also where settings
contradict each other. `describe` lists all settings.

Leaves to others: which settings there are (settings), and how they are read (keypeg.settings_reading).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keypeg import settings_reading
from keypeg.settings_reading import SettingsError
from keypeg_server.address import AddressError, PostgresUrl
from keypeg_server.domain.identity import is_safe_url
from keypeg_server.settings import CHOICES, Settings

FILE_NAME: Final = "keypegd.toml"
ENVIRONMENT_PREFIX: Final = "KEYPEGD_"
_PROVIDER: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")


def load(path: Path, environment: Mapping[str, str]) -> Settings:
    """The settings of a file, which may be absent, with the environment over them."""
    found = settings_reading.load(
        Settings,
        settings_reading.read(path, may_be_absent=True),
        str(path),
        environment,
        prefix=ENVIRONMENT_PREFIX,
        choices=CHOICES,
    )
    return _checked_together(found, "storage.database")


def with_database(settings: Settings, database: str | None) -> Settings:
    """The same settings with another database, if there is one."""
    if database is None:
        return settings
    return _checked_together(
        dataclasses.replace(
            settings, storage=dataclasses.replace(settings.storage, database=database)
        ),
        "--database",
    )


def describe() -> Iterator[tuple[str, str, str, str, str]]:
    """For every setting: its name, type, default, range and what it does; docs/operations.md shows it."""
    return settings_reading.describe(Settings)


def _checked_together(settings: Settings, database: str) -> Settings:
    if settings.passwords.memory_kib < 8 * settings.passwords.lanes:
        raise SettingsError("passwords.memory_kib is at least 8 for each of passwords.lanes.")
    if bool(settings.server.tls_certificate) != bool(settings.server.tls_key):
        raise SettingsError("server.tls_certificate and server.tls_key go together; set both.")
    _check_providers(settings)
    if settings.storage.database:
        try:
            PostgresUrl.read(settings.storage.database)
        except AddressError as error:
            raise SettingsError(f"{database}: {error}") from None  # nothing shows the URL
    return settings


def _check_providers(settings: Settings) -> None:
    providers = settings.sign_in.providers
    for one in providers:
        if not _PROVIDER.fullmatch(one.name):
            raise SettingsError(
                "sign_in.providers: each has a name of 1 to 32 characters of [a-z0-9-], a letter first."
            )
        place = f"sign_in.providers {one.name}"
        if not is_safe_url(one.issuer, loopback=True):
            raise SettingsError(
                f"{place}: issuer is an https URL; http goes to an address of this computer alone."
            )
        if not one.client_id:
            raise SettingsError(
                f"{place}: client_id is missing: as what this server is registered."
            )
        if "openid" not in one.scopes:
            raise SettingsError(f"{place}: scopes name openid; without it nobody says who it is.")
    for what in ("name", "issuer"):
        if len({getattr(one, what) for one in providers}) < len(providers):
            raise SettingsError(f"sign_in.providers: two have the same {what}.")

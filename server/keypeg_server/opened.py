"""A data directory that this process owns.

Promises: its database is up to date, and the clock knows how late it has been; `identity` is
what it serves with. What is wrong with it is a StartError of one sentence.

Leaves to others: serving it (app.py), making it (setting_up.py), what it signs with (signing_keys.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

import structlog

from keypeg.errors import KeypegError
from keypeg.ids import id_text, uuid7
from keypeg_server import secret_files, tls, vaults
from keypeg_server.address import PostgresUrl
from keypeg_server.clock import Clock, SystemClock, to_us
from keypeg_server.oidc.registry import KnownProviders, ProviderError, of_settings
from keypeg_server.service.argon2id import Cost
from keypeg_server.service.aside import Aside
from keypeg_server.service.attestation import Roots, RootsUnusable
from keypeg_server.service.events import EventHub
from keypeg_server.service.passwords import Passwords
from keypeg_server.service.wrapping import AesGcmWrapping, Wrapping
from keypeg_server.settings import Settings
from keypeg_server.storage import schema, upkeep
from keypeg_server.storage.database import Database
from keypeg_server.storage.sqlite import SqliteDatabase
from keypeg_server.storage.unit import SqlStore
from keypeg_server.vaults import vault_of

_LOG: Final = structlog.get_logger("keypegd")

MARKER: Final = "initialized"
DATABASE_FILE: Final = "keypegd.sqlite3"
TLS_FOLDER: Final = "tls"
DELEGATION_WARNING: Final = timedelta(days=60)


class StartError(Exception):
    """Why a server does not start: one sentence."""


def new_ids(clock: Clock) -> Callable[[], str]:
    """Ids that sort by time."""
    return lambda: id_text(uuid7(to_us(clock.wall()), os.urandom(8)))


def place_of(data: Path, settings: Settings) -> Path | PostgresUrl:
    """Where the database of a data directory is."""
    if settings.storage.database:
        return PostgresUrl.read(
            settings.storage.database
        )  # settings_reading.py has seen that it is one
    return data / DATABASE_FILE


def open_database(data: Path, settings: Settings) -> Database:
    """The database of a data directory; StartError when it can not be opened."""
    place = place_of(data, settings)
    try:
        if isinstance(place, PostgresUrl):
            from keypeg_server.storage.postgres import PostgresDatabase  # loads the driver

            return PostgresDatabase.open(place)
        return SqliteDatabase.open(place)
    except KeypegError as error:
        raise StartError(error.sentence) from error
    except OSError as error:
        raise StartError(
            f"{data} can not be written ({error.strerror}); a full or read-only disk?"
        ) from error


@dataclass
class Opened:
    """A data directory that this process owns."""

    data: Path
    settings: Settings
    clock: SystemClock
    hub: EventHub
    database: Database
    store: SqlStore

    @classmethod
    async def open(cls, data: Path, settings: Settings, *, new: bool = False) -> Opened:
        """Take the directory; its database is brought up to date. `new`: the database may be empty."""
        clock = SystemClock()
        hub = EventHub()
        database = open_database(data, settings)
        try:
            if settings.storage.database and not new and database.migrate(schema.version) is None:
                raise StartError(
                    f"The database {database.place} holds no server; `keypegd init` or `keypegd restore` makes one "
                    "there."
                )
            schema.bring_up_to_date(database)
            await upkeep.restore_clock(database, clock)
            await upkeep.keep_clock(database, clock)
        except KeypegError as error:
            database.close()
            raise StartError(error.sentence) from error
        except BaseException:
            database.close()
            raise
        store = SqlStore(database, clock, hub.publish)
        return cls(data, settings, clock, hub, database, store)

    def passwords(self) -> Passwords:
        limits, cost = self.settings.limits, self.settings.passwords
        return Passwords(
            Cost(cost.memory_kib, cost.iterations, cost.lanes),
            self.clock,
            Aside(limits.sign_ins_at_once),
            at_once=limits.sign_ins_at_once,
            waiting=limits.sign_ins_waiting,
        )

    def secrets(self) -> secret_files.Secrets:
        """What the server needs to know."""
        return secret_files.load(self.data, self.vault)

    @cached_property
    def vault(self) -> Wrapping | None:
        """What its secret files are wrapped with."""
        return vault_of(self.data, self.settings)

    def wrapping(self) -> Wrapping:
        """What wraps secrets that the database keeps; the same for all servers of a database."""
        return AesGcmWrapping.of_master(self.secrets().management_key)

    def identity(self) -> tls.Identity:
        """The certificate to serve with."""
        server = self.settings.server
        try:
            if server.tls_certificate:
                return tls.own_identity(
                    self.data / server.tls_certificate, self.data / server.tls_key
                )
            host = server.advertise.rpartition(":")[0].strip("[]")
            hosts = (*server.host_names, host) if host else server.host_names
            return tls.development_identity(self.data / TLS_FOLDER, hosts, self.clock.wall())
        except (OSError, ValueError, IndexError) as error:
            raise StartError(f"The server's certificate can not be used: {error}.") from error

    def attestation_roots(self) -> Roots | None:
        """The makers whose keys may be enrolled; None for all."""
        file = self.settings.keys.attestation_roots
        if not file:
            return None
        try:
            return Roots.from_pem((self.data / file).read_bytes())
        except (OSError, RootsUnusable) as error:
            raise StartError(
                f"The file {file} of keys.attestation_roots can not be used: {error}."
            ) from error

    def providers(self) -> KnownProviders:
        """The outside providers at which people sign in."""
        try:
            return of_settings(self.settings.sign_in.providers, self.data, self.clock, vaults.read)
        except (ProviderError, secret_files.SecretError) as error:
            raise StartError(str(error)) from error

    def close(self) -> None:
        self.database.close()

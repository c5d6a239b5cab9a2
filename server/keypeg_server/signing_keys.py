"""The keys that a server signs with, and how they are replaced while it runs.

Promises: a publisher's documents are signed by the first key of its delegation whose private half is here. A new
delegation is taken from the folder `incoming` only when the publisher's root signed it and it is newer; its new keys
go into the database with it, wrapped, so that all servers of a database learn both. What signs is replaced in one step,
and keys that can not be used change nothing.

Leaves to others: the keys of the server as a site (site_key_files.py), making keys and asking the root (rotating.py),
what signs what (service/signing.py).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

import structlog

from keypeg import names
from keypeg.document import Ed25519Signer, key_id
from keypeg.envelope import Signer, from_text
from keypeg.errors import KeypegError, StorageUnavailable
from keypeg.v1.document_pb2 import Delegation, Envelope
from keypeg_server import secret_files, site_key_files
from keypeg_server.domain.product import Publisher
from keypeg_server.opened import DELEGATION_WARNING, Opened, StartError
from keypeg_server.secret_files import SecretError
from keypeg_server.service.delegations import DelegationRefused, accepted, ends, signing_key
from keypeg_server.service.signing import PublisherKeys, Signing
from keypeg_server.service.site_keys import Kept, SiteKeyRefused, of_rows
from keypeg_server.service.store import Unit
from keypeg_server.signers import Signers
from keypeg_server.tls import write_secret

_LOG: Final = structlog.get_logger("keypegd")

INCOMING: Final = "incoming"
DELEGATION: Final = ".delegation"
REFUSED: Final = ".refused"
EVERY: Final = 2.0  # seconds between looks: after so long all servers sign with a new key
WARN_EVERY: Final = timedelta(days=1)


@dataclass(frozen=True)
class _Found:
    """What the database has of a publisher."""

    publisher: Publisher
    later: Mapping[str, str]  # keys after the first, by id


class SigningKeys:
    """The keys of one server."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._signers = Signers(opened.data, opened.settings, opened.vault)
        self._found: list[_Found] = []
        self._kept_sites: Kept = ()
        self._chosen: dict[str, str] = {}
        self._warned: dict[str, datetime] = {}

    async def load(self) -> Signing:
        """What signs; StartError when a publisher has no key that may, or the site none."""
        for file in incoming(self._opened.data):
            await take(self._opened, file)
        self._found, self._kept_sites = await self._look()
        return Signing(
            self._keys(self._found), site_key_files.read(self._opened.secrets(), self._kept_sites)
        )

    async def refresh(self, signing: Signing) -> None:
        """Take what has come in, and sign with what is right now."""
        try:
            for file in incoming(self._opened.data):
                await take(self._opened, file)
            found, kept_sites = await self._look()
            if (found, kept_sites) != (self._found, self._kept_sites) or self._stale(found):
                keys = self._keys(found)
                sites = site_key_files.read(self._opened.secrets(), kept_sites)
                signing.replace(keys, sites)
                self._found, self._kept_sites = found, kept_sites
                said = {"site": sites.current_id, "withdrawn": sorted(sites.withdrawn)}
                _LOG.info("signing keys replaced", keys=self._chosen, **said)
            self._warn(found)
        except (StartError, SecretError) as error:
            _LOG.error("signing keys can not be replaced", reason=str(error))

    async def _look(self) -> tuple[list[_Found], Kept]:
        def look(unit: Unit) -> tuple[list[_Found], Kept]:
            catalog = unit.catalog
            found = [_Found(one, catalog.signing_keys(one.id)) for one in catalog.publishers()]
            return found, of_rows(catalog.site_keys())

        return await self._opened.store.read(look)

    def _stale(self, found: list[_Found]) -> bool:
        """Whether another key is to sign by now, as its time has come or gone."""
        now = self._opened.clock.wall()
        return any(
            signing_key(_delegation(one.publisher), self._here(one), now)
            != self._chosen.get(one.publisher.id)
            for one in found
        )

    def _here(self, found: _Found) -> dict[str, Path | str]:
        """Keys whose private half is here: files, or texts of the database, by id."""
        return {**found.later, **self._signers.here(found.publisher.id)}

    def _keys(self, found: list[_Found]) -> dict[str, PublisherKeys]:
        now = self._opened.clock.wall()
        keys, chosen = {}, {}
        for one in found:
            id, here = one.publisher.id, self._here(one)
            mine = signing_key(_delegation(one.publisher), here, now)
            if mine is None:
                raise StartError(_none(self._opened.data, one.publisher, here))
            at = here[mine]
            signer = self._signers.of(at) if isinstance(at, Path) else self._kept(id, mine, at)
            if key_id(signer.public_key) != mine:
                raise StartError(f"The signing key {mine} of {id} is another; restore it.")
            keys[id] = PublisherKeys(signer, Envelope.FromString(one.publisher.delegation))
            chosen[id] = mine
        self._chosen = chosen
        self._warn(found)
        return keys

    def _kept(self, publisher: str, id: str, text: str) -> Signer:
        """A key of the database."""
        if text.startswith(secret_files.ELSEWHERE):
            return self._signers.named(text)
        try:
            wrapped = base64.b64decode(text, validate=True)
            private = self._opened.wrapping().unwrap(wrapped, _context(publisher, id))
            return Ed25519Signer(private)
        except (binascii.Error, KeypegError, ValueError) as error:
            raise StartError(
                f"The signing key {id} of {publisher} can not be read: {error}"
            ) from error

    def _warn(self, found: list[_Found]) -> None:
        now = self._opened.clock.wall()
        for one in found:
            id = one.publisher.id
            left = ends(_delegation(one.publisher), self._chosen[id]) - now
            last = self._warned.get(id)
            if left < DELEGATION_WARNING and (last is None or now - last >= WARN_EVERY):
                self._warned[id] = now
                _LOG.warning("delegation ends soon", publisher=id, days=left.days)


def incoming(data: Path) -> list[Path]:
    """What nobody has taken yet."""
    return sorted(one for one in (data / INCOMING).glob("*") if one.suffix in _TAKEN_BY)


async def take(opened: Opened, file: Path) -> None:
    """Take what came in; what is refused says why beside it."""
    try:
        await opened.store.change(_TAKEN_BY[file.suffix](opened, file))
    except (FileNotFoundError, StorageUnavailable):  # taken by another server, or later
        return
    except (KeypegError, DelegationRefused, SiteKeyRefused, SecretError, ValueError) as error:
        if not _waits(file):  # as above
            return
        _LOG.error("new key refused", file=str(file), reason=str(error))
        write_secret(file.with_suffix(REFUSED), f"{error}\n".encode())
    _remove(file)


def _delegated(opened: Opened, file: Path) -> Callable[[Unit], None]:
    """Take a delegation, with its new keys."""
    envelope, publisher = _read(file)
    return lambda unit: _install(opened, unit, publisher, envelope)


def _read(file: Path) -> tuple[Envelope, str]:
    envelope = from_text(file.read_text(encoding="ascii"))
    name = Delegation.FromString(envelope.payload).publisher
    return envelope, names.PUBLISHER.parse(name, "publisher")[0]


def _waits(file: Path) -> bool:
    return file.exists()


def _remove(file: Path) -> None:
    file.unlink(missing_ok=True)


def _install(opened: Opened, unit: Unit, publisher: str, envelope: Envelope) -> None:
    found = unit.catalog.publisher(publisher)
    name = names.PUBLISHER.build(publisher)
    if found is None:
        raise DelegationRefused(f"This server has no publisher {name}.")
    serialized = envelope.SerializeToString()
    if found.delegation == serialized:
        return  # another server of this directory was quicker
    before = _delegation(found).generation
    after = accepted(envelope, name, found.root_public_key, before, opened.clock.wall())
    wrapping = opened.wrapping()
    signers = Signers(opened.data, opened.settings, opened.vault)
    new = {key_id(one.public_key) for one in after.keys} - {*unit.catalog.signing_keys(publisher)}
    for id, file in secret_files.later_signing_files(opened.data, publisher).items():
        if id in new:
            told = signers.told(file)
            if isinstance(told, bytes):
                told = base64.b64encode(wrapping.wrap(told, _context(publisher, id))).decode()
            unit.catalog.keep_signing_key(publisher, id, told)
    unit.catalog.update_delegation(publisher, serialized)


def _delegation(publisher: Publisher) -> Delegation:
    return Delegation.FromString(Envelope.FromString(publisher.delegation).payload)


def _context(publisher: str, id: str) -> str:
    return f"signing key {id} of {publisher}"


def _none(data: Path, publisher: Publisher, here: Mapping[str, object]) -> str:
    return (
        f"The root of {publisher.id} has delegated none of the keys that are here ({', '.join(here) or 'none'}) for "
        f"now; run `keypegd delegate --data {data} --publisher {publisher.id}` with the root key."
    )


_TAKEN_BY: Final[Mapping[str, Callable[[Opened, Path], Callable[[Unit], None]]]] = MappingProxyType(
    {
        DELEGATION: _delegated,
        site_key_files.NEW: site_key_files.followed_by,
        site_key_files.WITHDRAWAL: site_key_files.without,
    }
)

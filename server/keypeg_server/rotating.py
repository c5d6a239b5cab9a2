"""Replacing the keys that a server signs with: a new key, the root's word for it, and bringing both to the server.

Promises: everything but the root's signature is done beside a running server or without one; nothing is replaced before
the root has signed. The keys of the server as a site need no root: license documents name them. A key that was made for a request waits until a delegation names it, and is made once.

Leaves to others: what a delegation says (service/delegations.py), taking it (signing_keys.py).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from keypeg import names
from keypeg.document import Ed25519Signer, key_id
from keypeg.envelope import Signer, to_text
from keypeg.v1.document_pb2 import Delegation, Envelope
from keypeg_server import secret_files, site_key_files
from keypeg_server.clock import Clock
from keypeg_server.opened import Opened, StartError, place_of
from keypeg_server.service.delegations import accepted, request, signing_key, wanted
from keypeg_server.service.signing import license_signers
from keypeg_server.service.site_keys import Kept, KeptSiteKey, of_rows
from keypeg_server.settings import Settings
from keypeg_server.signers import Signers
from keypeg_server.signing_keys import DELEGATION, INCOMING, REFUSED, take
from keypeg_server.storage.catalog_store import SITE_KEYS
from keypeg_server.storage.schema import HEAD
from keypeg_server.storage.snapshot import schema_of, snapshot
from keypeg_server.tls import write_secret
from keypeg_server.vaults import vault_of

PATIENCE: Final = 20.0  # seconds for a running server to take a delegation
LOOK_EVERY: Final = 0.1


@dataclass(frozen=True)
class Standing:
    """What a server's database says of a publisher's keys."""

    publisher: str  # id
    root: bytes
    delegation: Delegation
    later: frozenset[str]  # ids of keys in the database


def standing(data: Path, settings: Settings, publisher: str) -> Standing:
    """How it is now, read beside a running server."""
    name = names.PUBLISHER.build(publisher)
    prefix = f"signing/{publisher}/"
    with snapshot(place_of(data, settings)) as view:
        row = view.execute(
            "SELECT root_public_key, delegation FROM publisher WHERE id = ?", (publisher,)
        ).fetchone()
        keys = view.execute("SELECT key FROM meta").fetchall()
    if row is None:
        raise StartError(f"This server has no publisher {name}.")
    delegation = Delegation.FromString(Envelope.FromString(bytes(row[1])).payload)
    later = frozenset(key.removeprefix(prefix) for (key,) in keys if key.startswith(prefix))
    return Standing(publisher, bytes(row[0]), delegation, later)


def here(signers: Signers, now: Standing) -> set[str]:
    """The ids of keys whose private half this server has."""
    return {*now.later, *signers.here(now.publisher)}


def new_signer(signers: Signers, now: Standing, label: str | None = None) -> Signer:
    """A key that no delegation names yet: one that waits for an answer already, or a new one.

    With a label it is that of the PKCS#11 token.
    """
    named = {key_id(one.public_key) for one in now.delegation.keys}
    if label is not None:
        made = signers.make(now.publisher, label)
        if key_id(made.public_key) in named:
            raise StartError(f"The key {label!r} signs already, or did; name another one.")
        return made
    for id, file in signers.here(now.publisher).items():
        if id not in named and id not in now.later and not secret_files.is_elsewhere(file):
            return signers.of(file)
    return signers.make(now.publisher, None)


def present_signer(signers: Signers, now: Standing, clock: Clock) -> Signer:
    """The key that signs now, for longer; the first one before there is any delegation."""
    files = signers.here(now.publisher)
    mine = signing_key(now.delegation, files, clock.wall())
    named = [key_id(one.public_key) for one in now.delegation.keys]
    mine = mine or next((id for id in [*named, *files] if id in files), None)
    if mine is None:
        raise StartError(
            f"No key of {now.publisher} is in this directory; use that of the server at which it was made."
        )
    return signers.of(files[mine])


def asked(
    now: Standing,
    signer: Signer,
    clock: Clock,
    overlap: timedelta,
    withdrawn: Collection[str] = (),
) -> Envelope:
    """The request for the root."""
    named = {key_id(one.public_key) for one in now.delegation.keys}
    for id in withdrawn:
        if id not in named or id == key_id(signer.public_key):
            raise StartError(
                f"The key {id} is none that could be withdrawn; `keypegd key list` shows them."
            )
    name = names.PUBLISHER.build(now.publisher)
    delegation = wanted(
        now.delegation, name, signer.public_key, clock.wall(), overlap=overlap, withdrawn=withdrawn
    )
    return request(delegation, signer)


async def deliver(data: Path, settings: Settings, envelope: Envelope, clock: Clock) -> Delegation:
    """Bring the root's answer to the server, running or not; StartError when it is not taken."""
    publisher = Delegation.FromString(envelope.payload).publisher
    if not names.PUBLISHER.matches(publisher):
        raise StartError("The file is no delegation; `keypegd root sign` writes one.")
    (id,) = names.PUBLISHER.parse(publisher)
    now = standing(data, settings, id)
    after = accepted(envelope, publisher, now.root, now.delegation.generation, clock.wall())
    if signing_key(after, here(Signers(data, settings), now), clock.wall()) is None:
        raise StartError(
            "This server has none of the keys that the delegation names; bring it to the server that asked for it."
        )
    file = _place(data, f"{id}-{after.generation}{DELEGATION}")
    write_secret(file, to_text(envelope).encode())
    await _bring(data, settings, file)
    return after


@dataclass(frozen=True)
class SiteStanding:
    """The keys of a server as a site, the newest first, and how many license documents name each (by id)."""

    keys: tuple[KeptSiteKey, ...]
    kept: Kept  # those of them that the database has
    documents: Mapping[str, int]
    unbelieved: int  # documents whose signer was withdrawn


def site_standing(data: Path, settings: Settings) -> SiteStanding:
    """How it is now, read beside a running server."""
    with snapshot(place_of(data, settings)) as view:
        found = schema_of(view)
        if found != HEAD:
            raise StartError(
                f"The database has the schema {found or 'of no server'}, and this keypegd's is {HEAD}; start this one once."
            )
        rows = view.execute(
            "SELECT key, value FROM meta WHERE key LIKE ?", (f"{SITE_KEYS}%",)
        ).fetchall()
        delegations = view.execute("SELECT delegation FROM publisher").fetchall()
        named = view.execute(
            "SELECT document_keys, COUNT(*) FROM activation WHERE document_keys IS NOT NULL GROUP BY document_keys"
        ).fetchall()
    believed = {one for (text,) in delegations for one in license_signers(bytes(text))}
    documents: Counter[str] = Counter()
    unbelieved = 0
    for keys, count in named:
        site, _, signed_by = keys.partition(".")
        documents[site] += count
        unbelieved += count * (signed_by not in believed)
    keys = kept = of_rows({key.removeprefix(SITE_KEYS): text for key, text in rows})
    if not kept:
        first = secret_files.load(data, vault_of(data, settings)).site
        keys = (KeptSiteKey(key_id(first.public_key), "", 0),)
    return SiteStanding(keys, kept, documents, unbelieved)


async def rotate_site(data: Path, settings: Settings) -> str:
    """Have new license documents name a new key; its id. StartError when the server does not take it."""
    made = Ed25519Signer.generate()
    id = key_id(made.public_key)
    file = _place(data, f"{id}{site_key_files.NEW}")
    secret_files.write_key(file, made.private_bytes(), vault_of(data, settings))
    await _bring(data, settings, file)
    return id


async def withdraw_site(data: Path, settings: Settings, id: str) -> None:
    """Have nobody believe what a key has signed for people; StartError when it is none that could be withdrawn."""
    if all(one.key_id != id for one in site_standing(data, settings).keys):
        raise StartError(f"This server has no key {id}; `keypegd site-key list` shows them.")
    file = _place(data, f"{id}{site_key_files.WITHDRAWAL}")
    write_secret(file, b"")
    await _bring(data, settings, file)


def _place(data: Path, name: str) -> Path:
    """Where a file goes that the server is to take; it is not there yet, nor is why one before was refused."""
    file = data / INCOMING / name
    file.parent.mkdir(mode=0o700, exist_ok=True)
    file.with_suffix(REFUSED).unlink(missing_ok=True)
    return file


async def _bring(data: Path, settings: Settings, file: Path) -> None:
    """Wait until a file was taken; StartError when it was refused."""
    await _taken(data, settings, file)
    refused = file.with_suffix(REFUSED)
    if _waits(refused):
        sentence = refused.read_text().strip()
        refused.unlink()
        raise StartError(f"The server has refused it: {sentence}")


async def _taken(data: Path, settings: Settings, file: Path) -> None:
    """Until the running server has taken a file, or this process has, where none runs."""
    try:
        opened = await Opened.open(data, settings)
    except StartError as error:
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while _waits(file):
            if loop.time() >= until:
                raise StartError(
                    f"No server has taken {file} yet, and this program could not: {error} One that starts takes it."
                ) from error
            await asyncio.sleep(LOOK_EVERY)
        return
    try:
        await take(opened, file)
    finally:
        opened.close()
    if _waits(file):
        raise StartError(
            f"{file} could not be taken, for the database can not be written now; a server that starts takes it."
        )


def _waits(file: Path) -> bool:
    return file.exists()

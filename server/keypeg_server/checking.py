"""`keypegd check`: whether a data directory is what it has to be, beside a running server or without one.

Promises: everything is looked at, also when something is wrong before; nothing is changed. A finding that is
not good says what to do. Secrets are compared with what was signed, and shown nowhere.

Leaves to others: the rows (storage/integrity.py), printing (keeping_commands.py).
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from google.protobuf.message import DecodeError

from keypeg import names
from keypeg.document import verify_delegation
from keypeg.errors import KeypegError
from keypeg.v1.document_pb2 import Envelope
from keypeg_server import secret_files, site_key_files, tls
from keypeg_server.clock import Clock
from keypeg_server.findings import Finding, Verdict, bad, good, soon, verdict_of
from keypeg_server.opened import (
    DATABASE_FILE,
    DELEGATION_WARNING,
    MARKER,
    TLS_FOLDER,
    StartError,
    place_of,
)
from keypeg_server.rotating import here, site_standing, standing
from keypeg_server.secret_files import SecretError
from keypeg_server.service.delegations import ends, signing_key
from keypeg_server.service.wrapping import Wrapping
from keypeg_server.settings import Settings
from keypeg_server.signers import Signers
from keypeg_server.signing_keys import INCOMING
from keypeg_server.storage import integrity
from keypeg_server.storage.snapshot import SnapshotError, View, snapshot
from keypeg_server.vaults import vault_of

CERTIFICATE_WARNING: Final = timedelta(days=30)
ROOT_FOLDER: Final = "root"


def check(data: Path, settings: Settings, clock: Clock) -> list[Finding]:
    """Look at everything."""
    if not (data / MARKER).exists():
        advice = f"`keypegd init --data {data} --publisher ID` makes one."
        return [bad("directory", f"{data} holds no server", advice)]
    now = clock.wall()
    found = [good("directory", str(data))]
    publishers: list[tuple[str, bytes, bytes]] = []
    place = place_of(data, settings)
    try:
        with snapshot(place) as view:
            rows = list(integrity.findings(view, now))
        found += rows
        if rows[-1].check == integrity.LAST:
            with snapshot(place) as view:
                publishers = _publishers(view)
    except SnapshotError as error:
        what = "database file" if isinstance(place, Path) else "database"
        found.append(bad(what, str(error).rstrip("."), integrity.RESTORE))
    found += _secrets(data, settings, [id for id, _, _ in publishers])
    found += (_delegation(data, settings, *publisher, now) for publisher in publishers)
    found += _certificates(data, settings, now)
    found += _root_keys(data)
    return found


def _publishers(view: View) -> list[tuple[str, bytes, bytes]]:
    """Each with root and delegation."""
    found = view.execute("SELECT id, root_public_key, delegation FROM publisher ORDER BY id")
    return list(found.fetchall())


def _secrets(data: Path, settings: Settings, publishers: list[str]) -> Iterator[Finding]:
    """They are there, of the right form, for their owner only, and those that documents name."""
    wrong: list[str] = []
    vault = _vault(data, settings, wrong)
    needed = secret_files.needed(data, publishers)
    for file in needed:
        try:
            if not secret_files.is_elsewhere(file):
                secret_files.read_key(file, vault)
        except SecretError as error:
            wrong.append(str(error).partition(";")[0].rstrip("."))
    restore = f"Put {data / secret_files.FOLDER} back from a backup; a new secret fits nothing that was signed."
    yield verdict_of("secrets", wrong, f"{len(needed)} files", restore)
    folders = [data / secret_files.FOLDER, data / ROOT_FOLDER, data / INCOMING]
    files = [file for folder in folders if folder.is_dir() for file in sorted(folder.iterdir())]
    files += [*sorted((data / TLS_FOLDER).glob("*.key")), data / DATABASE_FILE]
    exposed = [
        f"{file} has mode {stat.S_IMODE(file.stat().st_mode):04o}"
        for file in files
        if file.exists() and file.stat().st_mode & 0o077
    ]
    if not data.stat().st_mode & 0o077:
        exposed = []  # nobody else reaches them
    for source in (settings.secrets.wrapping_key, settings.hardware.pin):
        file = data / source
        if source and file.is_file() and file.stat().st_mode & 0o077:
            exposed.append(f"{file} has mode {stat.S_IMODE(file.stat().st_mode):04o}")
    said = "readable by their owner only"
    yield verdict_of("file modes", exposed, said, "Run `chmod 600` on them: others can read them.")
    if publishers and not wrong:
        yield from _site_keys(data, settings, vault)


def _site_keys(data: Path, settings: Settings, vault: Wrapping | None) -> Iterator[Finding]:
    """They can be read, and license documents name one of them."""
    check = "site key"
    restore = f"Put the right {secret_files.FOLDER}/ back, from a backup of this database."
    found = site_standing(data, settings)
    try:
        site_key_files.read(secret_files.load(data, vault), found.kept)
    except StartError as error:
        yield bad(check, str(error).rstrip("."), restore)
        return
    total = sum(found.documents.values())
    others = total - sum(found.documents.get(one.key_id, 0) for one in found.keys)
    stale = total - others - found.documents.get(found.keys[0].key_id, 0)
    if others:
        said = f"{others} of {total} license documents name another site key"
        advice = "A running server makes them anew, but borrowed seats and credential files do not know its key."
        yield bad(check, said, f"{restore} {advice}")
    elif stale or found.unbelieved:
        said = f"{stale} of {total} license documents name one before the newest"
        if found.unbelieved:
            said = f"{found.unbelieved} of {total} license documents are signed by a key that was withdrawn"
        yield soon(
            check,
            said,
            "A running server makes them anew; on PostgreSQL those of accounts that are in use.",
        )
    elif total:
        yield good(check, f"{total} license documents name it")


def _vault(data: Path, settings: Settings, wrong: list[str]) -> Wrapping | None:
    try:
        return vault_of(data, settings)
    except SecretError as error:
        wrong.append(str(error).rstrip("."))
        return None


def _delegation(
    data: Path, settings: Settings, publisher: str, root: bytes, delegation: bytes, now: datetime
) -> Finding:
    """The publisher's root has delegated this server's key, and for long enough."""
    check = f"delegation {publisher}"
    renew = f"Run `keypegd delegate --data {data} --publisher {publisher}` with the root key, or `keypegd key renew`."
    try:
        envelope = Envelope.FromString(bytes(delegation))
        delegated = verify_delegation(
            envelope, publisher=names.PUBLISHER.build(publisher), root=bytes(root), now=now
        )
        mine = signing_key(
            delegated, here(Signers(data, settings), standing(data, settings, publisher)), now
        )
    except (KeypegError, DecodeError) as error:
        return bad(check, str(error).rstrip("."), renew)
    except SecretError as error:
        return bad(check, str(error).partition(";")[0], "Put the secret back from a backup.")
    if mine is None:
        return bad(check, "the root has delegated no signing key of this server for now", renew)
    until = ends(delegated, mine)
    if until - now < DELEGATION_WARNING:
        return soon(check, f"ends on {until:%Y-%m-%d}", renew)
    return good(check, f"until {until:%Y-%m-%d}, key {mine}")


def _certificates(data: Path, settings: Settings, now: datetime) -> Iterator[Finding]:
    """The server's certificate and, when it has its own, the development CA."""
    server = settings.server
    if server.tls_certificate:
        own = data / server.tls_certificate
        try:
            tls.own_identity(own, data / server.tls_key)
        except (OSError, ValueError, IndexError) as error:
            yield bad("certificate", f"{own} can not be used ({error})", "Correct server.tls_*.")
            return
        yield _certificate(
            "certificate",
            own,
            now,
            "Renew it, and put it in its place; the running server takes it.",
        )
        return
    folder = data / TLS_FOLDER
    pin = "Make a new CA: stop the server, delete tls/, start it; every client has to pin the new one."
    yield _certificate("CA", folder / tls.CA_FILE, now, pin)
    yield _certificate(
        "certificate", folder / tls.SERVER_FILE, now, "A running server renews it; start one."
    )


def _certificate(check: str, file: Path, now: datetime, advice: str) -> Finding:
    try:
        certificate = x509.load_pem_x509_certificates(file.read_bytes())[0]
    except OSError as error:
        advice = "Put it back from a backup."
        return bad(check, f"{file} can not be read ({error.strerror})", advice)
    except (ValueError, IndexError) as error:
        return bad(check, f"{file} can not be read ({error})", "Put it back from a backup.")
    ends = certificate.not_valid_after_utc
    if not certificate.not_valid_before_utc <= now < ends:
        said = f"is valid from {certificate.not_valid_before_utc:%Y-%m-%d} to {ends:%Y-%m-%d}"
        return bad(check, said, advice)
    if ends - now < CERTIFICATE_WARNING:
        return soon(check, f"ends on {ends:%Y-%m-%d}", advice)
    return good(check, f"until {ends:%Y-%m-%d}")


def _root_keys(data: Path) -> Iterator[Finding]:
    """The publisher's root key is not needed here, and can sign anything."""
    folder = data / ROOT_FOLDER
    for file in sorted(folder.glob("*.key")) if folder.is_dir() else ():
        advice = "Take it offline, and keep a copy: who has it can sign anything."
        yield soon("root key", f"{file} is on this computer", advice)


def is_clean(found: list[Finding]) -> bool:
    """Whether nothing is wrong."""
    return all(finding.verdict is not Verdict.BAD for finding in found)

"""Making a server: its data directory, secrets, certificates, database, publisher and first login.

Promises: `initialize` can be run again after it was interrupted, and refuses where it is complete; it
replaces no key that is there.

Leaves to others: serving (app.py), new keys and delegations later (rotating.py), and where the root key is kept
afterwards: offline, by people.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keypeg import names
from keypeg.document import Ed25519Signer
from keypeg.envelope import to_text
from keypeg.errors import KeypegError
from keypeg.v1.document_pb2 import Delegation, Envelope
from keypeg_server import root_keys, secret_files, tls
from keypeg_server.domain.caller import Role
from keypeg_server.domain.product import Publisher
from keypeg_server.opened import MARKER, Opened, StartError, new_ids
from keypeg_server.service.accounts import AccountService, NewUser
from keypeg_server.service.delegations import request, wanted
from keypeg_server.service.signing import delegate, delegation_ends
from keypeg_server.service.store import Unit
from keypeg_server.service.wrapping import Wrapping
from keypeg_server.settings import Settings

ROOT_FOLDER: Final = "root"
LOGIN_FILE: Final = "publisher-login.json"
PASSWORD_FILE: Final = "publisher-password"  # noqa: S105 - a name
LOGIN: Final = "publisher"
PASSWORD_BYTES: Final = 24  # of randomness, in a password that nobody types


@dataclass(frozen=True)
class Root:
    """The publisher's root key: a file here, or elsewhere."""

    file: Path | None = None  # made when it is not there; None for the usual place
    seal: Callable[[], str] | None = None  # gives the passphrase for a new one
    passphrase: Callable[[], str] = str  # of a sealed one
    public_key: str | None = None  # in hexadecimal, of a root elsewhere
    request: Path | None = None  # for that one, what it has to sign


@dataclass(frozen=True)
class Made:
    """What there is after `initialize`, for people."""

    publisher: str
    root_public_key: bytes
    root_file: Path
    ca_file: Path
    ca_fingerprint: str
    login: str
    login_file: Path | None  # None when the password was given
    delegation_ends: str


def is_complete(data: Path) -> bool:
    """Whether a directory holds a server; by the file that is written last."""
    return (data / MARKER).exists()


async def initialize(
    data: Path,
    settings: Settings,
    publisher: str,
    display_name: str,
    root: Root | None = None,
    password: str | None = None,
) -> Made:
    """Make a server in `data`; StartError when that can not be, or is done."""
    if is_complete(data):
        raise StartError(f"{data} holds a server already; `keypegd serve --data {data}` starts it.")
    name = _checked_publisher(publisher)
    _make_folder(data)
    opened = await Opened.open(data, settings, new=True)
    try:
        secret_files.create(data, opened.vault)
        root = root or Root()
        root_file = root.file or data / ROOT_FOLDER / f"{publisher}.key"
        root_signer = _root(root, root_file)
        root_key = _public(root) if root_signer is None else root_signer.public_key.key
        signer = _signer(secret_files.signing_file(data, publisher), opened.vault)
        now = opened.clock.wall()
        identity = tls.development_identity(data / "tls", settings.server.host_names, now)
        if root_signer is None:
            delegation = Envelope()
            asked = request(wanted(Delegation(), name, signer.public_key, now), signer)
            assert root.request is not None
            tls.write_public(root.request, to_text(asked).encode())
        else:
            delegation = delegate(root_signer, name, signer.public_key, 1, now)
        made = Publisher(
            id=publisher,
            display_name=display_name or publisher,
            root_public_key=root_key,
            delegation=delegation.SerializeToString(),
            create_time=now,
        )

        def add(unit: Unit) -> bool:
            found = unit.catalog.publisher(publisher)
            if found is None:
                unit.catalog.add_publisher(made)
            elif found.root_public_key != made.root_public_key:
                raise StartError(
                    f"The database {opened.database.place} holds {name} already, with another root key; for one more "
                    "server on it, copy the data directory of the first."
                )
            return unit.accounts.credential(LOGIN) is None

        login_file = None
        if await opened.store.write(add):
            login_file = await _add_login(opened, data, password)
        tls.write_public(data / MARKER, b"keypegd made this directory.\n")
    finally:
        opened.close()
    return Made(
        publisher=name,
        root_public_key=root_key,
        root_file=root_file,
        ca_file=identity.ca_file,
        ca_fingerprint=tls.fingerprint(identity.ca_file),
        login=LOGIN,
        login_file=login_file,
        delegation_ends=f"{delegation_ends(delegation):%Y-%m-%d}" if root_signer else "",
    )


def root_public_key(data: Path, publisher: str) -> bytes | None:
    """The 32 bytes that apps pin; None when the root key is not in `data`, as it should be."""
    root_file = data / ROOT_FOLDER / f"{publisher}.key"
    if not root_file.exists():
        return None
    return root_keys.public_key(root_file)


def password_file(data: Path) -> Path | None:
    """The password of the first login alone in a file, for `keypeg login`; None where it is not known."""
    login_file = data / secret_files.FOLDER / LOGIN_FILE
    if not login_file.exists():
        return None
    path = login_file.with_name(PASSWORD_FILE)
    tls.write_secret(path, json.loads(login_file.read_bytes())["password"].encode() + b"\n")
    return path


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(f"{data} can not be made ({error.strerror}); choose another.") from error


async def _add_login(opened: Opened, data: Path, password: str | None) -> Path | None:
    """Add the publisher's first login; the file with its password, when that is random."""
    login_file = None
    if password is None:
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        login_file = data / secret_files.FOLDER / LOGIN_FILE
        content = json.dumps({"login": LOGIN, "password": password}) + "\n"
        tls.write_secret(login_file, content.encode())
    passwords = opened.passwords()
    accounts = AccountService(opened.store, opened.clock, new_ids(opened.clock), passwords)
    try:
        await accounts.add_first_user(NewUser(None, LOGIN, "Publisher", Role.PUBLISHER, password))
    finally:
        await passwords.close()
    return login_file


def _root(root: Root, file: Path) -> Ed25519Signer | None:
    """The root key; None when it is elsewhere."""
    if root.public_key is not None:
        return None
    if file.exists():
        return root_keys.read(file, root.passphrase)
    return root_keys.create(file, None if root.seal is None else root.seal())


def _public(root: Root) -> bytes:
    try:
        key = bytes.fromhex(root.public_key or "")
    except ValueError:
        key = b""
    if len(key) != secret_files.SECRET_BYTES:
        raise StartError(
            "The root's public key has 64 hexadecimal digits; `keypegd root show` prints it."
        )
    return key


def _signer(path: Path, vault: Wrapping | None) -> Ed25519Signer:
    return Ed25519Signer(
        secret_files.key_file(path, lambda: Ed25519Signer.generate().private_bytes(), vault)
    )


def _checked_publisher(publisher: str) -> str:
    try:
        return names.PUBLISHER.build(publisher)
    except KeypegError as error:
        raise StartError(error.sentence) from error

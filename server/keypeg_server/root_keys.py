"""Files of publishers' root keys: bare, or sealed with a passphrase.

Promises: a file is written whole, for its owner only, and never replaced by another key; the public key of a sealed one
is read without its passphrase, and checked against the private one when that is opened.

Leaves to others: what roots sign (service/delegations.py), asking people (root_command.py).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from keypeg.document import Ed25519Signer
from keypeg_server import sealing
from keypeg_server.sealing import SealError
from keypeg_server.secret_files import SecretError, key_of_text
from keypeg_server.tls import write_secret


def create(path: Path, passphrase: str | None) -> Ed25519Signer:
    """A new root key in a file; SecretError when there is one."""
    if path.exists():
        raise SecretError(f"There is {path} already; it is not replaced.")
    signer = Ed25519Signer.generate()
    _write(path, signer, passphrase)
    return signer


def read(path: Path, passphrase: Callable[[], str]) -> Ed25519Signer:
    """The root key of a file; `passphrase` is asked for only when it is sealed."""
    text = _text(path)
    if not sealing.is_sealed(text):
        return Ed25519Signer(key_of_text(path, text))
    try:
        label = sealing.label_of(text)
        signer = Ed25519Signer(sealing.opened(text, passphrase()))
    except (SealError, ValueError) as error:
        raise SecretError(f"The root key {path} can not be read: {error}") from error
    if signer.public_key.key.hex() != label:
        raise SecretError(f"The root key {path} names another public key than its own.")
    return signer


def public_key(path: Path) -> bytes:
    """The 32 bytes that apps pin."""
    text = _text(path)
    if not sealing.is_sealed(text):
        return Ed25519Signer(key_of_text(path, text)).public_key.key
    try:
        return bytes.fromhex(sealing.label_of(text))
    except (SealError, ValueError) as error:
        raise SecretError(f"The root key {path} can not be read: {error}") from error


def seal(path: Path, passphrase: str) -> bytes:
    """Seal a file that is bare; the public key. What stood on the disk before may be read from it still."""
    if sealing.is_sealed(_text(path)):
        raise SecretError(f"The root key {path} is sealed already.")
    signer = read(path, lambda: "")
    _write(path, signer, passphrase)
    return signer.public_key.key


def _write(path: Path, signer: Ed25519Signer, passphrase: str | None) -> None:
    private = signer.private_bytes()
    text = private.hex()
    if passphrase is not None:
        try:
            text = sealing.sealed(private, signer.public_key.key.hex(), passphrase)
        except SealError as error:
            raise SecretError(str(error)) from error
    write_secret(path, text.encode() + b"\n")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError as error:
        raise SecretError(f"The root key {path} can not be read ({error.strerror}).") from error
    except ValueError as error:
        raise SecretError(f"The root key {path} is no text; is it another file?") from error

"""Credential files: a private key and the server's word on it, as one text (docs/formats.md, "Credential").

Promises: a file is read within limits, and refused in one sentence; its private key shows in no repr and no error.
A sealed one opens with its passphrase only, and only beside the document that it was sealed with.

Leaves to others: what the document says (credential_document), signing in (credential_sign_in).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from google.protobuf.message import DecodeError

from keypeg import files
from keypeg.credential_document import read_credential
from keypeg.envelope import (
    TEXT_CHARACTERS,
    Ed25519Signer,
    from_text,
    key_id,
    to_text,
)
from keypeg.errors import CredentialsInvalid, DocumentMalformed, FieldInvalid
from keypeg.v1.credential_pb2 import CredentialDocument, CredentialKey, SealedKey
from keypeg.v1.document_pb2 import Envelope

COST_EXPONENT: Final = 16  # 64 MiB and 0.2 s: a guess costs as much
COST_EXPONENTS: Final = range(15, 21)  # what is opened: 32 MiB to 1 GiB
KEY_BYTES: Final = 32
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_BEGIN: Final = "-----BEGIN KEYPEG CREDENTIAL KEY-----"
_END: Final = "-----END KEYPEG CREDENTIAL KEY-----"
_KEY: Final = re.compile(rf"{_BEGIN}([A-Za-z0-9+/=\s]{{1,2000}}){_END}", re.ASCII)
_LINE: Final = 64


@dataclass(frozen=True)
class CredentialFile:
    """What a file has: the server's word, and the key, perhaps sealed."""

    envelope: Envelope
    document: CredentialDocument
    key: CredentialKey = field(repr=False)

    @property
    def is_sealed(self) -> bool:
        """Whether it takes a passphrase."""
        return self.key.HasField("sealed")

    def signer(self, passphrase: Callable[[], str] | None = None) -> Ed25519Signer:
        """Its key; `passphrase` is asked when it is sealed. CredentialsInvalid for a wrong one."""
        raw = self.key.private_key
        if self.is_sealed:
            if passphrase is None:
                raise FieldInvalid(
                    f"The file of {self.document.credential} is sealed with a passphrase: import it with "
                    "`keypeg credential import`, or set KEYPEG_CREDENTIAL_PASSPHRASE_FILE.",
                    field="credential",
                )
            raw = _unsealed(self.key.sealed, passphrase(), self.envelope.payload)
        if len(raw) != KEY_BYTES:
            raise _no_file("its key is none")
        signer = Ed25519Signer(raw)
        if key_id(signer.public_key) != key_id(self.document.public_key):
            raise _no_file("its key is not the one that its document names")
        return signer

    def text(self) -> str:
        """The whole file."""
        document = self.document
        body = base64.b64encode(self.key.SerializeToString()).decode()
        lines = [body[at : at + _LINE] for at in range(0, len(body), _LINE)]
        return (
            f"Credential {document.credential} for {', '.join(document.servers)}\n"
            f"until {document.not_after_time.ToJsonString()}. Whoever has this file"
            f"{' and its passphrase' if self.is_sealed else ''} can use the cloud\n"
            "licenses of the account: keep it as a password.\n\n"
            f"{to_text(self.envelope)}\n" + "\n".join([_BEGIN, *lines, _END]) + "\n"
        )


def make(envelope: Envelope, private_key: bytes, passphrase: str = "") -> CredentialFile:
    """A file of a document and its key; sealed when there is a passphrase."""
    if passphrase:
        key = CredentialKey(sealed=_sealed(private_key, passphrase, envelope.payload))
    else:
        key = CredentialKey(private_key=private_key)
    return CredentialFile(envelope, read_credential(envelope), key)


def parse(text: str) -> CredentialFile:
    """The file in a text; DocumentMalformed, or the error of the step that fails."""
    if len(text) > TEXT_CHARACTERS:
        raise _no_file("it is too long")
    found = _KEY.findall(text)
    if len(found) != 1:
        raise _no_file(f"it holds {len(found)} credential keys, and one is needed")
    try:
        key = CredentialKey.FromString(base64.b64decode("".join(found[0].split()), validate=True))
    except (binascii.Error, ValueError, DecodeError) as error:
        raise _no_file("its key can not be read") from error
    envelope = from_text(_KEY.sub("", text))
    return CredentialFile(envelope, read_credential(envelope), key)


def load(path: str | Path) -> CredentialFile:
    """The file at a path."""
    where = Path(path).expanduser()
    try:
        data = files.read(where, TEXT_CHARACTERS)
    except FileNotFoundError:
        raise FieldInvalid(
            f"There is no credential file {where}; check the path, or import it again.",
            field="credential",
        ) from None
    return parse(data.decode("utf-8", "replace"))


def _sealed(private_key: bytes, passphrase: str, payload: bytes) -> SealedKey:
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    cipher = AESGCM(_derived(passphrase, salt, COST_EXPONENT))
    ciphertext = cipher.encrypt(nonce, private_key, payload)
    return SealedKey(salt=salt, cost_exponent=COST_EXPONENT, nonce=nonce, ciphertext=ciphertext)


def _unsealed(sealed: SealedKey, passphrase: str, payload: bytes) -> bytes:
    sizes = (len(sealed.salt), len(sealed.nonce), len(sealed.ciphertext))
    if (
        sizes != (_SALT_BYTES, _NONCE_BYTES, KEY_BYTES + 16)
        or sealed.cost_exponent not in COST_EXPONENTS
    ):
        raise _no_file("its sealed key can not be read")
    cipher = AESGCM(_derived(passphrase, sealed.salt, sealed.cost_exponent))
    try:
        return cipher.decrypt(sealed.nonce, sealed.ciphertext, payload)
    except InvalidTag:
        raise CredentialsInvalid(
            "The passphrase is not that of this credential file, or the file was changed; try again."
        ) from None


def _derived(passphrase: str, salt: bytes, exponent: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=1 << exponent, r=8, p=1).derive(passphrase.encode())


def _no_file(what: str) -> DocumentMalformed:
    return DocumentMalformed(
        f"This is no credential file that can be used: {what}. Ask for it again."
    )

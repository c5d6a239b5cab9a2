"""The signing keys of a data directory: in files, bare or wrapped, or in a PKCS#11 token that a file names.

Promises: a signer is of the key that its file is called after. What can not be used is a SecretError.

Leaves to others: which of them signs (signing_keys.py), making them (rotating.py).
"""

from __future__ import annotations

from pathlib import Path

from keypeg.document import Ed25519Signer, key_id
from keypeg.envelope import Signer
from keypeg_server import secret_files
from keypeg_server.hardware import PREFIX, HardwareError
from keypeg_server.secret_files import SecretError
from keypeg_server.service.wrapping import Wrapping
from keypeg_server.settings import Settings
from keypeg_server.tls import write_secret
from keypeg_server.vaults import token, vault_of


class Signers:
    """The keys of one data directory; each file is read once."""

    def __init__(self, data: Path, settings: Settings, vault: Wrapping | None = None) -> None:
        """`vault`: that of the settings, where it is known already."""
        self._data = data
        self._settings = settings
        self._vault = vault or vault_of(data, settings)
        self._known: dict[str, Signer] = {}

    def here(self, publisher: str) -> dict[str, Path]:
        """The files of a publisher (id), by the ids of their keys."""
        found = secret_files.later_signing_files(self._data, publisher)
        first = secret_files.signing_file(self._data, publisher)
        if first.exists() or str(first) in self._known:
            found[key_id(self.of(first).public_key)] = first
        return found

    def of(self, file: Path) -> Signer:
        """The key of a file."""
        known = self._known.get(str(file))
        if known is None:
            text = secret_files.text_of(file)
            if text.startswith(PREFIX):
                known = self.named(text.strip())
            else:
                known = Ed25519Signer(secret_files.read_key(file, self._vault))
            self._known[str(file)] = known
        return known

    def named(self, text: str) -> Signer:
        """A key of the token, by the text that names it."""
        try:
            return token(self._data, self._settings).signer(text.removeprefix(PREFIX))
        except HardwareError as error:
            raise SecretError(str(error)) from error

    def make(self, publisher: str, label: str | None) -> Signer:
        """A new key in a file of its own; with a label one of the token, made there when it is not."""
        if label is None:
            made = Ed25519Signer.generate()
            file = self._file(publisher, made)
            secret_files.write_key(file, made.private_bytes(), self._vault)
            return made
        try:
            kept = token(self._data, self._settings).made_signer(label)
        except HardwareError as error:
            raise SecretError(str(error)) from error
        write_secret(self._file(publisher, kept), f"{PREFIX}{label}\n".encode())
        return kept

    def told(self, file: Path) -> str | bytes:
        """For the other servers of a database: the key's bytes, or the text that names it in the token."""
        text = secret_files.text_of(file)
        if text.startswith(PREFIX):
            return text.strip()
        return secret_files.read_key(file, self._vault)

    def _file(self, publisher: str, signer: Signer) -> Path:
        return secret_files.later_signing_file(self._data, publisher, key_id(signer.public_key))

"""Under what the server's secret files are wrapped: a key in a file, a credential of systemd, or a PKCS#11 token.

Promises: `vault_of` gives what opens and wraps the files of a data directory, nothing when the settings name no key. A
key that is not there is a SecretError: files are never written bare where they should be wrapped.

Leaves to others: the files (secret_files.py), tokens (hardware.py).
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from keypeg_server.hardware import PREFIX, HardwareError, Token, token_of
from keypeg_server.secret_files import SecretError
from keypeg_server.service.wrapping import AesGcmWrapping, Wrapping
from keypeg_server.settings import Settings

CREDENTIAL: Final = "credential:"  # before the name of a credential: systemd's LoadCredential
FOLDER_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
MIN_KEY_BYTES: Final = 32


def vault_of(data: Path, settings: Settings) -> Wrapping | None:
    """What secret files of this directory are wrapped with."""
    return vault_under(settings.secrets.wrapping_key, data, settings)


def vault_under(source: str, data: Path, settings: Settings) -> Wrapping | None:
    """What wraps under a key; its source is written as in the setting."""
    if not source:
        return None
    if source.startswith(PREFIX):
        return AesGcmWrapping(token(data, settings).derived(source.removeprefix(PREFIX)))
    content = read(source, data, "wrapping key").strip()
    if len(content) < MIN_KEY_BYTES:
        raise SecretError(
            f"The wrapping key {source} has {len(content)} bytes; {MIN_KEY_BYTES} or more random ones are needed, as of "
            "`openssl rand -hex 32`."
        )
    return AesGcmWrapping.of_master(hashlib.sha256(content).digest())


def token(data: Path, settings: Settings) -> Token:
    """The PKCS#11 token of the settings; SecretError when it can not be used."""
    pin = ""
    if settings.hardware.pin:
        pin = read(settings.hardware.pin, data, "PIN").strip().decode("utf-8", "replace")
    try:
        return token_of(settings.hardware, pin, data)
    except HardwareError as error:
        raise SecretError(str(error)) from error


def read(source: str, data: Path, what: str) -> bytes:
    """The content of a file or credential."""
    path = data / source
    if source.startswith(CREDENTIAL):
        folder = os.environ.get(FOLDER_VARIABLE)
        if not folder:
            raise SecretError(
                f"The {what} is the {source}, and this program was given none; start it as a service with LoadCredential, "
                f"or set {FOLDER_VARIABLE}."
            )
        path = Path(folder) / source.removeprefix(CREDENTIAL)
    try:
        return path.read_bytes()
    except OSError as error:
        raise SecretError(f"The {what} {path} can not be read ({error.strerror}).") from error

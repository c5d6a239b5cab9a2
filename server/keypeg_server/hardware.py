"""Keys in a PKCS#11 token: a hardware security module, a smart card, or SoftHSM.

Promises: private keys are made in the token and never leave it. What a token can not do, or has not, is a HardwareError
of one sentence that names the token and the key. The PIN comes from a file or a credential, and is in no error.

Leaves to others: which keys are in a token (secret_files.py), what they sign (signing_keys.py).
"""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from keypeg.envelope import ed25519_key
from keypeg.v1.document_pb2 import PublicKey
from keypeg_server.secret_files import ELSEWHERE
from keypeg_server.settings import Hardware

ED25519: Final = bytes.fromhex("06032b6570")  # its OID, RFC 8410
PUBLIC_BYTES: Final = 32
PREFIX: Final = ELSEWHERE  # of the text that names a key of the token, before its label
_CONTEXT: Final = b"keypegd wrapping of secret files v1"
_LOCK: Final = threading.RLock()  # one session of a token does one thing at a time
_open: Final[dict[tuple[str, str], Token]] = {}  # modules are loaded once into a process


class HardwareError(Exception):
    """Which token or key can not be used, and why: one sentence."""


class TokenSigner:
    """An Ed25519 key of a token; implements `Signer`."""

    def __init__(self, private: Any, public_key: PublicKey, label: str, mechanism: Any) -> None:
        self.public_key = public_key
        self._private = private
        self._label = label
        self._mechanism = mechanism

    def sign(self, data: bytes) -> bytes:
        with _LOCK, _sentences(f"sign with the key {self._label!r}"):
            return bytes(self._private.sign(data, mechanism=self._mechanism))

    def __repr__(self) -> str:
        return f"TokenSigner({self._label!r})"


class Token:
    """An open token. `token_of` is the way to one."""

    def __init__(self, library: Any, session: Any, mechanisms: set[Any], name: str) -> None:
        self._pkcs11 = library
        self._session = session
        self._mechanisms = mechanisms
        self._name = name

    def signer(self, label: str) -> TokenSigner:
        """The Ed25519 key with this label."""
        found = self._ed25519(label)
        if found is None:
            raise HardwareError(
                f"The token {self._name!r} has no Ed25519 key {label!r}; see `keypegd key rotate --pkcs11`."
            )
        return found

    def made_signer(self, label: str) -> TokenSigner:
        """The Ed25519 key with this label, made when it is not there."""
        found = self._ed25519(label)
        if found is not None:
            return found
        kinds, attribute = self._pkcs11.KeyType, self._pkcs11.Attribute
        with _LOCK, _sentences(f"make the key {label!r} in the token {self._name!r}"):
            parameters = self._session.create_domain_parameters(
                kinds.EC_EDWARDS, {attribute.EC_PARAMS: ED25519}, local=True
            )
            parameters.generate_keypair(
                mechanism=self._pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=label,
                id=hashlib.sha256(label.encode()).digest()[:8],
            )
        return self.signer(label)

    def derived(self, label: str) -> bytes:
        """32 bytes that only who has the token's secret key with this label can tell; made when it is not there."""
        library, mechanism = self._pkcs11, self._pkcs11.Mechanism
        with _LOCK, _sentences(f"use the secret key {label!r} of the token {self._name!r}"):
            kinds = library.KeyType
            try:
                key = self._session.get_key(
                    object_class=library.ObjectClass.SECRET_KEY, label=label
                )
            except library.exceptions.NoSuchKey:
                flags = library.MechanismFlag
                key = self._session.generate_key(
                    kinds.GENERIC_SECRET,
                    256,
                    store=True,
                    label=label,
                    mechanism=mechanism.GENERIC_SECRET_KEY_GEN,
                    capabilities=flags.SIGN | flags.VERIFY,
                )
            return bytes(key.sign(_CONTEXT, mechanism=mechanism.SHA256_HMAC))

    def _ed25519(self, label: str) -> TokenSigner | None:
        library = self._pkcs11
        if library.Mechanism.EDDSA not in self._mechanisms:
            raise HardwareError(
                f"The token {self._name!r} has no Ed25519 (CKM_EDDSA), and documents are signed with nothing else; keep "
                "signing keys in files, or use another token."
            )
        classes = library.ObjectClass
        with _LOCK, _sentences(f"find the key {label!r} in the token {self._name!r}"):
            try:
                private = self._session.get_key(object_class=classes.PRIVATE_KEY, label=label)
                public = self._session.get_key(object_class=classes.PUBLIC_KEY, label=label)
            except library.exceptions.NoSuchKey:
                return None
            point = bytes(public[library.Attribute.EC_POINT])  # in an OCTET STRING, or bare
        if len(point) not in (PUBLIC_BYTES, PUBLIC_BYTES + 2):
            raise HardwareError(f"The key {label!r} of the token {self._name!r} is no Ed25519 key.")
        public_key = ed25519_key(point[-PUBLIC_BYTES:])
        return TokenSigner(private, public_key, label, library.Mechanism.EDDSA)


def token_of(settings: Hardware, pin: str, data: Path) -> Token:
    """The token of the settings, opened once in a process."""
    if not settings.module:
        raise HardwareError("A key is in a PKCS#11 token, and hardware.module names no library.")
    with _LOCK:
        known = _open.get((settings.module, settings.token))
        if known is not None:
            return known
        try:
            library: Any = importlib.import_module("pkcs11")
        except ImportError as error:
            raise HardwareError(
                "Keys in a PKCS#11 token need `pip install 'keypeg[pkcs11]'`."
            ) from error
        with _sentences(f"open the token {settings.token!r} of {settings.module}"):
            token = library.lib(str(data / settings.module)).get_token(token_label=settings.token)
            session = token.open(rw=True, user_pin=pin)
            mechanisms = set(token.slot.get_mechanisms())
        made = _open[settings.module, settings.token] = Token(
            library, session, mechanisms, settings.token
        )
        return made


@contextmanager
def _sentences(what: str) -> Iterator[None]:
    errors: Any = importlib.import_module("pkcs11.exceptions")
    try:
        yield
    except (errors.PKCS11Error, RuntimeError, OSError) as error:
        said = f"{type(error).__name__} {error}".strip()
        raise HardwareError(f"This program can not {what} ({said}).") from error

"""What a credential's document says, and what possession of its key is proven by (docs/formats.md, "Credential").

Promises: pure; bytes are verified before they are parsed; steps 1 to 5 are those of every document, 19 to 22 those of
a credential. What is signed to sign in names the server's key, the host that was connected to, the device and the
server's challenge, so that it is of no use anywhere else, to anybody else, or again.

Leaves to others: the file (credential_file), whether the credential was reset (the server), guessing nothing.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from keypeg import names
from keypeg.document import BEGIN_TOLERANCE, parsed, verify_with_key
from keypeg.envelope import CREDENTIAL_TYPE, signature_is_right
from keypeg.errors import CredentialExpired, CredentialsInvalid, DocumentMalformed
from keypeg.instants import after, time_text
from keypeg.v1 import credential_pb2, document_pb2
from keypeg.v1.credential_pb2 import CredentialDocument
from keypeg.v1.document_pb2 import Envelope, PublicKey

SERVER_COUNT: Final = 16  # names of one server, or servers of one database
SERVER_CHARACTERS: Final = 261  # a host name, a colon, a port
CA_CHARACTERS: Final = 16_384  # a few certificates
DEVICE_LIMIT: Final = 10_000
HOST_CHARACTERS: Final = 255
CHALLENGE_BYTES: Final = 64

_DOMAIN: Final = b"keypeg credential sign-in v1\0"


def verify_credential(envelope: Envelope, server_key: PublicKey) -> CredentialDocument:
    """The document that this server has signed; steps 1 to 5, 19 and 20."""
    document = parsed(CredentialDocument, verify_with_key(envelope, CREDENTIAL_TYPE, server_key))
    # Step 19: it is for this server.
    if document.server_key != server_key:
        raise _malformed("names another server than the one that signed it")
    _check_said(document)
    return document


def read_credential(envelope: Envelope) -> CredentialDocument:
    """The document of a file, signed by the server that it names: whole, and trusted as the file is."""
    claimed = parsed(CredentialDocument, envelope.payload)
    return verify_credential(envelope, claimed.server_key)


def check_time(document: CredentialDocument, now: datetime) -> None:
    """Step 21: CredentialExpired outside of its time."""
    if not after(now + BEGIN_TOLERANCE, document.not_before_time):
        when = time_text(document.not_before_time)
        raise CredentialExpired(
            f"{document.credential} signs in from {when} on; wait, and check this computer's clock.",
            credential=document.credential,
            not_before_time=when,
        )
    if after(now, document.not_after_time):
        when = time_text(document.not_after_time)
        raise CredentialExpired(
            f"{document.credential} signed in until {when}; ask for a newer file.",
            credential=document.credential,
            not_after_time=when,
        )


def to_sign(document: CredentialDocument, host: str, device: str, challenge: bytes) -> bytes:
    """What its key signs to sign in: a SHA-256 over parts of which each stands after its length in 4 bytes."""
    hashed = hashlib.sha256(_DOMAIN)
    parts = (document.server_key.key, document.credential.encode(), host.encode(), device.encode())
    for part in (*parts, challenge):
        hashed.update(len(part).to_bytes(4, "big") + part)
    return hashed.digest()


def check_possession(
    document: CredentialDocument, host: str, device: str, challenge: bytes, signature: bytes
) -> None:
    """Step 22: the host is one of the document's, and its key has signed; CredentialsInvalid else."""
    if host not in hosts(document):
        raise CredentialsInvalid(
            f"{document.credential} is not for a server that is reached as {host[:HOST_CHARACTERS]!r}, but as "
            f"{', '.join(sorted(hosts(document)))}; connect there, or make a file that names it."
        )
    signed = to_sign(document, host, device, challenge)
    if not signature_is_right(document.public_key, signed, signature):
        raise CredentialsInvalid(
            f"The key that signed is not that of {document.credential}; import its file again."
        )


def hosts(document: CredentialDocument) -> frozenset[str]:
    """The hosts at which its server is reached."""
    return frozenset(host_of(server) for server in document.servers)


def host_of(server: str) -> str:
    """The host of `host:port`, as it is signed; of a Unix socket: this computer."""
    if server.startswith("unix:"):
        return "localhost"
    return server.rpartition(":")[0].strip("[]").lower()


def _check_said(document: CredentialDocument) -> None:
    # Step 20: what it says can be acted on.
    account = document.credential.partition("/credentials/")[0]
    if not names.CREDENTIAL.matches(document.credential) or not names.USER.matches(document.user):
        raise _malformed("names no credential of a user")
    if not document.user.startswith(f"{account}/"):
        raise _malformed("is of one account, for a user of another")
    if (
        document.public_key.algorithm != document_pb2.KEY_ALGORITHM_ED25519
        or len(document.public_key.key) != 32
    ):
        raise _malformed("has no Ed25519 key")
    if credential_pb2.CREDENTIAL_SCOPE_CLOUD_SESSION not in document.scopes:
        raise _malformed("is for nothing that is known here")
    if not 1 <= document.device_limit <= DEVICE_LIMIT or not document.generation:
        raise _malformed("has no limit of devices, or no generation")
    if not 1 <= len(document.servers) <= SERVER_COUNT:
        raise _malformed("names no server, or too many")
    if any(len(one) > SERVER_CHARACTERS or not host_of(one) for one in document.servers):
        raise _malformed("names a server that is none")
    if len(document.ca_certificates) > CA_CHARACTERS:
        raise _malformed("has too many certificates")


def _malformed(what: str) -> DocumentMalformed:
    return DocumentMalformed(f"The credential {what}; ask for a new file.")

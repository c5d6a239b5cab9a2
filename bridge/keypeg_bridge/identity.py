"""Who this bridge is: its name in proofs, the secret that key names come from, and its certificate.

Promises: all three are made once and kept in the state directory, readable by the bridge's own user alone; a damaged file
is a sentence, never a new identity by the way. No secret of a publisher, a server or a key is among them.
"""

from __future__ import annotations

import ipaddress
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keypeg import names
from keypeg_bridge.secret_file import write_secret

IDENTITY_FILE: Final = "bridge.json"
CA_FILE: Final = "ca.pem"
SECRET_BYTES: Final = 32
LIFETIME: Final = timedelta(days=3_650)
BACKDATED: Final = timedelta(hours=1)
"""For clients whose clock is a little behind."""


class IdentityError(Exception):
    """The state directory cannot be used; one sentence."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A bridge's name and secret; repr shows the name."""

    location_host: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Identity({self.location_host})"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A chain and its private key, PEM, and the file that clients pin; repr shows the file."""

    chain: bytes
    key: bytes
    ca_file: Path

    def __repr__(self) -> str:
        return f"Certificate({self.ca_file})"


def load(folder: Path) -> Identity:
    """The identity kept in `folder`, made at the first start."""
    file = folder / IDENTITY_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not file.exists():
            made = {"id": secrets.token_hex(16), "secret": secrets.token_hex(SECRET_BYTES)}
            write_secret(file, json.dumps(made).encode())
        found = json.loads(file.read_bytes())
        secret = bytes.fromhex(found["secret"])
        if len(secret) != SECRET_BYTES:
            raise ValueError
        return Identity(names.BRIDGE.build(found["id"]), secret)
    except OSError as error:
        raise IdentityError(
            f"The state directory {folder} cannot be used: {error.strerror}. Choose another with"
            " --state."
        ) from error
    except Exception as error:  # whatever is wrong with the contents
        raise IdentityError(
            f"{file} is damaged. Restore it; or remove it, and keys get new names here."
        ) from error


def certificate(folder: Path, address: str, now: datetime) -> Certificate:
    """A development authority that is made anew at each start, and a certificate of it for `address`."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("keypeg-bridge development CA"), _name("keypeg-bridge")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    hosts: list[x509.GeneralName] = [x509.DNSName("localhost")]
    for host in dict.fromkeys((address, "127.0.0.1", "::1")):
        hosts.append(x509.IPAddress(ipaddress.ip_address(host)))
    leaf = (
        _builder(name, ca_name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file = folder / CA_FILE
    ca_file.write_bytes(ca.public_bytes(pem))
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificate(leaf.public_bytes(pem) + ca.public_bytes(pem), private, ca_file)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
    )

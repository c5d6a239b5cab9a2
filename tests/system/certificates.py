"""Certificates by which programs call, as somebody makes them who has the secrets of a server.

Promises: what is signed here is signed by the key of an authority; of what it says, nothing need be known to the server.

Leaves to others: the certificates that a server issues (tools/lab), what becomes of those here (the tests).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from keypeg import names
from keypeg_bridge import enrollment
from keypeg_server.client_authority import ClientAuthority
from keypeg_server.domain.client_certificate import CertificateRole, ClientCertificate
from keypeg_server.secret_files import read_key
from lab.world import World

DAY = timedelta(days=1)


def authority_of(world: World) -> ClientAuthority:
    """That of the server."""
    secret = read_key(world.data / "secrets" / "management.key")
    return ClientAuthority(secret, datetime.now(UTC))


def signed(
    authority: ClientAuthority,
    name: str,
    role: CertificateRole,
    ends: datetime | None = None,
) -> tuple[bytes, bytes]:
    """Private key and certificate, PEM, of a certificate of this name; it ends tomorrow, unless said otherwise."""
    account, id = names.CERTIFICATE.parse(name)
    ends = ends or datetime.now(UTC) + DAY
    made = enrollment.make_request()
    one = ClientCertificate(
        account, id, role, "", authority.serial(), DAY, ends - DAY, expire_time=ends
    )
    return made.key, authority.issue(authority.wanted(made.text), one, ends - DAY).encode()

"""Who calls at the port for bridges and sites: read from the connection, never from what the call says.

Promises: at that port every call is of the bridge or site whose certificate the connection has shown; a token that comes
with it is not looked at. What needs no signing in elsewhere needs it there, unless certificates open it.

grpcio can ask for a certificate of every client of a port or of none, not of those that like to show one. Hence the port.

Leaves to others: what a certificate says, and whether it still holds (service/client_certificates.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from keypeg.errors import PermissionDenied, TokenInvalid
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.client_certificate import CertificateRole
from keypeg_server.rpc import relayed
from keypeg_server.rpc.access_rules import Access, Rule
from keypeg_server.service.carried_certificates import CarriedCertificates
from keypeg_server.service.client_certificates import ClientCertificates
from keypeg_server.service.tokens import SignedIn

CLIENT: Final = "keypeg-client"
"""Metadata in which a program says what it is; bridges say `bridge`."""
_SHOWN: Final = "x509_pem_cert"


class CertificateDoor:
    """The port for callers by certificate."""

    def __init__(self, certificates: ClientCertificates, carried: CarriedCertificates) -> None:
        self._certificates = certificates
        self._carried = carried

    async def authenticate(self, context: Any) -> SignedIn:
        """Who has shown the certificate of this connection."""
        shown = context.auth_context().get(_SHOWN)
        if not shown:
            raise TokenInvalid("This connection shows no certificate.")
        signed_in = await self._certificates.authenticate(shown[0].decode("ascii"))
        relayed.carry_as(self._carried.text(signed_in))
        return signed_in


def is_public(rule: Rule, door: CertificateDoor | None) -> bool:
    """Whether a method needs nobody to have signed in, at this port."""
    return rule.access is Access.PUBLIC and (door is None or bool(rule.certificates))


def check_client(
    rule: Rule, caller: Caller, metadata: Iterable[tuple[str, str | bytes]] | None, method: str
) -> None:
    """Refuse a bridge that calls with a token, where they have to have certificates."""
    by_token = caller.machine is None and CertificateRole.BRIDGE in rule.certificates
    if by_token and (CLIENT, "bridge") in _pairs(metadata):
        raise PermissionDenied(
            "This server takes bridges by their certificates alone (tls.client_certificates); enroll this one: "
            "keypeg-bridge certificate request.",
            method=method,
        )


def _pairs(metadata: Iterable[tuple[str, str | bytes]] | None) -> set[tuple[str, str]]:
    return {
        (key, value.decode("latin-1") if isinstance(value, bytes) else value)
        for key, value in metadata or ()
        if key == CLIENT
    }

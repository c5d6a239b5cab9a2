"""Who calls at the port for bridges: read from the connection, never from what the call says.

Promises: at that port every call is of the bridge whose certificate the connection has shown; a token that comes with it is
not looked at. What certificates do not open is refused there, whatever it is elsewhere.

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
from keypeg_server.rpc.access_rules import Access, Rule, by_certificate
from keypeg_server.service.carried_certificates import CarriedCertificates
from keypeg_server.service.client_certificates import ClientCertificates
from keypeg_server.service.tokens import SignedIn

CLIENT: Final = "keypeg-client"
"""Metadata in which a program says what it is; bridges say `bridge`."""
_SHOWN: Final = "x509_pem_cert"


class CertificateDoor:
    """The port for one role."""

    def __init__(
        self,
        certificates: ClientCertificates,
        carried: CarriedCertificates,
        role: CertificateRole = CertificateRole.BRIDGE,
    ) -> None:
        self._certificates = certificates
        self._carried = carried
        self._role = role

    def check_method(self, rule: Rule, method: str) -> None:
        """Refuse what needs no signing in elsewhere, and that bridges do not need."""
        if rule.access is Access.PUBLIC and not rule.bridges:
            raise by_certificate(method)

    async def authenticate(self, context: Any) -> SignedIn:
        """Who has shown the certificate of this connection."""
        shown = context.auth_context().get(_SHOWN)
        if not shown:
            raise TokenInvalid("This connection shows no certificate.")
        signed_in = await self._certificates.authenticate(shown[0].decode("ascii"), self._role)
        relayed.carry_as(self._carried.text(signed_in))
        return signed_in


def check_client(
    rule: Rule, caller: Caller, metadata: Iterable[tuple[str, str | bytes]] | None, method: str
) -> None:
    """Refuse a bridge that calls with a token, where they have to have certificates."""
    if rule.bridges and not caller.certificate and (CLIENT, "bridge") in _pairs(metadata):
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

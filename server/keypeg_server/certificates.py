"""The certificate that a server shows, and how it is replaced while it runs.

Promises: a connection that is made after the files were replaced gets the new certificate, one that is there goes on.
Files that do not fit together, as between the replacing of one and of the other, change nothing until they do. The
development certificate is renewed a month before its end; the end of any that is not, is logged a month before.

Leaves to others: certificates themselves (tls.py), the port (listening.py).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Protocol

import grpc
import structlog
from cryptography import x509

from keypeg_server import tls
from keypeg_server.opened import StartError
from keypeg_server.service.ports import Clock

_LOG: Final = structlog.get_logger("keypegd")

EVERY: Final = 5.0  # seconds between looks at the files
WARNING: Final = timedelta(days=30)
WARN_EVERY: Final = timedelta(days=1)


class Source(Protocol):
    """Where the certificate is (Opened)."""

    @property
    def clock(self) -> Clock: ...
    def identity(self) -> tls.Identity:
        """What the files have now; StartError when they can not be used."""
        ...


class Certificates:
    """The certificate of one server, as its files have it now."""

    def __init__(self, opened: Source) -> None:
        """StartError when there is none that can be used."""
        self._opened = opened
        self._identity = opened.identity()
        self._warned: datetime | None = None
        self._problem = ""
        self._warn()

    @property
    def identity(self) -> tls.Identity:
        """The one for new connections."""
        return self._identity

    def credentials(self, clients: bytes | None = None) -> grpc.ServerCredentials:
        """For a port: each new connection gets the certificate of its moment.

        With `clients` (PEM) only who shows a certificate of that authority gets one; gRPC says on standard error why not.
        """
        shown = [self._identity]

        def changed() -> grpc.ServerCertificateConfiguration | None:
            """Called by gRPC for each connection, in threads of its own."""
            now = self._identity
            if now is shown[0]:
                return None
            shown[0] = now
            return _configuration(now, clients)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(shown[0], clients),
            changed,  # type: ignore[arg-type]  # None is none that is new
            require_client_authentication=clients is not None,
        )

    def refresh(self) -> None:
        """Look at the files; what is wrong with them is logged once, and the certificate stays."""
        try:
            found = self._opened.identity()
        except StartError as error:
            if self._problem != str(error):
                self._problem = str(error)
                _LOG.error("certificate can not be replaced", reason=self._problem)
            return
        self._problem = ""
        if (found.chain, found.key) != (self._identity.chain, self._identity.key):
            self._identity = found
            self._warned = None
            _LOG.info("certificate replaced", until=f"{_ends(found.chain):%Y-%m-%d}")
        self._warn()

    def _warn(self) -> None:
        now = self._opened.clock.wall()
        if self._warned is not None and now - self._warned < WARN_EVERY:
            return
        ca = self._identity.ca_file.read_bytes()
        for what, pem in (("certificate", self._identity.chain), ("CA", ca)):
            left = _ends(pem) - now
            if left < WARNING:
                self._warned = now
                _LOG.warning("certificate ends soon", which=what, days=left.days)


def _configuration(
    identity: tls.Identity, clients: bytes | None
) -> grpc.ServerCertificateConfiguration:
    pair = (identity.key, identity.chain)
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=clients)


def _ends(pem: bytes) -> datetime:
    return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc

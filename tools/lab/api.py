"""The server's own API for one caller.

Promises: every service of it, synchronously, with a token or by a certificate.

Leaves to others: what is called (stock.py, and whoever plays).
"""

from __future__ import annotations

import grpc

from keypeg.v1 import (
    account_service_pb2_grpc,
    activation_service_pb2_grpc,
    api_key_service_pb2_grpc,
    borrow_service_pb2_grpc,
    catalog_service_pb2_grpc,
    certificate_pb2,
    certificate_service_pb2_grpc,
    cloud_session_service_pb2_grpc,
    credential_service_pb2_grpc,
    license_service_pb2_grpc,
    people_service_pb2_grpc,
    seat_service_pb2_grpc,
)


class Api:
    """All services of the server for one caller, synchronously."""

    def __init__(
        self,
        address: str,
        ca: bytes,
        token: str = "",
        identity: tuple[bytes, bytes] | tuple[None, None] = (None, None),
    ) -> None:
        """`identity`: private key and certificate, PEM, of who calls the port for certificates."""
        credentials = grpc.ssl_channel_credentials(ca, *identity)
        self.token = token
        self.identity = identity
        self.certificate = certificate_pb2.Certificate()
        if token:
            credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(token)
            )
        self.channel = grpc.secure_channel(address, credentials)
        self.accounts = account_service_pb2_grpc.AccountServiceStub(self.channel)
        self.api_keys = api_key_service_pb2_grpc.ApiKeyServiceStub(self.channel)
        self.activations = activation_service_pb2_grpc.ActivationServiceStub(self.channel)
        self.borrows = borrow_service_pb2_grpc.BorrowServiceStub(self.channel)
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(self.channel)
        self.certificates = certificate_service_pb2_grpc.CertificateServiceStub(self.channel)
        self.cloud = cloud_session_service_pb2_grpc.CloudSessionServiceStub(self.channel)
        self.credentials = credential_service_pb2_grpc.CredentialServiceStub(self.channel)
        self.licenses = license_service_pb2_grpc.LicenseServiceStub(self.channel)
        self.people = people_service_pb2_grpc.PeopleServiceStub(self.channel)
        self.seats = seat_service_pb2_grpc.SeatServiceStub(self.channel)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()

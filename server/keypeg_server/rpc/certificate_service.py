"""CertificateService over gRPC: decode, call, encode."""

from __future__ import annotations

from typing import Any

from keypeg.v1 import certificate_pb2
from keypeg.v1.certificate_service_pb2 import (
    IssueCertificateRequest,
    IssueCertificateResponse,
    ListCertificatesRequest,
    ListCertificatesResponse,
    RenewCertificateRequest,
    RenewCertificateResponse,
    RevokeCertificateRequest,
    RevokeCertificateResponse,
)
from keypeg.v1.certificate_service_pb2_grpc import CertificateServiceServicer
from keypeg_server.domain.client_certificate import CertificateRole, ClientCertificate
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.calls import once
from keypeg_server.service.client_certificates import ClientCertificates, Issued


class CertificateRpc(CertificateServiceServicer):
    """Serves certificates of bridges and sites."""

    def __init__(self, certificates: ClientCertificates) -> None:
        self._certificates = certificates

    async def IssueCertificate(
        self, request: IssueCertificateRequest, context: Any
    ) -> IssueCertificateResponse:
        ttl = request.ttl.ToTimedelta() if request.HasField("ttl") else None
        answer = await self._certificates.issue(
            once(request, _issued),
            request.parent,
            request.display_name,
            CertificateRole(request.role),
            request.certificate_request,
            ttl,
        )
        return IssueCertificateResponse.FromString(answer)

    async def ListCertificates(
        self, request: ListCertificatesRequest, context: Any
    ) -> ListCertificatesResponse:
        found = await self._certificates.listed(request.parent)
        return ListCertificatesResponse(certificates=map(encoded, found))

    async def RevokeCertificate(
        self, request: RevokeCertificateRequest, context: Any
    ) -> RevokeCertificateResponse:
        answer = await self._certificates.revoke(once(request, _revoked), request.name)
        return RevokeCertificateResponse.FromString(answer)

    async def RenewCertificate(
        self, request: RenewCertificateRequest, context: Any
    ) -> RenewCertificateResponse:
        asked = request.certificate_request
        answer = await self._certificates.renew(once(request, _renewed), current(), asked)
        return RenewCertificateResponse.FromString(answer)


def encoded(value: ClientCertificate) -> certificate_pb2.Certificate:
    """A certificate as the contract has it."""
    message = certificate_pb2.Certificate(
        name=value.name,
        display_name=value.display_name,
        role=value.role.value,  # type: ignore[arg-type]  # equal by test
        serial=value.serial,
    )
    message.create_time.FromDatetime(value.create_time)
    message.expire_time.FromDatetime(value.expire_time)
    if value.revoke_time is not None:
        message.revoke_time.FromDatetime(value.revoke_time)
    return message


def _issued(made: Issued) -> IssueCertificateResponse:
    return IssueCertificateResponse(certificate=encoded(made.certificate), pem=made.pem)


def _renewed(made: Issued) -> RenewCertificateResponse:
    return RenewCertificateResponse(certificate=encoded(made.certificate), pem=made.pem)


def _revoked(value: ClientCertificate) -> RevokeCertificateResponse:
    return RevokeCertificateResponse(certificate=encoded(value))

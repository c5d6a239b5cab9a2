"""The services of the contract, each put on the wire with the use cases that it is for.

Promises: every service of keypeg.v1 that the server has is here.

Leaves to others: what passes before a call is served (rpc/gate.py), and health and reflection (rpc/health.py).
"""

from __future__ import annotations

from typing import Any

from keypeg.v1 import (
    account_service_pb2_grpc,
    activation_service_pb2_grpc,
    api_key_service_pb2_grpc,
    borrow_service_pb2_grpc,
    catalog_service_pb2_grpc,
    certificate_service_pb2_grpc,
    cloud_session_service_pb2_grpc,
    credential_service_pb2_grpc,
    identity_service_pb2_grpc,
    license_service_pb2_grpc,
    location_service_pb2_grpc,
    passkey_service_pb2_grpc,
    people_service_pb2_grpc,
    report_service_pb2_grpc,
    seat_service_pb2_grpc,
    session_service_pb2_grpc,
    sign_in_service_pb2_grpc,
)
from keypeg_server.callers import Callers
from keypeg_server.opened import Opened
from keypeg_server.rpc.account_service import AccountRpc
from keypeg_server.rpc.activation_service import ActivationRpc
from keypeg_server.rpc.api_key_service import ApiKeyRpc
from keypeg_server.rpc.borrow_service import BorrowRpc
from keypeg_server.rpc.caller import current
from keypeg_server.rpc.catalog_service import CatalogRpc
from keypeg_server.rpc.certificate_service import CertificateRpc
from keypeg_server.rpc.cloud_session_service import CloudSessionRpc
from keypeg_server.rpc.credential_service import CredentialRpc
from keypeg_server.rpc.identity_service import IdentityRpc
from keypeg_server.rpc.license_service import LicenseRpc
from keypeg_server.rpc.location_service import LocationRpc
from keypeg_server.rpc.passkey_service import PasskeyRpc
from keypeg_server.rpc.people_service import PeopleRpc
from keypeg_server.rpc.report_service import ReportRpc
from keypeg_server.rpc.seat_service import SeatService
from keypeg_server.rpc.session_service import Bounds, SessionService
from keypeg_server.rpc.sign_in_service import SignInRpc
from keypeg_server.use_cases import UseCases


def add_to(server: Any, of: UseCases, callers: Callers, opened: Opened, bounds: Bounds) -> None:
    """`server` takes handlers as a grpc.aio.Server does."""
    clock = opened.clock
    account_service_pb2_grpc.add_AccountServiceServicer_to_server(
        AccountRpc(of.accounts, of.sign_ins, of.groups), server
    )
    activation_service_pb2_grpc.add_ActivationServiceServicer_to_server(
        ActivationRpc(of.activations), server
    )
    api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server(
        ApiKeyRpc(callers.api_keys, opened.wrapping()), server
    )
    borrow_service_pb2_grpc.add_BorrowServiceServicer_to_server(
        BorrowRpc(of.borrows, current), server
    )
    catalog_service_pb2_grpc.add_CatalogServiceServicer_to_server(CatalogRpc(of.catalog), server)
    certificate_service_pb2_grpc.add_CertificateServiceServicer_to_server(
        CertificateRpc(callers.certificates), server
    )
    cloud_session_service_pb2_grpc.add_CloudSessionServiceServicer_to_server(
        CloudSessionRpc(of.cloud, of.cloud_watching, of.groups), server
    )
    credential_service_pb2_grpc.add_CredentialServiceServicer_to_server(
        CredentialRpc(of.credentials, of.devices, clock), server
    )
    identity_service_pb2_grpc.add_IdentityServiceServicer_to_server(
        IdentityRpc(of.provider_sign_ins, of.identities), server
    )
    license_service_pb2_grpc.add_LicenseServiceServicer_to_server(
        LicenseRpc(of.licenses, of.life.use_cases, of.capacities, of.capacity_keeper, clock), server
    )
    location_service_pb2_grpc.add_LocationServiceServicer_to_server(
        LocationRpc(of.locations, of.key_losses, of.key_checks, current), server
    )
    passkey_service_pb2_grpc.add_PasskeyServiceServicer_to_server(
        PasskeyRpc(
            of.passkeys, of.passkey_sign_ins, of.passkey_checks.relying_party, opened.wrapping()
        ),
        server,
    )
    people_service_pb2_grpc.add_PeopleServiceServicer_to_server(
        PeopleRpc(of.people, of.factor_resets, opened.wrapping()), server
    )
    report_service_pb2_grpc.add_ReportServiceServicer_to_server(ReportRpc(of.reports), server)
    seat_service_pb2_grpc.add_SeatServiceServicer_to_server(
        SeatService(of.seats, clock, current, of.watching, of.history), server
    )
    session_service_pb2_grpc.add_SessionServiceServicer_to_server(
        SessionService(of.sessions, current, bounds), server
    )
    sign_in_service_pb2_grpc.add_SignInServiceServicer_to_server(
        SignInRpc(of.sign_ins, of.device_sign_ins, of.factors), server
    )

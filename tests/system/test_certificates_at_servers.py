"""Bridges and sites at any of several servers: a call that another one serves is still theirs."""

from __future__ import annotations

import contextlib

import pytest

from keypeg.errors import Reason
from keypeg.v1 import account_service_pb2, certificate_service_pb2
from keypeg_bridge import enrollment
from keypeg_server.domain.client_certificate import CertificateRole
from lab.world import request_id
from tests.system.fleet import Fleet, fleet, postgres
from tests.system.people import Customer, recorded, refused

__all__ = ["fleet", "postgres"]  # fixtures

WHO = account_service_pb2.GetCallerRequest()


@pytest.mark.system
@pytest.mark.parametrize("role", CertificateRole, ids=lambda role: role.word)
def test_what_calls_by_a_certificate_stays_what_it_is_when_its_call_is_carried(
    fleet: Fleet, role: CertificateRole
) -> None:
    customer = Customer(fleet.world)
    issued = fleet.world.bridge(
        customer.admin,
        customer.account,
        "machine",
        role.value,  # type: ignore[arg-type]  # equal by test
    )
    name, home = issued.certificate.name, fleet.home_of(customer.account)
    issued.close()
    for number in (home, 1 - home):  # at the second, renewing is carried to the first
        with contextlib.closing(fleet.by(number, issued.identity)) as api:
            assert api.accounts.GetCaller(WHO).user.name == name
            answer = api.certificates.RenewCertificate(
                certificate_service_pb2.RenewCertificateRequest(
                    request_id=request_id(), certificate_request=enrollment.make_request().text
                )
            )
            assert (answer.certificate.name, answer.certificate.role) == (name, role.value)
    assert [one["by"] for one in recorded(customer, "certificate_renewed")] == [name, name]

    customer.admin.certificates.RevokeCertificate(
        certificate_service_pb2.RevokeCertificateRequest(name=name, request_id=request_id())
    )
    for number in (0, 1):
        with contextlib.closing(fleet.by(number, issued.identity)) as api:
            with refused(Reason.TOKEN_INVALID) as caught:
                api.accounts.GetCaller(WHO)
            assert f"enroll the {role.word} anew" in caught[0].sentence

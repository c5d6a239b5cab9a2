"""Certificates of bridges and sites: whom they let in, for how long, and what ends them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from keypeg import errors
from keypeg.v1 import certificate_pb2
from keypeg_server.client_authority import ClientAuthority
from keypeg_server.domain import client_certificate
from keypeg_server.domain.caller import Role
from keypeg_server.domain.client_certificate import KEPT, CertificateRole, ClientCertificate
from keypeg_server.service.carried_certificates import PREFIX, VALID_FOR, CarriedCertificates
from keypeg_server.service.client_certificates import ClientCertificates, Issued
from tests.server.service.office import Office

BRIDGE = CertificateRole.BRIDGE
DAY = timedelta(days=1)
VALID_FOR_DAYS = 90 * DAY


def certificates(office: Office, secret: bytes = b"m" * 32) -> ClientCertificates:
    numbers = iter(range(1, 1_000))
    new_id: Callable[[], str] = lambda: f"{next(numbers):032x}"  # noqa: E731 - sorts by time
    authority = ClientAuthority(secret, office.clock.now)
    return ClientCertificates(office.store, office.clock, new_id, authority, VALID_FOR_DAYS)


def asked() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


async def issued(
    office: Office,
    found: ClientCertificates,
    role: CertificateRole = BRIDGE,
    *,
    ttl: timedelta | None = None,
) -> Issued:
    done: list[Issued] = []
    await found.issue(office.request(done), "accounts/studio", "lab-4", role, asked(), ttl)
    return done[0]


async def refusal(found: ClientCertificates, pem: str, whose: str = "bridge") -> str:
    """Why a certificate is refused, as the log has it, too; the sentence says of whom it is."""
    with structlog.testing.capture_logs() as logs, pytest.raises(errors.KeypegError) as caught:
        await found.authenticate(pem)
    (line,) = logs
    assert line["event"] == "certificate refused"
    assert line["why"] == caught.value.metadata["why"]
    kind = errors.TokenExpired if line["why"] == "ended" else errors.TokenInvalid
    assert type(caught.value) is kind
    assert (
        f"the {whose} anew" in caught.value.sentence
        or f"one of a {whose};" in caught.value.sentence
    )
    return str(line["why"])


@pytest.mark.parametrize("role", CertificateRole, ids=lambda role: role.word)
async def test_who_shows_a_certificate_is_its_bridge_or_site_and_nobody_else(
    office: Office, role: CertificateRole
) -> None:
    await office.user("anna", role=Role.ADMIN)
    found = certificates(office)
    new = await issued(office, found, role)
    signed_in = await found.authenticate(new.pem)
    caller = signed_in.caller
    assert caller.certificate == caller.user == signed_in.user.name == new.certificate.name
    assert caller.account == "accounts/studio"
    assert caller.machine is role
    assert caller.login == f"{role.word} lab-4"
    assert signed_in.expire_time == office.clock.now + VALID_FOR_DAYS


@pytest.mark.parametrize("role", CertificateRole, ids=lambda role: role.word)
async def test_each_refusal_has_its_own_reason_and_says_what_to_enroll(
    office: Office, role: CertificateRole
) -> None:
    await office.user("anna", role=Role.ADMIN)
    found = certificates(office)
    revoked = await issued(office, found, role)
    ended = await issued(office, found, role, ttl=DAY)
    ours, strange = (ClientAuthority(key * 32, office.clock.now) for key in (b"m", b"o"))
    (other,) = set(CertificateRole) - {role}
    await found.revoke(office.request([]), revoked.certificate.name)
    assert await refusal(found, revoked.pem, role.word) == "revoked"
    taken = replace(ended.certificate, role=other)
    assert await refusal(found, signed_by(office, ours, taken), role.word) == "other role"
    unknown = nobody_s(office, role)
    assert await refusal(found, signed_by(office, ours, unknown), role.word) == "unknown"
    either = "bridge or site"
    assert await refusal(found, signed_by(office, strange, unknown), either) == "other authority"
    assert await refusal(found, "no certificate", either) == "not understood"
    office.clock.now += DAY
    assert await refusal(found, ended.pem, role.word) == "ended"


def nobody_s(office: Office, role: CertificateRole = BRIDGE) -> ClientCertificate:
    """A certificate that is not kept."""
    now = office.clock.now
    return ClientCertificate("studio", "f" * 32, role, "", "", DAY, now, now + DAY)


def signed_by(office: Office, authority: ClientAuthority, one: ClientCertificate) -> str:
    """What an authority has signed, whatever is kept of it."""
    made = replace(one, serial=authority.serial())
    return authority.issue(authority.wanted(asked()), made, office.clock.now)


@pytest.mark.parametrize("role", CertificateRole, ids=lambda role: role.word)
async def test_a_renewed_certificate_is_the_same_bridge_or_site_and_holds_as_long_again(
    office: Office, role: CertificateRole
) -> None:
    await office.user("anna", role=Role.ADMIN)
    found = certificates(office)
    first = await issued(office, found, role, ttl=10 * DAY)
    office.clock.now += 7 * DAY
    caller = (await found.authenticate(first.pem)).caller
    done: list[Issued] = []
    await found.renew(office.request(done), caller, asked())
    (second,) = done
    assert second.certificate.name == first.certificate.name
    assert second.certificate.role is role
    assert second.certificate.serial != first.certificate.serial
    assert second.certificate.expire_time == office.clock.now + 10 * DAY
    for pem in (first.pem, second.pem):
        assert (await found.authenticate(pem)).caller == caller
    await found.revoke(office.request([]), first.certificate.name)
    for pem in (first.pem, second.pem):
        assert await refusal(found, pem, role.word) == "revoked"
    with pytest.raises(errors.TokenInvalid):
        await found.renew(office.request([]), caller, asked())


async def test_what_is_revoked_stays_so_and_is_listed_until_a_month_after_its_end(
    office: Office,
) -> None:
    await office.user("anna", role=Role.ADMIN)
    found = certificates(office)
    new = await issued(office, found, ttl=DAY)
    done: list[ClientCertificate] = []
    await found.revoke(office.request(done), new.certificate.name)
    office.clock.now += timedelta(hours=1)
    await found.revoke(office.request(done), new.certificate.name)
    assert done[0] == done[1]
    assert await found.listed("accounts/studio") == [done[0]]
    office.clock.now = new.certificate.expire_time + KEPT
    assert await found.listed("accounts/studio") == []
    await issued(office, found)
    rows = await office.store.read(lambda unit: unit.certificates.certificates_of("studio"))
    assert len(rows) == 1, "it is forgotten"


async def test_of_which_there_may_be_so_many(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.user("anna", role=Role.ADMIN)
    monkeypatch.setattr(
        "keypeg_server.service.client_certificates.CERTIFICATES_LIMIT", 2, raising=True
    )
    assert client_certificate.CERTIFICATES_LIMIT == 1_000
    found = certificates(office)
    for _ in range(2):
        await issued(office, found)
    with pytest.raises(errors.LimitExceeded):
        await issued(office, found)


def of_rsa() -> bytes:
    key = rsa.generate_private_key(65_537, 2_048)
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def of_another_key() -> bytes:
    """A request whose key was put in the place of who signed it."""
    lines = (x509.load_pem_x509_csr(asked()).public_bytes(Encoding.DER) for _ in range(2))
    first, second = lines
    size = 64
    spki = first.index(b"\x03\x42\x00\x04") + 4
    there = second.index(b"\x03\x42\x00\x04") + 4
    forged = first[:spki] + second[there : there + size] + first[spki + size :]
    return x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM)


def of_another_version() -> bytes:
    raw = x509.load_pem_x509_csr(asked()).public_bytes(Encoding.DER)
    later = base64.encodebytes(raw.replace(b"\x02\x01\x00", b"\x02\x01\x01", 1))
    begins, ends = (f"-----{what} CERTIFICATE REQUEST-----\n".encode() for what in ("BEGIN", "END"))
    return begins + later + ends


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: b"nonsense", "is no certificate request"),
        (of_another_version, "is no certificate request"),
        (of_rsa, "another kind of key than P-256"),
        (of_another_key, "is not signed by the key that it is for"),
    ],
)
async def test_a_request_has_to_be_one(
    office: Office, make: Callable[[], bytes], what: str
) -> None:
    await office.user("anna", role=Role.ADMIN)
    with pytest.raises(errors.FieldInvalid, match=what):
        await certificates(office).issue(
            office.request([]), "accounts/studio", "x", BRIDGE, make(), None
        )


async def test_without_an_authority_none_are_issued(office: Office) -> None:
    found = ClientCertificates(office.store, office.clock, lambda: "x", None, DAY)
    with pytest.raises(errors.PermissionDenied, match=r"tls\.client_certificates"):
        await found.issue(office.request([]), "accounts/studio", "x", BRIDGE, asked(), None)


@pytest.mark.parametrize("role", CertificateRole, ids=lambda role: role.word)
async def test_a_carried_call_is_of_the_same_bridge_or_site_for_a_minute(
    office: Office, role: CertificateRole
) -> None:
    await office.user("anna", role=Role.ADMIN)
    found = certificates(office)
    new = await issued(office, found, role)
    here, there, strange = (
        CarriedCertificates(found, office.clock, secret) for secret in (b"s", b"s", b"o")
    )
    signed_in = await found.authenticate(new.pem)
    text = here.text(signed_in)
    assert text.startswith(PREFIX)
    caller = (await there.authenticate(text)).caller
    assert caller == signed_in.caller
    assert caller.machine is role
    for other in (text[:-1] + ("0" if text[-1] != "0" else "1"), new.pem, PREFIX, ""):
        with pytest.raises(errors.TokenInvalid):
            await there.authenticate(other)
    with pytest.raises(errors.TokenInvalid):
        await strange.authenticate(text)
    office.clock.now += VALID_FOR
    with pytest.raises(errors.TokenExpired):
        await there.authenticate(text)
    text = here.text(signed_in)
    await found.revoke(office.request([]), new.certificate.name)
    with pytest.raises(errors.TokenInvalid):
        await there.authenticate(text)


def test_all_servers_with_a_secret_are_one_authority(office: Office) -> None:
    one, same, other = (ClientAuthority(key * 32, office.clock.now) for key in (b"m", b"m", b"o"))
    pem = signed_by(office, one, nobody_s(office))
    assert same.shown(pem).name.endswith("f" * 32)
    with pytest.raises(ValueError, match="other authority"):
        other.shown(pem)
    issuers = {x509.load_pem_x509_certificate(it.pem).subject for it in (one, same, other)}
    assert len(issuers) == 2, "the name of an authority is of its key"


def test_roles_have_the_numbers_of_the_contract() -> None:
    numbers = dict(certificate_pb2.CertificateRole.items())
    assert {f"CERTIFICATE_ROLE_{one.name}": one.value for one in CertificateRole} == {
        name: number for name, number in numbers.items() if number
    }

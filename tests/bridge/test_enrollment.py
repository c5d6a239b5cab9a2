"""The certificate of a bridge: its key, its file, and when the next one is due."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from keypeg_bridge import enrollment
from keypeg_bridge.enrollment import EnrollmentError
from keypeg_server.client_authority import ClientAuthority
from keypeg_server.domain.client_certificate import CertificateRole, ClientCertificate

NOW = datetime(2026, 11, 1, tzinfo=UTC)
NAME = "accounts/studio/certificates/1"


def signed(request: bytes, valid_for: timedelta = timedelta(days=90)) -> bytes:
    authority = ClientAuthority(b"m" * 32, NOW)
    role, serial, ends = CertificateRole.BRIDGE, authority.serial(), NOW + valid_for
    one = ClientCertificate("studio", "1", role, "", serial, valid_for, NOW, ends)
    return authority.issue(authority.wanted(request), one, NOW).encode()


def test_a_request_is_the_same_until_its_certificate_is_there(tmp_path: Path) -> None:
    first, second = enrollment.begin(tmp_path), enrollment.begin(tmp_path)
    assert first.key == second.key
    keys = [x509.load_pem_x509_csr(one.text).public_key() for one in (first, second)]
    assert keys[0] == keys[1]
    mine = enrollment.install(tmp_path, signed(first.text))
    assert enrollment.load(tmp_path) == mine
    assert mine.says == f"keypeg:bridge:{NAME}"
    assert enrollment.begin(tmp_path).key != first.key, "the next one has another key"


def test_keys_are_for_their_owner_alone_and_in_no_repr(tmp_path: Path) -> None:
    made = enrollment.begin(tmp_path)
    pending = tmp_path / enrollment.PENDING_FILE
    assert stat.S_IMODE(pending.stat().st_mode) == 0o600
    mine = enrollment.install(tmp_path, signed(made.text))
    assert not pending.exists()
    assert stat.S_IMODE((tmp_path / enrollment.FILE).stat().st_mode) == 0o600
    for one in (made, mine):
        assert "PRIVATE" not in repr(one)


def test_the_next_one_is_due_when_a_third_is_left_and_an_ended_one_says_so(tmp_path: Path) -> None:
    mine = enrollment.install(tmp_path, signed(enrollment.begin(tmp_path).text, timedelta(days=90)))
    assert not mine.is_due(NOW + timedelta(days=59))
    assert mine.is_due(NOW + timedelta(days=61))
    mine.check(NOW + timedelta(days=89))
    with pytest.raises(EnrollmentError, match=r"has ended .* keypeg-bridge certificate request"):
        mine.check(NOW + timedelta(days=90))


def test_what_can_not_be_used_is_said(tmp_path: Path) -> None:
    with pytest.raises(EnrollmentError, match=r"There is no .*enroll this bridge"):
        enrollment.load(tmp_path)
    other = signed(enrollment.make_request().text)
    with pytest.raises(EnrollmentError, match="waits for no certificate"):
        enrollment.install(tmp_path, other)
    made = enrollment.begin(tmp_path)
    for content, why in ((other, "for another key"), (b"nonsense", "no private key with")):
        with pytest.raises(EnrollmentError, match=why):
            enrollment.install(tmp_path, content)
    enrollment.install(tmp_path, signed(made.text))  # what failed has spoiled nothing
    (tmp_path / enrollment.FILE).write_bytes(b"nonsense")
    with pytest.raises(EnrollmentError, match="is damaged"):
        enrollment.load(tmp_path)
    (tmp_path / enrollment.PENDING_FILE).write_bytes(b"nonsense")
    with pytest.raises(EnrollmentError, match="is damaged"):
        enrollment.begin(tmp_path)
    locked = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a password")
    )
    (tmp_path / enrollment.PENDING_FILE).write_bytes(locked)
    with pytest.raises(EnrollmentError, match="is damaged"):
        enrollment.begin(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(EnrollmentError, match="Choose another directory"):
        enrollment.begin(tmp_path / "file" / "state")

"""Who a bridge is: made once, kept, and never made anew by the way."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from keypeg import names
from keypeg_bridge import identity

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def test_an_identity_is_kept_and_is_its_owners_alone(tmp_path: Path) -> None:
    first = identity.load(tmp_path / "state")
    assert names.BRIDGE.matches(first.location_host)
    assert identity.load(tmp_path / "state") == first
    assert identity.load(tmp_path / "other") != first
    file = tmp_path / "state" / identity.IDENTITY_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert first.secret.hex() not in repr(first)


@pytest.mark.parametrize(
    "contents", ["", "{}", "[]", '{"id": "x", "secret": "00"}', '{"id": "A B", "secret": "' + "00" * 32 + '"}']
)  # fmt: skip
def test_a_damaged_identity_is_told_and_kept(tmp_path: Path, contents: str) -> None:
    file = tmp_path / identity.IDENTITY_FILE
    file.write_text(contents)
    with pytest.raises(identity.IdentityError, match="damaged"):
        identity.load(tmp_path)
    assert file.read_text() == contents


def test_a_certificate_names_loopback_and_shows_no_key(tmp_path: Path) -> None:
    made = identity.certificate(tmp_path, "127.0.0.1", NOW)
    leaf, authority = x509.load_pem_x509_certificates(made.chain)
    leaf.verify_directly_issued_by(authority)
    assert made.ca_file.read_bytes() in made.chain
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one) for one in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
    assert "PRIVATE" not in repr(made)

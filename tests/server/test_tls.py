"""Development certificates, made and kept; time is an argument."""

from __future__ import annotations

import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from keypeg_server.tls import development_identity, fingerprint, own_identity

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def names(chain: bytes) -> set[str]:
    certificate = x509.load_pem_x509_certificate(chain)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in found}


def test_a_certificate_covers_this_computer_and_the_configured_names(tmp_path: Path) -> None:
    identity = development_identity(tmp_path, ["license.example", "192.0.2.7"], NOW)
    wanted = {"localhost", "127.0.0.1", "::1", "license.example", "192.0.2.7"}
    assert names(identity.chain) == wanted | {socket.gethostname()}


def test_a_client_that_trusts_the_ca_accepts_the_server(tmp_path: Path) -> None:
    identity = development_identity(tmp_path, [], datetime.now(UTC))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    client = ssl.create_default_context(cafile=str(identity.ca_file))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for end in (here, there):
            try:
                end.do_handshake()
                done.add(end)
            except ssl.SSLWantReadError:
                pass
    assert here.version() == "TLSv1.3"


def test_private_keys_are_their_owner_s_alone(tmp_path: Path) -> None:
    development_identity(tmp_path, [], NOW)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644, "server.key": 0o600, "server.pem": 0o644}


@pytest.mark.parametrize(
    ("more", "later", "same"),
    [
        ([], timedelta(days=1), True),
        (["new.example"], timedelta(days=1), False),
        ([], timedelta(days=390), False),
    ],
    ids=["the next start", "another name", "near its end"],
)
def test_a_certificate_is_kept_while_it_is_good(
    tmp_path: Path, more: list[str], later: timedelta, same: bool
) -> None:
    before = development_identity(tmp_path, [], NOW)
    ca = fingerprint(before.ca_file)
    after = development_identity(tmp_path, more, NOW + later)
    assert (after.chain == before.chain) is same
    assert fingerprint(after.ca_file) == ca, "the CA that clients pinned stays"
    assert len(ca) == 32 * 3 - 1


def test_one_s_own_certificate_needs_its_own_key(tmp_path: Path) -> None:
    development_identity(tmp_path / "a", [], NOW)
    development_identity(tmp_path / "b", [], NOW)
    mine = own_identity(tmp_path / "a" / "server.pem", tmp_path / "a" / "server.key")
    assert mine.ca_file == tmp_path / "a" / "server.pem"
    assert "PRIVATE" not in repr(mine)
    with pytest.raises(ValueError, match="another certificate"):
        own_identity(tmp_path / "a" / "server.pem", tmp_path / "b" / "server.key")

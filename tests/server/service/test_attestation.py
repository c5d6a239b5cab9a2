"""Keys whose maker vouches for them: chains that hold, and everything that is wrong with others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import KeyNotAttested
from keypeg.v1 import document_pb2 as d
from keypeg_server.domain.location import Location
from keypeg_server.opened import Opened, StartError
from keypeg_server.service.attestation import Roots, RootsUnusable
from keypeg_server.settings import Keys, Settings
from tests.client import proof_cases as cases
from tests.server.service.office import Office
from tests.server.service.test_locations import Card, authorized

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)


class Maker:
    """A maker of keys: its root, and the authority inside one of its keys."""

    def __init__(self, name: str = "maker") -> None:
        self.key, self.inner = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.name = name
        self.root = certificate(name, self.key.public_key(), name, self.key)
        self.middle = certificate(f"{name} 1", self.inner.public_key(), name, self.key)

    def chain(self, key: Any, **changes: Any) -> tuple[bytes, ...]:
        """What a key says of its private key."""
        own = certificate("slot", key, f"{self.name} 1", self.inner, ca=False, **changes)
        return der(own), der(self.middle)


def certificate(
    subject: str,
    key: Any,
    issuer: str,
    signer: Any,
    *,
    ca: bool = True,
    begins: datetime = NOW - DAY,
    ends: datetime = NOW + DAY,
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    constraints = x509.BasicConstraints(ca=ca, path_length=None)
    return (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key)
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(constraints, critical=True)
        .sign(signer, hashes.SHA256())
    )


def der(one: x509.Certificate) -> bytes:
    return one.public_bytes(Encoding.DER)


MAKER = Maker()
ROOTS = Roots.from_pem(MAKER.root.public_bytes(Encoding.PEM))
POINT = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), cases.SMART_KEY.public_key.key)
OWN = cases.SMART_KEY.public_key
CHAIN = MAKER.chain(POINT)


def test_a_chain_that_holds_vouches_for_the_key() -> None:
    ROOTS.check(CHAIN, OWN, NOW)
    ROOTS.check((*CHAIN, der(MAKER.root)), OWN, NOW)  # with the root, though it is known
    direct = certificate("slot", POINT, "maker", MAKER.key, ca=False)
    ROOTS.check((der(direct),), OWN, NOW)


@pytest.mark.parametrize(
    ("public", "named"),
    [
        (
            ec.EllipticCurvePublicKey.from_encoded_point(
                ec.SECP384R1(), cases.P384_KEY.public_key.key
            ),
            cases.P384_KEY.public_key,
        ),
        (
            ed25519.Ed25519PublicKey.from_public_bytes(cases.ROOT.public_key.key),
            cases.ROOT.public_key,
        ),
        (
            rsa.RSAPublicNumbers(
                65_537, int.from_bytes(cases.RSA_KEY.public_key.key, "big")
            ).public_key(),
            cases.RSA_KEY.public_key,
        ),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_keys_of_every_kind_are_vouched_for(public: Any, named: d.PublicKey) -> None:
    ROOTS.check(MAKER.chain(public), named, NOW)


def other_algorithm() -> d.PublicKey:
    return d.PublicKey(algorithm=d.KEY_ALGORITHM_FIDO2_P256, key=OWN.key)


STRANGER = Maker("stranger")
SAME_NAME = Maker()  # another one that calls itself the same
NO_AUTHORITY = certificate("maker 1", MAKER.inner.public_key(), "maker", MAKER.key, ca=False)


@pytest.mark.parametrize(
    ("chain", "named", "now", "said"),
    [
        ((), OWN, NOW, "nothing of its maker"),
        (CHAIN, cases.P256Signer("other").public_key, NOW, "another private key"),
        (CHAIN, other_algorithm(), NOW, "another private key"),
        (CHAIN[:1], OWN, NOW, "does not know CN=maker 1"),
        (CHAIN[1:], OWN, NOW, "another private key"),
        (CHAIN[::-1], OWN, NOW, "do not hold together"),
        (STRANGER.chain(POINT), OWN, NOW, "does not know CN=stranger"),
        (SAME_NAME.chain(POINT), OWN, NOW, "does not know CN=maker"),
        ((SAME_NAME.chain(POINT)[0], CHAIN[1]), OWN, NOW, "do not hold together"),
        ((CHAIN[0], der(NO_AUTHORITY)), OWN, NOW, "do not hold together"),
        (MAKER.chain(POINT, ends=NOW - DAY / 2), OWN, NOW, "out of its time"),
        (MAKER.chain(POINT, begins=NOW + DAY / 2), OWN, NOW, "out of its time"),
        (CHAIN, OWN, NOW + 2 * DAY, "out of its time"),
        (CHAIN * 5, OWN, NOW, "too long"),
        ((CHAIN[0], bytes(4_097)), OWN, NOW, "too long"),
        ((b"", CHAIN[1]), OWN, NOW, "cannot be read"),
        ((CHAIN[0] + b"\x00", CHAIN[1]), OWN, NOW, "cannot be read"),
    ],
)
def test_chains_that_do_not_hold_say_why(
    chain: tuple[bytes, ...], named: d.PublicKey, now: datetime, said: str
) -> None:
    with pytest.raises(KeyNotAttested, match=said) as refused:
        ROOTS.check(chain, named, now)
    assert "keys.attestation_roots" in str(refused.value)


@given(st.integers(0, len(CHAIN[0]) - 1), st.integers(1, 255))
def test_no_bit_of_the_key_s_own_certificate_can_be_changed(at: int, flip: int) -> None:
    changed = bytearray(CHAIN[0])
    changed[at] ^= flip
    with pytest.raises(KeyNotAttested):
        ROOTS.check((bytes(changed), CHAIN[1]), OWN, NOW)


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_any_bytes_are_refused_by_name(chain: list[bytes]) -> None:
    with pytest.raises(KeyNotAttested):
        ROOTS.check(chain, OWN, NOW)


def test_roots_are_authorities_in_pem() -> None:
    for text in (b"", b"nothing", NO_AUTHORITY.public_bytes(Encoding.PEM)):
        with pytest.raises(RootsUnusable):
            Roots.from_pem(text)


@pytest.mark.parametrize("write", [lambda path: None, lambda path: path.write_text("nothing")])
def test_a_server_does_not_start_with_roots_that_it_cannot_read(
    tmp_path: Path, write: Callable[[Path], Any]
) -> None:
    write(tmp_path / "makers.pem")
    settings = Settings(keys=Keys(attestation_roots="makers.pem"))
    opened = Opened(tmp_path, settings, *[None] * 4)  # type: ignore[arg-type]
    with pytest.raises(StartError, match=r"makers\.pem"):
        opened.attestation_roots()


async def test_a_server_that_asks_for_it_enrolls_attested_keys_only(tmp_path: Path) -> None:
    office = Office(tmp_path, roots=ROOTS)
    try:
        await office.furnish()
        office.clock.now = NOW
        card = Card()
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), card.point)
        new = card.new_key((await authorized(office)).enrollment_nonce)
        for chain in ((), CHAIN):
            with pytest.raises(KeyNotAttested):
                await office.locations.create_key_location(
                    office.request([]), replace(new, attestation=chain)
                )
        done: list[Location] = []
        await office.locations.create_key_location(  # the nonce is still good
            office.request(done), replace(new, attestation=MAKER.chain(point))
        )
        assert done[0].public_key == card.point
    finally:
        await office.close()

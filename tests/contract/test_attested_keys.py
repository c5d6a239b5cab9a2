"""What a card says of its private key, from the card through the driver to the rule of the server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from cryptography import x509

from keypeg.errors import KeyNotAttested
from keypeg.management import DEFAULT_MANAGEMENT_KEY, respond
from keypeg.v1.document_pb2 import PublicKey
from keypeg_bridge.emulator.piv import attestation
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.rack.sources import DriverKey
from keypeg_server.service.attestation import Roots
from tests.bridge.cards import CARDS, DirectKey

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class Enrolled:
    """What a server learns of a key."""

    named: PublicKey
    chain: tuple[bytes, ...]


def enrolled(profile: str) -> Enrolled:
    driver = PivDriver(DirectKey(profile).pipe())
    asked = driver.begin_authorization()
    secret = DEFAULT_MANAGEMENT_KEY[: asked.algorithm.key_bytes]
    driver.finish_authorization(respond(asked.algorithm, secret, asked.challenge))
    driver.generate_identity_key()
    found = DriverKey(driver).identity()
    assert found.key_algorithm is not None
    named = PublicKey(key=found.public_key or b"")
    named.algorithm = found.key_algorithm  # type: ignore[assignment]
    return Enrolled(named, found.attestation)


def roots() -> Roots:
    root = x509.load_der_x509_certificate(attestation.root())
    return Roots([root])


@pytest.mark.parametrize("profile", sorted(set(CARDS) - {"standard"}))
def test_a_server_believes_what_a_card_of_a_trusted_maker_says(profile: str) -> None:
    key = enrolled(profile)
    roots().check(key.chain, key.named, NOW)
    names = [x509.load_der_x509_certificate(one).subject for one in key.chain]
    assert all("emulated" in name.rfc4514_string() for name in names)


def test_a_card_without_attestation_says_nothing_and_is_refused() -> None:
    key = enrolled("standard")
    assert key.chain == ()
    with pytest.raises(KeyNotAttested, match="nothing of its maker"):
        roots().check((), key.named, NOW)


def test_what_one_card_says_vouches_for_no_other() -> None:
    one, other = enrolled("token"), enrolled("token")
    with pytest.raises(KeyNotAttested, match="another private key"):
        roots().check(one.chain, other.named, NOW)

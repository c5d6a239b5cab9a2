"""Other people's programs for smart cards on the emulated key, through the distribution's card service.

In the guest the service has the key on USB; outside, in a virtual reader. The programs see the same card.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lab import card_service as service
from tests.usb.conftest import IN_GUEST, CardPlace
from tests.usb.programs import missing

PROGRAMS = {
    "opensc-tool": "opensc",
    "pcsc_scan": "pcsc-tools",
    "pkcs11-tool": "opensc",
    "yubico-piv-tool": "yubico-piv-tool",
}
LACKING = missing(PROGRAMS) + ([] if IN_GUEST else service.missing())

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.skipif(
        bool(LACKING), reason=f"NOT RUN: install them: apt-get install {' '.join(LACKING)}"
    ),
]

outside = pytest.mark.skipif(
    IN_GUEST, reason="tried outside: no kernel makes a difference to it, and the guest is slow"
)

PIN = "123456"
SELECT_PIV = "00A404000BA00000030800001000010000"


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def issue(public: Path, path: Path) -> None:
    """A certificate for a public key, by an authority of a moment. (The tool's own way, selfsign-certificate, fails in
    Debian 12 before it asks the card for anything: it and OpenSSL 3 do not go together.)"""
    key = serialization.load_pem_public_key(public.read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


@pytest.fixture(scope="module")
def managed(card_place: CardPlace) -> CardPlace:
    """A card with a key and a certificate for authentication, put there by the tool of a maker of keys."""
    tools = card_place.tools
    piv = ("yubico-piv-tool", "--reader", card_place.reader)
    tools.run(*piv, "-a", "set-chuid", "-a", "set-ccc")
    tools.run(*piv, "-a", "generate", "-s", "9a", "-A", "ECCP256", "-o", "9a.pem")
    issue(tools.folder / "9a.pem", tools.folder / "9a.crt")
    tools.run(*piv, "-a", "import-certificate", "-s", "9a", "-i", "9a.crt")
    return card_place


@pytest.mark.behaviour("KEY-10")
def test_the_card_service_shows_the_key(card_place: CardPlace) -> None:
    assert card_place.reader in card_place.tools.run("pcsc_scan", "-r")
    cards = card_place.tools.run("pcsc_scan", "-c")
    assert "6B 65 79 70 65 67" in cards, "the ATR says who made it: keypeg"


@pytest.mark.behaviour("KEY-10")
def test_opensc_takes_it_for_a_piv_card(card_place: CardPlace) -> None:
    tool = card_place.tools.run
    assert "Yes" in tool("opensc-tool", "--list-readers")
    assert "Personal Identity Verification" in tool("opensc-tool", "--name", "--reader", "0")
    answer = tool("opensc-tool", "--reader", "0", "--send-apdu", SELECT_PIV)
    assert "SW1=0x90, SW2=0x00" in answer


@pytest.mark.behaviour("KEY-9", "KEY-10")
def test_a_maker_s_tool_manages_keys_and_certificates(managed: CardPlace) -> None:
    tool, folder = managed.tools.run, managed.tools.folder
    piv = ("yubico-piv-tool", "--reader", managed.reader)
    status = tool(*piv, "-a", "status")
    assert "CN=somebody" in status
    assert "PIN tries left:\t3" in status
    tool(*piv, "-a", "read-certificate", "-s", "9a", "-o", "read.crt")
    assert certificate(folder / "read.crt") == certificate(folder / "9a.crt")
    said = tool(
        *piv, "-a", "verify-pin", "-P", PIN, "-a", "test-signature", "-s", "9a", "-i", "9a.crt",
    )  # fmt: skip
    assert "Successful ECDSA verification" in said
    tool(*piv, "-a", "attest", "-s", "9a", "-o", "attest.crt")
    assert (
        certificate(folder / "attest.crt").public_key()
        == certificate(folder / "9a.crt").public_key()
    )


@outside
def test_a_maker_s_tool_makes_a_key_of_another_kind_and_decrypts_with_it(
    managed: CardPlace,
) -> None:
    tool, folder = managed.tools.run, managed.tools.folder
    piv = ("yubico-piv-tool", "--reader", managed.reader)
    tool(*piv, "-a", "generate", "-s", "9d", "-A", "RSA2048", "-o", "9d.pem")
    tool(*piv, "-a", "attest", "-s", "9d", "-o", "9d.crt")
    tool(*piv, "-a", "import-certificate", "-s", "9d", "-i", "9d.crt")
    public = certificate(folder / "9d.crt").public_key()
    assert getattr(public, "key_size", 0) == 2_048
    said = tool(
        *piv, "-a", "verify-pin", "-P", PIN, "-a", "test-decipher", "-s", "9d", "-i", "9d.crt",
    )  # fmt: skip
    assert "Successfully performed RSA decryption" in said


@pytest.mark.behaviour("KEY-10")
def test_a_maker_s_tool_imports_a_key(managed: CardPlace) -> None:
    tool, folder = managed.tools.run, managed.tools.folder
    piv = ("yubico-piv-tool", "--reader", managed.reader)
    private = ec.generate_private_key(ec.SECP256R1())
    (folder / "mine.pem").write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / "mine.pub").write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    issue(folder / "mine.pub", folder / "mine.crt")
    tool(*piv, "-a", "import-key", "-s", "9c", "-i", "mine.pem")
    tool(*piv, "-a", "import-certificate", "-s", "9c", "-i", "mine.crt")
    said = tool(
        *piv, "-a", "verify-pin", "-P", PIN, "-a", "test-signature", "-s", "9c", "-i", "mine.crt",
    )  # fmt: skip
    assert "Successful ECDSA verification" in said


@pytest.mark.behaviour("KEY-10")
def test_pkcs11_finds_the_key_and_signs_with_it(managed: CardPlace) -> None:
    tool, folder = managed.tools.run, managed.tools.folder
    assert managed.reader in tool("pkcs11-tool", "--list-slots")
    listed = tool("pkcs11-tool", "--list-objects", "--login", "--pin", PIN)
    assert "Certificate for PIV Authentication" in listed
    assert "PIV AUTH key" in listed
    (folder / "text").write_bytes(b"whatever is to be signed")
    tool(
        "pkcs11-tool", "--sign", "--id", "01", "--mechanism", "ECDSA-SHA256", "--login", "--pin", PIN,
        "--signature-format", "openssl", "--input-file", "text", "--output-file", "signature",
    )  # fmt: skip
    public = certificate(folder / "9a.crt").public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(
        (folder / "signature").read_bytes(), b"whatever is to be signed", ec.ECDSA(hashes.SHA256())
    )


@outside
@pytest.mark.behaviour("KEY-10")
def test_pins_are_counted_changed_unblocked_and_the_card_reset(managed: CardPlace) -> None:
    tool = managed.tools.run
    piv = ("yubico-piv-tool", "--reader", managed.reader)
    wrong = tool(*piv, "-a", "verify-pin", "-P", "654321", fails=True)
    assert "2 tries left" in wrong
    tool(*piv, "-a", "change-pin", "-P", PIN, "-N", "234567")
    tool(*piv, "-a", "verify-pin", "-P", "234567")
    tool(*piv, "-a", "change-puk", "-P", "12345678", "-N", "23456789")
    for _ in range(3):
        tool(*piv, "-a", "verify-pin", "-P", "999999", fails=True)
    assert "PIN tries left:\t0" in tool(*piv, "-a", "status")
    tool(*piv, "-a", "unblock-pin", "-P", "23456789", "-N", PIN)
    tool(*piv, "-a", "verify-pin", "-P", PIN)
    other = "0a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021"
    tool(*piv, "-a", "set-mgm-key", "-n", other)
    tool(*piv, "-a", "set-ccc", fails=True)
    tool(*piv, f"--key={other}", "-a", "set-ccc")
    tool(*piv, "-a", "reset", fails=True)  # not before both are blocked
    for _ in range(3):
        tool(*piv, "-a", "verify-pin", "-P", "999999", fails=True)
        tool(*piv, "-a", "change-puk", "-P", "99999999", "-N", "11111111", fails=True)
    tool(*piv, "-a", "reset")
    status = tool(*piv, "-a", "status")
    assert "PIN tries left:\t3" in status
    assert "CN=somebody" not in status


@pytest.mark.behaviour("KEY-10")
def test_pulling_the_key_takes_the_card_away_and_plugging_it_in_brings_it_back(
    card_place: CardPlace,
) -> None:
    tool = card_place.tools.run
    card_place.key.unplug()
    card_place.tools.until("Yes ", "opensc-tool", "--list-readers", there=False)
    card_place.key.plug()
    card_place.tools.until("Yes ", "opensc-tool", "--list-readers")
    assert "3b:" in tool("opensc-tool", "--reader", "0", "--atr")

"""Private keys of the emulated card: made, imported, moved, and used under their own rules."""

from __future__ import annotations

import hashlib
import threading

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg_bridge.emulator.piv.waiting import TOUCH_SECONDS
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Response, Status
from tests.bridge.emulator.card_host import PIN, CardHost

P256, P384 = piv.ALGORITHM_P256, piv.ALGORITHM_P384
RSA1024, RSA2048 = piv.ALGORITHM_RSA1024, piv.ALGORITHM_RSA2048
ED25519, X25519 = piv.ALGORITHM_ED25519, piv.ALGORITHM_X25519
DIGEST = hashlib.sha256(b"a message").digest()
RAW = (Encoding.X962, PublicFormat.UncompressedPoint)


@pytest.fixture
def host() -> CardHost:
    made = CardHost()
    made.manage()
    made.verify()
    return made


def point(curve: ec.EllipticCurve, fields: dict[int, bytes]) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, fields[0x86])


@pytest.mark.parametrize(
    ("algorithm", "curve", "hashed"),
    [(P256, ec.SECP256R1(), hashes.SHA256()), (P384, ec.SECP384R1(), hashes.SHA384())],
)
def test_curves_sign_and_agree(
    host: CardHost, algorithm: int, curve: ec.EllipticCurve, hashed: hashes.HashAlgorithm
) -> None:
    public = point(curve, host.generate(0x9A, algorithm))
    digest = hashlib.new(hashed.name, b"x").digest()
    public.verify(host.used(0x9A, algorithm, digest), digest, ec.ECDSA(Prehashed(hashed)))
    theirs = ec.generate_private_key(curve)
    shared = host.used(0x9A, algorithm, theirs.public_key().public_bytes(*RAW), 0x85)
    assert shared == theirs.exchange(ec.ECDH(), public)


@pytest.mark.parametrize(("algorithm", "bits"), [(RSA1024, 1_024), (RSA2048, 2_048)])
def test_rsa_signs_and_decrypts(host: CardHost, algorithm: int, bits: int) -> None:
    fields = host.generate(0x9D, algorithm)
    modulus, exponent = (int.from_bytes(fields[tag], "big") for tag in (0x81, 0x82))
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    assert public.key_size == bits
    secret = public.encrypt(b"a secret", padding.PKCS1v15())
    opened = host.used(0x9D, algorithm, secret)
    assert opened[:2] == b"\x00\x02"
    assert opened.endswith(b"\x00a secret")
    info = bytes.fromhex("3031300d060960864801650304020105000420") + DIGEST
    padded = b"\x00\x01" + b"\xff" * (bits // 8 - 3 - len(info)) + b"\x00" + info
    signature = host.used(0x9D, algorithm, padded)
    public.verify(signature, DIGEST, padding.PKCS1v15(), Prehashed(hashes.SHA256()))


def test_ed25519_signs_messages_of_any_length(host: CardHost) -> None:
    public = ed25519.Ed25519PublicKey.from_public_bytes(host.generate(0x9A, ED25519)[0x86])
    for message in (b"", b"short", bytes(3_000)):
        public.verify(host.used(0x9A, ED25519, message), message)
    assert host.use(0x9A, ED25519, bytes(5_000)).status == Status.WRONG_DATA


def test_x25519_agrees_and_signs_nothing(host: CardHost) -> None:
    public = x25519.X25519PublicKey.from_public_bytes(host.generate(0x9D, X25519)[0x86])
    theirs = x25519.X25519PrivateKey.generate()
    shared = host.used(0x9D, X25519, theirs.public_key().public_bytes_raw(), 0x85)
    assert shared == theirs.exchange(public)
    assert host.use(0x9D, X25519, DIGEST).status == Status.WRONG_DATA
    assert host.use(0x9D, X25519, bytes(32), 0x85).status == Status.WRONG_DATA  # gives all zero


def test_shorter_digests_are_the_same_number(host: CardHost) -> None:
    public = point(ec.SECP384R1(), host.generate(0x9A, P384))
    public.verify(host.used(0x9A, P384, DIGEST), DIGEST, ec.ECDSA(Prehashed(hashes.SHA256())))


def imported(algorithm: int) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """A key from outside: its elements, and those of its public half."""
    if algorithm in (RSA1024, RSA2048):
        key = rsa.generate_private_key(65_537, 1_024 if algorithm == RSA1024 else 2_048)
        n, half = key.private_numbers(), key.key_size // 16
        parts = (n.p, n.q, n.dmp1, n.dmq1, n.iqmp)
        secret = {i: part.to_bytes(half, "big") for i, part in enumerate(parts, 1)}
        modulus = n.public_numbers.n.to_bytes(2 * half, "big")
        return secret, {0x81: modulus, 0x82: b"\x01\x00\x01"}
    if algorithm in (P256, P384):
        curve, size = (ec.SECP256R1(), 32) if algorithm == P256 else (ec.SECP384R1(), 48)
        own = ec.generate_private_key(curve)
        scalar = own.private_numbers().private_value.to_bytes(size, "big")
        return {6: scalar}, {0x86: own.public_key().public_bytes(*RAW)}
    kind, tag = (
        (ed25519.Ed25519PrivateKey, 7) if algorithm == ED25519 else (x25519.X25519PrivateKey, 8)
    )
    made = kind.generate()
    return {tag: made.private_bytes_raw()}, {0x86: made.public_key().public_bytes_raw()}


@pytest.mark.parametrize("algorithm", [RSA1024, P256, P384, ED25519, X25519])
def test_imported_keys_are_told_from_made_ones(host: CardHost, algorithm: int) -> None:
    secret, public = imported(algorithm)
    data = b"".join(tlv.encode(tag, value) for tag, value in secret.items())
    policies = bytes.fromhex("aa0101ab0101")
    assert host.status(piv.INS_IMPORT, algorithm, 0x85, data + policies) == Status.OK
    told = {e.tag: e.value for e in tlv.parse(host.send(piv.INS_GET_METADATA, 0, 0x85).data)}
    assert told[1] == bytes((algorithm,))
    assert told[2] == b"\x01\x01"
    assert told[3] == bytes((piv.ORIGIN_IMPORTED,))
    assert {e.tag: e.value for e in tlv.parse(told[4])} == public
    assert host.status(piv.INS_ATTEST, 0x85, 0) == Status.WRONG_DATA  # nobody can vouch for it


def test_imports_that_are_no_keys_are_refused(host: CardHost) -> None:
    secret, _ = imported(RSA1024)
    whole = b"".join(tlv.encode(tag, value) for tag, value in secret.items())
    other = {**secret, 3: (int.from_bytes(secret[3], "big") ^ 2).to_bytes(64, "big")}
    for algorithm, data in (
        (P256, b""),
        (P256, tlv.encode(6, bytes(32))),  # zero
        (P256, tlv.encode(6, b"\xff" * 32)),  # beyond the curve's order
        (P256, tlv.encode(6, b"\x01" * 31)),
        (P256, tlv.encode(7, b"\x01" * 32)),
        (P256, tlv.encode(6, b"\x01" * 32) * 2),
        (ED25519, tlv.encode(7, b"\x01" * 33)),
        (RSA1024, whole[:-66]),
        (RSA1024, b"".join(tlv.encode(tag, value) for tag, value in other.items())),
        (RSA2048, whole),
        (RSA1024, b"".join(tlv.encode(tag, b"\x02") for tag in secret)),
        (P256, tlv.encode(6, b"\x01" * 32) + bytes.fromhex("aa0104")),
        (P256, b"\x06\x20"),
    ):
        assert host.status(piv.INS_IMPORT, algorithm, 0x9A, data) == Status.WRONG_DATA
    assert host.status(piv.INS_IMPORT, 0x77, 0x9A, whole) == Status.WRONG_P1P2
    assert host.status(piv.INS_IMPORT, P256, 0x9B, whole) == Status.WRONG_P1P2
    assert host.state.private_keys == {}


def test_keys_are_moved_and_deleted(host: CardHost) -> None:
    host.generate(0x9A, P256)
    made = host.state.private_keys[0x9A]
    host.generate(0x9C, P256)
    assert host.status(piv.INS_MOVE_KEY, 0x9C, 0x9A) == Status.WRONG_P1P2  # taken
    assert host.status(piv.INS_MOVE_KEY, 0x9A, 0x9A) == Status.WRONG_P1P2
    assert host.status(piv.INS_MOVE_KEY, 0x9B, 0x9A) == Status.WRONG_P1P2
    assert host.status(piv.INS_MOVE_KEY, 0x82, 0x9A) == Status.OK
    assert host.state.private_keys[0x82] == made
    assert host.status(piv.INS_MOVE_KEY, 0x83, 0x9A) == Status.REFERENCE_NOT_FOUND
    assert host.status(piv.INS_MOVE_KEY, 0xFF, 0x82) == Status.OK
    assert set(host.state.private_keys) == {0x9C}


def test_a_pin_serves_as_each_key_says(host: CardHost) -> None:
    for slot, policy in ((0x82, 1), (0x83, 2), (0x84, 3)):
        host.generate(slot, P256, pin=policy)
    for slot in (0x9A, 0x9C, 0x9D, 0x9E):
        host.generate(slot, P256)
    host.select()
    uses = (0x9E, 0x82, 0x9A, 0x9D, 0x83, 0x9C, 0x84)
    silent = [host.use(slot, P256, DIGEST).status for slot in uses]
    assert silent == [0x9000, 0x9000, *[0x6982] * 5]
    host.verify()
    assert [host.use(slot, P256, DIGEST).status for slot in uses[2:5]] == [0x9000] * 3
    assert host.use(0x9C, P256, DIGEST).status == 0x6982  # another key has used the fresh PIN
    host.verify()
    assert [host.use(0x9C, P256, DIGEST).status for _ in range(2)] == [0x9000, 0x6982]
    host.verify()
    assert [host.use(0x84, P256, DIGEST).status for _ in range(2)] == [0x9000, 0x6982]


def started(host: CardHost, slot: int) -> bytes | None:
    fields = tlv.encode(0x82, b"") + tlv.encode(0x81, DIGEST)
    command = Command(0, 0x87, P256, slot, tlv.encode(0x7C, fields), 256)
    return host.card.begin(command.encode())


def touching(touch: int) -> CardHost:
    host = CardHost(touch=TouchPolicy.COMMAND)
    host.manage()
    host.generate(0x9E, P256, touch=touch)
    return host


def test_a_key_that_wants_a_touch_waits_for_it() -> None:
    host = touching(piv.TOUCH_ALWAYS)
    assert started(host, 0x9E) is None
    assert host.applet.wants_touch
    host.now += 5
    assert host.card.poll() is None
    host.finger.press()
    answer = host.card.poll()
    assert answer is not None
    assert Response.decode(answer).ok
    assert not host.applet.wants_touch
    assert host.card.poll() is None
    assert started(host, 0x9E) is None  # each time anew


def test_without_a_touch_the_signature_is_refused_in_time() -> None:
    host = touching(piv.TOUCH_ALWAYS)
    assert started(host, 0x9E) is None
    host.now += TOUCH_SECONDS
    assert host.card.poll() == b"\x69\x82"
    assert host.use(0x9E, P256, DIGEST).status == Status.SECURITY_NOT_SATISFIED  # who cannot wait
    assert started(host, 0x9E) is None
    host.card.power_off()
    assert not host.applet.wants_touch
    assert host.card.poll() is None


def test_a_touch_may_serve_for_a_while() -> None:
    host = touching(piv.TOUCH_CACHED)
    host.finger.press()
    assert host.use(0x9E, P256, DIGEST).ok
    host.now += 14.9
    assert host.use(0x9E, P256, DIGEST).ok
    host.now += 0.2
    assert started(host, 0x9E) is None


def test_a_long_computation_is_answered_later(host: CardHost) -> None:
    template = tlv.encode(0xAC, tlv.encode(0x80, bytes((RSA2048,))))
    command = Command(0, piv.INS_GENERATE, 0, 0x9A, template, 256).encode()
    assert host.card.begin(command) is None
    for thread in threading.enumerate():
        if thread.name == "emulated-key":
            thread.join()
    answer = host.card.poll()
    assert answer is not None
    assert answer[:2] == b"\x7f\x49"
    assert answer[-2:] == b"\x61\x0e"  # 14 bytes more than a short answer has
    assert host.state.private_keys[0x9A].algorithm == RSA2048


GENERATE = tlv.encode(0xAC, bytes.fromhex("800111"))
ASKS = tlv.encode(0x7C, tlv.encode(0x82, b"") + tlv.encode(0x81, DIGEST))
REFUSALS = [
    (piv.INS_GENERATE, 0x00, 0x9B, GENERATE, 0x6A86),
    (piv.INS_GENERATE, 0x00, 0x04, GENERATE, 0x6A86),
    (piv.INS_GENERATE, 0x01, 0x9A, GENERATE, 0x6A86),
    (piv.INS_GENERATE, 0x00, 0x9A, b"", 0x6A80),
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac00"), 0x6A80),
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac03800127"), 0x6A80),  # secure messaging's
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac0480021111"), 0x6A80),
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac06800111800111"), 0x6A80),
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac06800111aa0104"), 0x6A80),
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac06800111ab0104"), 0x6A80),
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac06800111810103"), 0x6A80),
    (piv.INS_GENERATE, 0x00, 0x9A, bytes.fromhex("ac06800107810103"), 0x6A80),  # exponent 3
    (piv.INS_GENERATE, 0x00, 0x9A, GENERATE + b"\x00", 0x6A80),
    (0x87, P256, 0x9A, ASKS, 0x6A88),
    (0x87, P256, 0xF9, ASKS, 0x6A86),
    (0x87, P256, 0x80, ASKS, 0x6A86),
    (0x87, P384, 0x9E, ASKS, 0x6A86),
    (0x87, 0x00, 0x9E, ASKS, 0x6A86),
    (0x87, P256, 0x9E, b"", 0x6A80),
    (0x87, P256, 0x9E, bytes.fromhex("7c00"), 0x6A80),
    (0x87, P256, 0x9E, bytes.fromhex("7c028200"), 0x6A80),
    (0x87, P256, 0x9E, tlv.encode(0x7C, tlv.encode(0x81, DIGEST)), 0x6A80),
    (0x87, P256, 0x9E, tlv.encode(0x7C, bytes.fromhex("82008100")), 0x6A80),
    (0x87, P256, 0x9E, tlv.encode(0x7C, b"\x82\x00" + tlv.encode(0x81, bytes(33))), 0x6A80),
    (0x87, P256, 0x9E, tlv.encode(0x7C, b"\x82\x00" + tlv.encode(0x80, DIGEST)), 0x6A80),
    (0x87, P256, 0x9E, tlv.encode(0x7C, b"\x82\x01\x00" + tlv.encode(0x81, DIGEST)), 0x6A80),
    (0x87, P256, 0x9E, tlv.encode(0x7C, b"\x82\x00" + tlv.encode(0x81, DIGEST) * 2), 0x6A80),
    (0x87, P256, 0x9E, tlv.encode(0x7C, b"\x82\x00" + tlv.encode(0x85, bytes(65))), 0x6A80),
    (0x87, P256, 0x9E, ASKS[:-1], 0x6A80),
]  # fmt: skip


@pytest.mark.parametrize(("ins", "p1", "p2", "data", "status"), REFUSALS)
def test_malformed_requests_get_the_status_of_the_standard(
    host: CardHost, ins: int, p1: int, p2: int, data: bytes, status: int
) -> None:
    host.generate(0x9E, P256)
    before = host.state.private_keys
    assert host.status(ins, p1, p2, data) == status
    assert host.state.private_keys == before


def test_rsa_takes_numbers_below_its_modulus_only(host: CardHost) -> None:
    modulus = host.generate(0x9E, RSA1024)[0x81]
    for data in (modulus, b"\xff" * 128, bytes(127), bytes(129)):
        assert host.use(0x9E, RSA1024, data).status == Status.WRONG_DATA
    assert host.used(0x9E, RSA1024, bytes(127) + b"\x01") == bytes(127) + b"\x01"


def test_nothing_is_made_without_the_management_key() -> None:
    host = CardHost()
    for ins in (piv.INS_GENERATE, piv.INS_IMPORT, piv.INS_MOVE_KEY, piv.INS_PUT_DATA):
        assert host.status(ins, 0, 0x9A, GENERATE) in (0x6982, 0x6A86)
    assert host.state.private_keys == {}


def test_a_standard_card_has_the_standard_s_slots_and_kinds() -> None:
    host = CardHost("standard")
    host.manage()
    assert host.status(piv.INS_GENERATE, 0, 0x82, GENERATE) == Status.WRONG_P1P2
    for algorithm in (RSA1024, ED25519, piv.ALGORITHM_RSA3072):
        data = tlv.encode(0xAC, tlv.encode(0x80, bytes((algorithm,))))
        assert host.status(piv.INS_GENERATE, 0, 0x9A, data) == Status.WRONG_DATA
    policies = bytes.fromhex("ac06800111aa0101")
    assert host.status(piv.INS_GENERATE, 0, 0x9A, policies) == Status.WRONG_DATA
    host.generate(0x9A, P256)
    for ins in (0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFD, 0xFE, 0xFF):
        assert host.status(ins, 0, 0x9A) == Status.INS_NOT_SUPPORTED


@given(st.binary(max_size=80))
@settings(max_examples=60)
def test_any_input_of_a_private_key_is_answered(data: bytes) -> None:
    host = CardHost()
    host.manage()
    host.generate(0x9E, P256)
    before = host.state
    for wrapped in (data, tlv.encode(0x7C, data), tlv.encode(0x7C, b"\x82\x00" + data)):
        assert host.status(0x87, P256, 0x9E, wrapped) in (0x9000, 0x6A80)
    for tag in (0x81, 0x85):
        assert host.use(0x9E, P256, data, tag).status in (0x9000, 0x6A80)
    assert host.state == before


def test_a_changed_pin_protects_a_key_that_was_there_before(host: CardHost) -> None:
    host.generate(0x9A, P256)
    new = b"777777\xff\xff"
    assert host.status(piv.INS_CHANGE_REFERENCE, 0, 0x80, PIN + new) == Status.OK
    host.select()
    host.verify(PIN)
    assert host.use(0x9A, P256, DIGEST).status == Status.SECURITY_NOT_SATISFIED
    host.verify(new)
    assert host.use(0x9A, P256, DIGEST).ok

"""The emulated card's management key, objects, makers' extensions, selection and classes, by tables."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm
from keypeg_bridge.emulator.piv import attestation
from keypeg_bridge.emulator.piv.session import Profile
from keypeg_bridge.emulator.state import from_json, new_key, to_json
from keypeg_bridge.emulator.touch import TouchPolicy
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Status
from tests.bridge.emulator.card_host import PIN, PUK, WRONG, CardHost

P256 = piv.ALGORITHM_P256
PRINTED, CHUID, CCC, SECURITY = 0x5FC109, 0x5FC102, 0x5FC107, 0x5FC106
CERTIFICATES = [0x5FC105, 0x5FC10A, 0x5FC10B, 0x5FC101, *range(0x5FC10D, 0x5FC121)]


@pytest.fixture
def host() -> CardHost:
    return CardHost()


def managed(profile: str = "token") -> CardHost:
    made = CardHost(profile)
    assert made.manage() == Status.OK
    return made


# The management key


@pytest.mark.parametrize("factory", [0x03, 0x08, 0x0A])
def test_a_card_leaves_its_factory_with_the_known_key_of_its_kind(factory: int) -> None:
    host = CardHost(Profile("odd", True, factory, 100, 1_000))
    told = {e.tag: e.value for e in tlv.parse(host.send(piv.INS_GET_METADATA, 0, 0x9B).data)}
    assert told == {1: bytes((factory,)), 2: b"\x00\x01", 5: b"\x01"}
    assert host.manage(bytes(32)) == Status.SECURITY_NOT_SATISFIED
    assert host.manage() == Status.OK


@pytest.mark.parametrize("algorithm", ManagementAlgorithm)
def test_a_management_key_of_every_kind_is_set_and_proved(algorithm: ManagementAlgorithm) -> None:
    host = managed()
    key = bytes(range(1, algorithm.key_bytes + 1))
    data = bytes((algorithm,)) + tlv.encode(0x9B, key)
    assert host.status(piv.INS_SET_MANAGEMENT_KEY, 0xFF, 0xFF, data) == Status.OK
    host.select()
    assert host.manage(bytes(32)) == Status.SECURITY_NOT_SATISFIED
    assert host.manage(key) == Status.OK
    told = {e.tag: e.value for e in tlv.parse(host.send(piv.INS_GET_METADATA, 0, 0x9B).data)}
    assert (told[1], told[5]) == (bytes((algorithm,)), b"\x00")


def test_triple_des_has_two_numbers() -> None:
    host = CardHost("standard")
    asked = bytes.fromhex("7c028100")
    assert [host.status(0x87, number, 0x9B, asked) for number in (0x00, 0x03, 0x0A)] == [
        0x9000, 0x9000, 0x6A86,
    ]  # fmt: skip


def test_a_management_key_may_want_a_touch() -> None:
    host = CardHost(touch=TouchPolicy.COMMAND)
    host.manage()
    data = b"\x0a" + tlv.encode(0x9B, DEFAULT_MANAGEMENT_KEY)
    assert host.status(piv.INS_SET_MANAGEMENT_KEY, 0xFF, 0xFE, data) == Status.OK
    host.select()
    assert host.manage() == Status.SECURITY_NOT_SATISFIED
    assert host.put(CHUID, b"x") == Status.SECURITY_NOT_SATISFIED
    host.finger.press()
    assert host.manage() == Status.OK
    assert host.put(CHUID, b"x") == Status.OK


@pytest.mark.parametrize("naming", [b"", b"\x82\x00"], ids=["plain", "naming the answer"])
def test_both_sides_prove_the_management_key(naming: bytes) -> None:
    host = CardHost("token")
    asked = host.send(0x87, 0x0A, 0x9B, bytes.fromhex("7c028000"))
    encrypted = tlv.find(tlv.unwrap(asked.data, 0x7C), 0x80) or b""
    cipher = Cipher(algorithms.AES(DEFAULT_MANAGEMENT_KEY), modes.ECB())
    witness = cipher.decryptor().update(encrypted)
    fields = tlv.encode(0x80, witness) + tlv.encode(0x81, bytes(range(16))) + naming
    answer = host.send(0x87, 0x0A, 0x9B, tlv.encode(0x7C, fields))
    proof = tlv.find(tlv.unwrap(answer.data, 0x7C), 0x82)
    assert proof == cipher.encryptor().update(bytes(range(16)))
    assert host.put(CHUID, b"x") == Status.OK


@pytest.mark.parametrize(
    ("p1", "data", "status"),
    [
        (0x0A, "", 0x6A80),
        (0x0A, "7c00", 0x6A80),
        (0x0A, "7c0481008200", 0x6A80),
        (0x0A, "7c03810100", 0x6A80),
        (0x0A, "7c028200", 0x6982),  # an answer, and no challenge
        (0x0A, "7c128210" + "00" * 16, 0x6982),
        (0x0A, "7c0480008100", 0x6A80),
        (0x0C, "7c028100", 0x6A86),
        (0x11, "7c028100", 0x6A86),
    ],
)
def test_other_requests_prove_nothing(host: CardHost, p1: int, data: str, status: int) -> None:
    assert host.status(0x87, p1, 0x9B, bytes.fromhex(data)) == status
    assert host.put(CHUID, b"x") == Status.SECURITY_NOT_SATISFIED


@pytest.mark.parametrize(
    ("p1", "p2", "data", "status"),
    [
        (0xFF, 0xFD, "0a9b18" + "11" * 24, 0x6A86),
        (0x00, 0xFF, "0a9b18" + "11" * 24, 0x6A86),
        (0xFF, 0xFF, "", 0x6A80),
        (0xFF, 0xFF, "0b9b18" + "11" * 24, 0x6A80),
        (0xFF, 0xFF, "0a9b10" + "11" * 16, 0x6A80),
        (0xFF, 0xFF, "0a9a18" + "11" * 24, 0x6A80),
        (0xFF, 0xFF, "0a9b18" + "11" * 25, 0x6A80),
    ],
)
def test_malformed_management_keys_are_refused(p1: int, p2: int, data: str, status: int) -> None:
    host = managed()
    assert host.status(piv.INS_SET_MANAGEMENT_KEY, p1, p2, bytes.fromhex(data)) == status
    assert host.state.management_key == DEFAULT_MANAGEMENT_KEY


# Objects


def test_every_standard_container_takes_an_object() -> None:
    host = managed("standard")
    host.verify()
    for tag in (
        *CERTIFICATES,
        PRINTED,
        CHUID,
        CCC,
        SECURITY,
        0x5FC103,
        0x5FC108,
        0x5FC10C,
        0x5FC121,
    ):
        assert host.put(tag, b"content") == Status.OK
        assert host.get(tag).data == tlv.encode(0x53, b"content")
        assert host.put(tag, b"") == Status.OK
        assert host.get(tag).status == Status.NOT_FOUND


def test_a_fresh_card_says_who_and_what_it_is(host: CardHost) -> None:
    chuid = piv.Chuid.decode(tlv.unwrap(host.get(CHUID).data, 0x53))
    assert chuid is not None
    assert chuid.guid == host.state.guid
    fields = [e.tag for e in tlv.parse(tlv.unwrap(host.get(CCC).data, 0x53))]
    assert fields == [0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE]
    discovery = tlv.unwrap(host.send(piv.INS_GET_DATA, 0x3F, 0xFF, b"\x5c\x01\x7e").data, 0x7E)
    assert tlv.find(discovery, 0x4F) == piv.AID
    assert tlv.find(discovery, 0x5F2F) == b"\x40\x00"


def test_what_is_private_is_read_with_the_pin() -> None:
    host = managed()
    assert host.put(PRINTED, b"a name") == Status.OK
    assert host.get(PRINTED).status == Status.SECURITY_NOT_SATISFIED
    host.verify()
    assert host.get(PRINTED).data == tlv.encode(0x53, b"a name")
    host.verify(WRONG)
    assert host.get(PRINTED).status == Status.SECURITY_NOT_SATISFIED


@pytest.mark.parametrize(
    ("ins", "p1", "p2", "data", "status"),
    [
        (0xCB, 0x3F, 0xFE, "5c035fc102", 0x6A86),
        (0xCB, 0x3F, 0xFF, "", 0x6A80),
        (0xCB, 0x3F, 0xFF, "5c00", 0x6A80),
        (0xCB, 0x3F, 0xFF, "5c045fc10200", 0x6A80),
        (0xCB, 0x3F, 0xFF, "5c035fc1025c035fc102", 0x6A80),
        (0xCB, 0x3F, 0xFF, "5d035fc102", 0x6A80),
        (0xCB, 0x3F, 0xFF, "5c035fc1", 0x6A80),
        (0xCB, 0x3F, 0xFF, "5c035fc1ff", 0x6A82),
        (0xCB, 0x3F, 0xFF, "5c027f61", 0x6A82),
        (0xDB, 0x00, 0xFF, "5c035fc10253015a", 0x6A86),
        (0xDB, 0x3F, 0xFF, "", 0x6A80),
        (0xDB, 0x3F, 0xFF, "5c035fc102", 0x6A80),
        (0xDB, 0x3F, 0xFF, "5c035fc10254015a", 0x6A80),
        (0xDB, 0x3F, 0xFF, "5c035fc10253015a5300", 0x6A80),
        (0xDB, 0x3F, 0xFF, "5c025fc153015a", 0x6A80),
        (0xDB, 0x3F, 0xFF, "5c035fc1fe53015a", 0x6A80),
        (0xDB, 0x3F, 0xFF, "5c03000000" + "53015a", 0x6A80),
        (0xDB, 0x3F, 0xFF, "7e00", 0x6A81),
        (0xDB, 0x3F, 0xFF, "7f6100", 0x6A81),
    ],
)
def test_malformed_requests_for_objects_are_refused(
    ins: int, p1: int, p2: int, data: str, status: int
) -> None:
    host = managed()
    before = host.state.objects
    assert host.status(ins, p1, p2, bytes.fromhex(data)) == status
    assert host.state.objects == before


def test_room_is_counted() -> None:
    host = CardHost(Profile("small", True, 0x03, 150, 250))
    host.manage()
    room = 250 - sum(len(content) for content in host.state.objects.values())
    assert host.put(0x5FC10D, bytes(151)) == Status.NO_SPACE
    assert host.put(0x5FC10D, bytes(room)) == Status.OK
    assert host.put(0x5FC10E, b"x") == Status.NO_SPACE
    assert host.put(0x5FC10D, b"x") == Status.OK
    assert host.put(0x5FC10E, b"x") == Status.OK


def test_tokens_have_room_for_what_their_makers_tools_keep() -> None:
    token, standard = managed(), managed("standard")
    assert token.put(0x5FFF00, b"settings") == Status.OK
    assert token.get(0x5FFF00).ok
    assert standard.put(0x5FFF00, b"settings") == Status.WRONG_DATA
    assert standard.get(piv.OBJECT_ATTESTATION).status == Status.NOT_FOUND


# The makers' extensions


def test_a_token_tells_its_version_serial_and_tries(host: CardHost) -> None:
    assert host.send(piv.INS_GET_VERSION).data == bytes((5, 7, 2))
    assert host.send(piv.INS_GET_SERIAL).data == host.serial.to_bytes(4, "big")
    host.verify(WRONG)
    host.status(piv.INS_CHANGE_REFERENCE, 0, 0x81, PUK + b"87654321")
    pin, puk = (
        {e.tag: e.value for e in tlv.parse(host.send(piv.INS_GET_METADATA, 0, reference).data)}
        for reference in (0x80, 0x81)
    )
    assert pin == {1: b"\xff", 5: b"\x01", 6: b"\x03\x02"}
    assert puk == {1: b"\xff", 5: b"\x00", 6: b"\x03\x03"}


@pytest.mark.parametrize(
    ("ins", "p1", "p2", "data", "status"),
    [
        (piv.INS_GET_METADATA, 0x01, 0x9A, b"", 0x6A86),
        (piv.INS_GET_METADATA, 0x00, 0x9A, b"", 0x6A88),
        (piv.INS_GET_METADATA, 0x00, 0x96, b"", 0x6A88),
        (piv.INS_GET_SERIAL, 0x01, 0x00, b"", 0x6A86),
        (piv.INS_GET_VERSION, 0x00, 0x01, b"", 0x6A86),
        (piv.INS_ATTEST, 0x9A, 0x00, b"", 0x6A88),
        (piv.INS_ATTEST, 0x9B, 0x00, b"", 0x6A86),
        (piv.INS_ATTEST, 0x9A, 0x01, b"", 0x6A86),
        (piv.INS_ATTEST, 0x9A, 0x00, b"x", 0x6700),
        (piv.INS_RESET, 0x00, 0x00, b"", 0x6985),
        (piv.INS_RESET, 0x00, 0x01, b"", 0x6A86),
        (piv.INS_RESET, 0x00, 0x00, b"x", 0x6700),
        (0x01, 0x00, 0x00, b"", 0x6D00),
    ],
)
def test_malformed_extensions_are_refused(
    host: CardHost, ins: int, p1: int, p2: int, data: bytes, status: int
) -> None:
    assert host.status(ins, p1, p2, data) == status


def test_a_made_key_is_vouched_for_by_a_chain_that_says_emulated() -> None:
    host = managed()
    host.generate(0x9C, P256, pin=piv.PIN_ALWAYS)
    own = x509.load_der_x509_certificate(host.send(piv.INS_ATTEST, 0x9C, 0).data)
    stored = tlv.unwrap(host.get(piv.OBJECT_ATTESTATION).data, 0x53)
    middle = x509.load_der_x509_certificate(tlv.find(stored, 0x70) or b"")
    root = x509.load_der_x509_certificate(attestation.root())
    own.verify_directly_issued_by(middle)
    middle.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    for one in (own, middle, root):
        assert "emulated" in one.subject.rfc4514_string()
    policies = x509.ObjectIdentifier("1.3.6.1.4.1.41482.3.8")
    value = own.extensions.get_extension_for_oid(policies).value
    assert isinstance(value, x509.UnrecognizedExtension)
    assert value.value == bytes((piv.PIN_ALWAYS, piv.POLICY_NEVER))
    assert middle == x509.load_der_x509_certificate(attestation.intermediate("a test"))


def test_another_attestation_key_may_be_put_in_and_survives_a_reset() -> None:
    host = managed()
    template = tlv.encode(6, bytes(range(1, 33)))
    assert host.status(piv.INS_IMPORT, P256, 0xF9, template) == Status.OK
    assert host.put(piv.OBJECT_ATTESTATION, piv.wrap_container(b"its certificate")) == Status.OK
    host.generate(0x9A, P256)
    block_all(host)
    assert host.status(piv.INS_RESET) == Status.OK
    assert set(host.state.private_keys) == {0xF9}
    assert b"its certificate" in host.get(piv.OBJECT_ATTESTATION).data


def block_all(host: CardHost) -> None:
    while host.state.pin.tries:
        host.verify(WRONG)
    while host.state.puk.tries:
        host.status(piv.INS_RESET_RETRY, 0, 0x80, WRONG + PIN)


def test_a_blocked_token_is_reset_to_what_it_was() -> None:
    host, fresh = managed(), CardHost()
    host.generate(0x9A, P256)
    host.put(0x5FC10D, b"a license")
    data = b"\x0c" + tlv.encode(0x9B, bytes(32))
    host.status(piv.INS_SET_MANAGEMENT_KEY, 0xFF, 0xFF, data)
    while host.state.pin.tries:
        host.verify(WRONG)
    assert host.status(piv.INS_RESET) == Status.CONDITIONS_NOT_SATISFIED
    block_all(host)
    assert host.status(piv.INS_RESET) == Status.OK
    assert host.state == fresh.state
    assert host.put(CHUID, b"x") == Status.SECURITY_NOT_SATISFIED
    assert host.verify() == Status.OK


# Selection and classes


@pytest.mark.parametrize("profile", ["token", "standard"])
def test_only_piv_s_own_name_selects_it(profile: str) -> None:
    host = CardHost(profile)
    least = 5 if profile == "token" else 9
    for length in range(12):
        status = host.select((piv.AID + b"\x00")[:length]).status
        assert status == (Status.OK if least <= length <= 11 else Status.NOT_FOUND), length
    assert host.select(piv.AID + b"\x00").status == Status.NOT_FOUND
    assert host.status(piv.INS_SELECT, 4, 1, piv.AID) == Status.WRONG_P1P2
    assert host.status(piv.INS_SELECT, 0, 0, b"\x3f\x00") == Status.WRONG_P1P2


def test_selecting_anew_ends_what_was_proved_on_tokens_and_not_by_the_standard() -> None:
    for profile, after in (("token", 0x63C3), ("standard", 0x9000)):
        host = CardHost(profile)
        host.verify()
        host.select(b"\xa0\x00\x00\x00\x01")  # nobody's: PIV stays
        assert host.status(piv.INS_VERIFY, 0, 0x80) == Status.OK
        host.select()
        assert host.status(piv.INS_VERIFY, 0, 0x80) == after
        host.card.power_on()
        assert host.status(piv.INS_VERIFY, 0, 0x80) == Status.CONDITIONS_NOT_SATISFIED


@pytest.mark.parametrize(
    ("cla", "status"),
    [
        (0x04, 0x6882),
        (0x0C, 0x6882),
        (0x01, 0x6881),
        (0x03, 0x6881),
        (0x80, 0x6E00),
        (0xC0, 0x6E00),
    ],
)
def test_other_classes_are_refused_by_what_they_ask_for(
    host: CardHost, cla: int, status: int
) -> None:
    assert host.status(piv.INS_GET_VERSION, cla=cla) == status


def test_a_chain_is_not_interrupted(host: CardHost) -> None:
    host.manage()
    begin = Command(0x10, piv.INS_PUT_DATA, 0x3F, 0xFF, bytes(255)).encode()
    for other in (
        Command(0, piv.INS_GET_VERSION, 0, 0, b"", 256),
        Command(0, 0xC0, 0, 0, b"", 256),
        Command(0, piv.INS_PUT_DATA, 0x3F, 0xFE, b"x"),
    ):
        assert host.card.transmit(begin) == b"\x90\x00"
        assert host.card.transmit(other.encode()) == b"\x68\x83"
        assert host.status(piv.INS_GET_VERSION) == Status.OK


@pytest.mark.parametrize(
    ("apdu", "answer"),
    [
        ("00c0000000", "6985"),  # nothing is waiting
        ("00c0000100", "6a86"),
        ("00c000000101", "6700"),
        ("00fd", "6700"),
        ("00fd0000ff", "6985"),  # nothing is selected
        ("00db3fff05aa", "6700"),
        ("00db3fff000000aa", "6700"),
        ("", "6700"),
    ],
)
def test_lengths_that_do_not_add_up(apdu: str, answer: str) -> None:
    host = CardHost()
    host.card.power_on()
    assert host.card.transmit(bytes.fromhex(apdu)).hex() == answer


def test_extended_and_short_commands_say_the_same() -> None:
    host = managed()
    content = bytes(range(250)) * 12
    data = piv.object_path(0x5FC10D) + tlv.encode(0x53, content)
    extended = Command(0, piv.INS_PUT_DATA, 0x3F, 0xFF, data).encode(extended=True)
    assert host.card.transmit(extended) == b"\x90\x00"
    assert tlv.unwrap(host.get(0x5FC10D).data, 0x53) == content
    path = piv.object_path(0x5FC10D)
    asked = Command(0, piv.INS_GET_DATA, 0x3F, 0xFF, path, 65_536).encode(extended=True)
    first = host.card.transmit(asked)
    assert (len(first), first[-2:]) == (2_050, b"\x61\x00")


# The file


def test_files_of_older_cards_are_read_with_their_defaults() -> None:
    host = managed()
    host.generate(0x9C, P256)
    made = new_key("a test", management_algorithm=0x0A)
    raw = json.loads(to_json(made))
    stored = host.state.private_keys[0x9C]
    raw["private_keys"] = {"9C": base64.b64encode(stored.pkcs8).decode()}
    raw["pin"] = {"value": PIN.hex(), "tries": 2}
    del raw["puk"], raw["management"]["touch"]
    read = from_json(json.dumps(raw)).piv
    assert read.private_keys[0x9C] == stored
    assert (read.pin.tries, read.pin.limit, read.puk.value) == (2, 3, PUK)


def test_everything_that_a_card_holds_survives_its_file() -> None:
    host = managed()
    for slot, algorithm in ((0x9A, 0xE0), (0x9D, 0xE1), (0x9E, P256), (0x82, 0x06), (0x83, 0x14)):
        host.generate(slot, algorithm, pin=3, touch=2)
    host.put(0x5FC10D, b"an object")
    host.verify(WRONG)
    made = new_key("a test", management_algorithm=0x0A)
    whole = replace(made, piv=host.state)
    assert from_json(to_json(whole)) == whole
    for secret in (repr(whole), repr(host.state), repr(host.state.private_keys[0x9A])):
        assert "123456" not in secret
        assert DEFAULT_MANAGEMENT_KEY.hex()[:16] not in secret


APDUS = st.builds(
    Command,
    st.sampled_from([0, 0x10]) | st.integers(0, 255),
    st.sampled_from([0x20, 0x24, 0x2C, 0x47, 0x87, 0xA4, 0xC0, 0xCB, 0xDB, *range(0xF6, 0x100)]),
    st.sampled_from([0, 4, 3, 0x0A, 0x11, 0x3F, 0x9A, 0xFF]) | st.integers(0, 255),
    st.sampled_from([0, 0x80, 0x81, 0x82, 0x9A, 0x9B, 0x9E, 0xF9, 0xFF]) | st.integers(0, 255),
    st.binary(max_size=40)
    | st.binary(max_size=30).map(lambda d: tlv.encode(0x7C, d))
    | st.binary(max_size=30).map(lambda d: tlv.encode(0xAC, b"\x80\x01\x11" + d))
    | st.binary(max_size=30).map(lambda d: piv.object_path(0x5FC10D) + tlv.encode(0x53, d)),
    st.none() | st.just(256),
)


@pytest.mark.behaviour("KEY-14")
@given(st.lists(APDUS, max_size=8), st.booleans(), st.sampled_from(["token", "standard"]))
def test_a_managed_card_answers_any_commands(
    commands: list[Command], is_managed: bool, profile: str
) -> None:
    host = managed(profile) if is_managed else CardHost(profile)
    for command in commands:
        answer = host.card.transmit(command.encode())
        assert len(answer) >= 2
        assert answer[-2] in (0x61, 0x63, 0x65, 0x67, 0x68, 0x69, 0x6A, 0x6D, 0x6E, 0x90)
    whole = replace(new_key("x", management_algorithm=3), piv=host.state, guid=host.state.guid)
    assert from_json(to_json(whole)) == whole

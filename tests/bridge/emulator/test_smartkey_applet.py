"""The smartkey applet by tables: every command that is not as docs/key-protocol.md says gets its status word, and changes nothing."""

from __future__ import annotations

import errno
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg.possession import Counted, check_possession
from keypeg.v1.document_pb2 import KEY_ALGORITHM_SMARTKEY_P256, PublicKey
from keypeg_bridge.emulator import smartkey_state
from keypeg_bridge.emulator.card import Card
from keypeg_bridge.emulator.smartkey_applet import SmartkeyApplet
from keypeg_bridge.emulator.smartkey_state import SLOT_BYTES, STORAGE, SmartkeyState
from keypeg_bridge.wire import piv, smartkey
from keypeg_bridge.wire.apdu import Command, Response
from keypeg_bridge.wire.conversation import CardChannel
from tests.bridge.cards import DirectKey

CHALLENGE = hashlib.sha256(b"a challenge").digest()
SELECT = b"\x00\xa4\x04\x00\x08\xf0keypeg\x01\x00"


class Host:
    """An applet, spoken to in APDUs written by hand."""

    def __init__(self, state: SmartkeyState | None = None, seed: str = "a test") -> None:
        self.saved: list[SmartkeyState] = []
        self.full = False
        self.applet = SmartkeyApplet(seed, state or smartkey_state.fresh(seed), self._save)
        self.channel = CardChannel(self.applet.handle)

    def _save(self, state: SmartkeyState) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.saved.append(state)

    def send(self, apdu: bytes | str) -> tuple[bytes, int]:
        raw = bytes.fromhex(apdu) if isinstance(apdu, str) else apdu
        answer = Response.decode(self.channel.transmit(raw))
        return answer.data, answer.status

    def ok(self, apdu: bytes | str) -> bytes:
        data, status = self.send(apdu)
        assert status == 0x9000, f"{status:04X}"
        return data

    def selected(self) -> Host:
        self.ok(SELECT)
        return self

    def authorized(self, key: bytes = DEFAULT_MANAGEMENT_KEY) -> Host:
        algorithm = ManagementAlgorithm(self.applet.state.management_algorithm)
        asked = self.ok("8030000000")
        self.ok(b"\x80\x32\x00\x00\x10" + respond(algorithm, key, asked))
        return self

    def enrolled(self) -> Host:
        self.ok("8040000000")
        return self

    def info(self) -> smartkey.Info:
        return smartkey.Info.decode(self.ok("8010000000"))

    def sign(self, challenge: bytes = CHALLENGE) -> smartkey.Proof:
        return smartkey.Proof.decode(self.ok(b"\x80\x42\x00\x00\x20" + challenge + b"\x00"))

    def write(self, slot: int, data: bytes) -> None:
        self.ok(bytes((0x80, 0x22, slot, 0, 2)) + len(data).to_bytes(2, "big"))
        for at in range(0, len(data), 253):
            piece = at.to_bytes(2, "big") + data[at : at + 253]
            self.ok(bytes((0x80, 0x22, slot, 1, len(piece))) + piece)


def fresh() -> Host:
    return Host().selected()


def owned() -> Host:
    return fresh().authorized().enrolled()


def number(proof: smartkey.Proof, key: bytes | None, challenge: bytes = CHALLENGE) -> int:
    named = PublicKey(algorithm=KEY_ALGORITHM_SMARTKEY_P256, key=key or b"")
    found = check_possession(named, challenge, proof.encode())
    assert isinstance(found, Counted)
    return found.counter


# What is refused

MALFORMED = [
    # Class, instruction, parameters
    ("another class", "0010000000", "6E00"),
    ("a secured class", "8410000000", "6E00"),
    ("another channel's class", "8110000000", "6E00"),
    ("SELECT of class 80", "80A4040008F06B65797065670100", "6D00"),
    ("an instruction that is none", "8011000000", "6D00"),
    ("an instruction of PIV", "80CB3FFF00", "6D00"),
    ("info with P1", "8010010000", "6A86"),
    ("info with P2", "8010000100", "6A86"),
    ("a challenge with P2", "8030000100", "6A86"),
    ("an answer with P1", "8032010010" + "00" * 16, "6A86"),
    ("a key of triple DES", "8034030018" + "11" * 24, "6A86"),
    ("a key of algorithm 0", "8034000010" + "11" * 16, "6A86"),
    ("a key with P2", "80340C0120" + "11" * 32, "6A86"),
    ("generate with P1", "8040010000", "6A86"),
    ("sign with P1", "8042010020" + "00" * 32 + "00", "6A86"),
    ("sign with P2", "8042000120" + "00" * 32 + "00", "6A86"),
    ("read of slot 20", "802014000300000000", "6A86"),
    ("read of slot 255", "8020FF000300000000", "6A86"),
    ("read with P2", "802001010300000000", "6A86"),
    ("write to slot 20", "80221400020001", "6A86"),
    ("write with P2 02", "80220102020001", "6A86"),
    # Lengths
    ("info with data", "801000000100", "6700"),
    ("a challenge with data", "803000000100", "6700"),
    ("an answer of 15 bytes", "803200000F" + "00" * 15, "6700"),
    ("an answer of nothing", "80320000", "6700"),
    ("a key of AES-256 with 24 bytes", "80340C0018" + "11" * 24, "6700"),
    ("a key of no bytes", "80340C00", "6700"),
    ("generate with data", "804000000100", "6700"),
    ("sign 31 bytes", "804200001F" + "00" * 31 + "00", "6700"),
    ("sign 33 bytes", "8042000021" + "00" * 33 + "00", "6700"),
    ("sign nothing", "8042000000", "6700"),
    ("read without an offset", "8020000000", "6700"),
    ("read with two bytes", "80200000020000", "6700"),
    ("read with four bytes", "80200000040000000000", "6700"),
    ("begin a write with one byte", "802201000100", "6700"),
    ("begin a write with three bytes", "8022010003000001", "6700"),
    ("a piece without data", "80220101020000", "6700"),
    ("a piece of 254 bytes", "8022010100" + "0100" + "00" * 256, "6700"),
    ("Lc that lies", "80420000201234", "6700"),
    ("no APDU", "8010", "6700"),
    # States
    ("read behind the end", "802001000300010000", "6B00"),
    ("an answer without a challenge", "8032000010" + "00" * 16, "6985"),
]


@pytest.mark.parametrize(("what", "apdu", "status"), MALFORMED, ids=[m[0] for m in MALFORMED])
def test_every_malformed_command_gets_its_status_word(what: str, apdu: str, status: str) -> None:
    for host in (fresh(), owned()):
        before, saved = host.applet.state, len(host.saved)
        data, found = host.send(apdu)
        assert (data, f"{found:04X}") == (b"", status)
        assert host.applet.state == before
        assert len(host.saved) == saved
        assert host.info().card_id == before.card_id  # and it goes on


ALLOWED_ONLY = [
    ("begin a write", "80220100020001"),
    ("empty a slot", "80220100020000"),
    ("a piece", "802201010300006100"),
    ("set the management key", "80340C0020" + "11" * 32),
    ("generate", "8040000000"),
]


@pytest.mark.parametrize(("what", "apdu"), ALLOWED_ONLY, ids=[a[0] for a in ALLOWED_ONLY])
def test_every_change_needs_authorization(what: str, apdu: str) -> None:
    host = fresh()
    assert host.send(apdu) == (b"", 0x6982)
    host.authorized()
    assert host.send(apdu)[1] != 0x6982
    host.ok(SELECT)
    assert host.send(apdu) == (b"", 0x6982)


@pytest.mark.parametrize(
    "name",
    ["", "F0", "F06B6579706567", "F06B65797065670100", "F06B657970656702", "A000000308"],
)
def test_only_its_whole_name_selects_it(name: str) -> None:
    raw = bytes.fromhex(name)
    select = bytes((0, 0xA4, 4, 0, len(raw))) + raw if raw else bytes.fromhex("00A4040000")
    host = Host()
    assert host.send(select) == (b"", 0x6A82)
    assert not host.applet.answers_to(raw)
    assert host.send("8010000000") == (b"", 0x6985)


@pytest.mark.parametrize(
    "apdu", ["00A40400", "00A4000008F06B657970656701", "00A4040C08F06B657970656701"]
)
def test_other_selections_are_refused(apdu: str) -> None:
    assert Host().send(apdu)[1] in (0x6A82, 0x6A86)


def test_without_selection_nothing_is_done() -> None:
    host = Host()
    assert host.send("8010000000") == (b"", 0x6985)
    host.selected()
    host.applet.deselect()
    assert host.send("8010000000") == (b"", 0x6985)
    host.selected()
    host.applet.power_off()
    assert host.send("8010000000") == (b"", 0x6985)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.builds(
    lambda ins, p1, p2, data: bytes((0x80, ins, p1, p2, len(data))) + data if data else bytes((0x80, ins, p1, p2)),
    st.sampled_from([0x10, 0x20, 0x22, 0x30, 0x32, 0x34, 0x40, 0x42]),
    st.integers(0, 21), st.integers(0, 2), st.binary(max_size=34),
), max_size=12))  # fmt: skip
def test_any_bytes_get_an_answer_and_no_change_without_authorization(apdus: list[bytes]) -> None:
    host = fresh()
    host.applet.state = before = host.applet.state.with_new_key()
    signed = 0
    for apdu in apdus:
        data, status = host.send(apdu)
        assert 0x6000 <= status <= 0x9000
        signed += bool(data) and apdu[:2] == b"\x80\x42"
    changed = host.applet.state
    assert (changed.slots, changed.keys_made, changed.management_key) == (
        before.slots, before.keys_made, before.management_key
    )  # fmt: skip
    assert changed.counter == signed


# What it does


def test_a_fresh_applet_says_what_it_is() -> None:
    host = fresh()
    card_id = smartkey_state.fresh("a test").card_id
    assert host.info() == smartkey.Info(0x0A, True, 20, SLOT_BYTES, STORAGE, card_id, 0)
    label = smartkey.Selected.decode(host.ok(SELECT)).label
    assert label == smartkey.EMULATED_LABEL
    assert host.send(b"\x80\x42\x00\x00\x20" + CHALLENGE) == (b"", 0x6A88)
    assert host.saved == []


def test_the_same_seed_makes_the_same_card_and_keys() -> None:
    one, same, other = owned(), owned(), Host(seed="another").selected().authorized().enrolled()
    assert one.info() == same.info()
    assert one.info().public_key != other.info().public_key
    assert one.info().card_id != other.info().card_id
    assert one.enrolled().info().public_key != same.info().public_key
    assert one.info().public_key == same.enrolled().info().public_key


@pytest.mark.behaviour("KEY-7")
def test_every_signature_has_the_next_number_which_is_kept_before_it_is_told() -> None:
    host = owned()
    key = host.info().public_key
    for expected in range(1, 5):
        seen = len(host.saved)
        assert number(host.sign(), key) == expected
        assert [state.counter for state in host.saved[seen:]] == [expected]
    host.ok(SELECT)
    host.applet.power_off()
    assert number(host.selected().sign(), key) == 5
    assert host.info().counter == 5


def test_a_new_identity_key_goes_on_counting() -> None:
    host = owned()
    host.sign()
    host.sign()
    old = host.info().public_key
    host.enrolled()
    assert host.info().public_key not in (None, old)
    assert number(host.sign(), host.info().public_key) == 3


def test_what_cannot_be_kept_is_not_done() -> None:
    host = owned()
    host.write(1, b"stays")
    before = host.applet.state
    host.full = True
    for apdu in (
        b"\x80\x42\x00\x00\x20" + CHALLENGE,
        bytes.fromhex("8040000000"),
        bytes.fromhex("80340C0020" + "11" * 32),
        bytes.fromhex("80220100020000"),
    ):
        assert host.send(apdu) == (b"", 0x6581)
    host.ok("80220100020001")
    assert host.send("8022010103000061") == (b"", 0x6581)
    assert host.applet.state == before
    host.full = False
    assert number(host.sign(), host.info().public_key) == 1


def test_a_counter_at_its_end_signs_nothing() -> None:
    host = owned()
    key = host.info().public_key
    state = host.applet.state
    host.applet.state = SmartkeyState(state.card_id, 2**64 - 2, state.keys_made)
    assert number(host.sign(), key) == 2**64 - 1
    assert host.send(b"\x80\x42\x00\x00\x20" + CHALLENGE) == (b"", 0x6581)
    assert host.info().counter == 2**64 - 1


def test_slots_are_read_in_pieces() -> None:
    host = fresh().authorized()
    data = bytes(i % 251 for i in range(600))
    host.write(3, data)
    got = [host.ok(f"80200300 03 {at:04X} {n:02X} 00") for at, n in
           ((0, 0), (256, 0), (512, 0), (600, 0), (599, 0), (10, 5))]  # fmt: skip
    assert got == [data[:256], data[256:512], data[512:], b"", data[599:], data[10:15]]
    assert host.send("8020030003025900") == (b"", 0x6B00)
    assert host.info().room == STORAGE - 600


def test_a_write_is_there_whole_or_not_at_all() -> None:
    host = fresh().authorized()
    host.write(1, b"old")
    host.ok("80220100020004")
    host.ok("8022010105" + "0000" + "6E6577")
    assert host.applet.state.slots == {1: b"old"}
    host.applet.power_off()
    host.selected().authorized()
    assert host.send("8022010103" + "0003" + "21") == (b"", 0x6985)
    assert host.applet.state.slots == {1: b"old"}
    host.write(1, b"new!")
    host.write(2, b"")
    assert host.applet.state.slots == {1: b"new!"}
    host.write(1, b"")
    assert host.applet.state.slots == {}


STRAY = [
    ("another slot", "8022020103" + "0003" + "21", 0x6985, True),
    ("a gap", "8022010103" + "0004" + "21", 0x6A80, False),
    ("a repetition", "8022010103" + "0002" + "21", 0x6A80, False),
    ("too much", "8022010104" + "0003" + "2121", 0x6A80, False),
]


@pytest.mark.parametrize(("what", "apdu", "status", "goes_on"), STRAY, ids=[s[0] for s in STRAY])
def test_a_piece_that_does_not_follow_ends_the_write(
    what: str, apdu: str, status: int, goes_on: bool
) -> None:
    host = fresh().authorized()
    host.ok("80220100020004")
    host.ok("8022010105" + "0000" + "6E6577")
    assert host.send(apdu) == (b"", status)
    assert host.send("8022010103" + "0003" + "21")[1] == (0x9000 if goes_on else 0x6985)


def test_what_does_not_fit_is_refused_at_its_beginning() -> None:
    host = fresh().authorized()
    host.write(1, b"stays")
    for size in (SLOT_BYTES + 1, 0xFFFF):
        assert host.send(f"8022010002{size:04X}") == (b"", 0x6A84)
    for slot in range(2, 17):
        host.write(slot, bytes([slot]) * SLOT_BYTES)
    left = host.info().room
    assert 0 < left < SLOT_BYTES
    assert host.send(f"8022110002{left + 1:04X}") == (b"", 0x6A84)
    host.write(17, bytes(range(1, 2)) * left)
    assert host.info().room == 0
    host.write(2, b"x" * SLOT_BYTES)  # what it replaces makes room
    assert host.applet.state.slots[1] == b"stays"


def test_an_answer_serves_once_and_a_wrong_one_takes_the_authorization() -> None:
    host = fresh()
    asked = host.ok("8030000000")
    answer = b"\x80\x32\x00\x00\x10" + respond(
        ManagementAlgorithm.AES_192, DEFAULT_MANAGEMENT_KEY, asked
    )
    host.ok(answer)
    host.enrolled()
    assert host.send(answer) == (b"", 0x6985)
    assert host.send("8040000000") == (b"", 0x6982)
    host.authorized()
    host.ok("8030000000")
    assert host.send("8032000010" + "00" * 16) == (b"", 0x6982)
    assert host.send("8040000000") == (b"", 0x6982)
    assert host.send(answer) == (b"", 0x6985)


def test_proofs_reads_and_questions_leave_an_authorization_as_it_is() -> None:
    host = owned()
    asked = host.ok("8030000000")
    host.sign()
    host.info()
    host.ok("802000000300000000")
    host.ok("80220100020001")
    host.sign()
    host.ok("8022010103000061")
    answer = respond(ManagementAlgorithm.AES_192, DEFAULT_MANAGEMENT_KEY, asked)
    host.ok(b"\x80\x32\x00\x00\x10" + answer)
    host.enrolled()


@pytest.mark.parametrize("algorithm", [0x08, 0x0A, 0x0C])
def test_every_aes_key_may_be_the_management_key(algorithm: int) -> None:
    host = fresh().authorized()
    size = smartkey.MANAGEMENT_SIZES[algorithm][0]
    key = bytes(range(100, 100 + size))
    host.ok(bytes((0x80, 0x34, algorithm, 0, size)) + key)
    host.enrolled()  # still allowed
    host.ok(SELECT)
    assert (host.info().management_algorithm, host.info().management_is_default) == (
        algorithm,
        False,
    )
    host.authorized(key).enrolled()


def test_beside_piv_each_applet_is_spoken_to_alone_and_forgets_when_the_other_is_selected() -> None:
    host = Host()
    card = Card(DirectKey().applet, host.applet)
    card.power_on()

    def send(apdu: bytes | str) -> int:
        raw = bytes.fromhex(apdu) if isinstance(apdu, str) else apdu
        return Response.decode(card.transmit(raw)).status

    select_piv = bytes((0, 0xA4, 4, 0, len(piv.AID))) + piv.AID + b"\0"
    assert send("8010000000") == 0x6985
    assert send(SELECT) == 0x9000
    assert send("80220100020001") == 0x6982
    asked = Response.decode(card.transmit(bytes.fromhex("8030000000"))).data
    answer = respond(ManagementAlgorithm.AES_192, DEFAULT_MANAGEMENT_KEY, asked)
    assert send(b"\x80\x32\x00\x00\x10" + answer) == 0x9000
    assert send("00A4040005A0000000FF00") == 0x6A82  # nobody's: nothing changes
    assert send("80220100020001") == 0x9000
    assert send(select_piv) == 0x9000
    assert send("8010000000") in (0x6D00, 0x6E00)
    assert send(SELECT) == 0x9000
    assert send("80220100020001") == 0x6982
    assert send("00CB3FFF055C035FC10200") == 0x6E00  # PIV's GET DATA


def test_contents_are_read_back_from_json() -> None:
    host = owned()
    host.write(0, b"index")
    host.write(19, bytes(range(256)))
    host.sign()
    state = host.applet.state
    assert smartkey_state.from_json(smartkey_state.to_json(state)) == state
    assert "management_key" not in repr(state)


BROKEN = [
    {"card_id": "00"},
    {"counter": -1},
    {"counter": 2**64},
    {"keys_made": -1},
    {"management": {"algorithm": 3, "key": "11" * 24}},
    {"management": {"algorithm": 0x0C, "key": "11" * 24}},
    {"slots": {"20": "YQ=="}},
    {"slots": {"1": ""}},
    {"slots": {"1": "?"}},
    {"slots": ["YQ=="]},
]


@pytest.mark.parametrize("change", BROKEN, ids=str)
def test_contents_that_are_none_are_refused(change: dict[str, object]) -> None:
    raw = smartkey_state.to_json(smartkey_state.fresh("a test"))
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        smartkey_state.from_json({**raw, **change})


def test_answers_fit_a_short_apdu() -> None:
    host = owned()
    host.write(1, bytes(SLOT_BYTES - 1) + b"\1")
    for apdu in ("8010000000", "802001000300000000", "8030000000"):
        assert len(host.ok(apdu)) <= 256
    assert Command.decode(bytes.fromhex("8010000000")).ne == 256

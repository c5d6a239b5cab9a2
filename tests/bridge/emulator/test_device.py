"""The emulated key without its process: transfers, the reader, the card's rules, and its file."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.card import ATR
from keypeg_bridge.emulator.ccid_reader import CcidReader
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.state import StateFile, from_json, new_key, to_json
from keypeg_bridge.emulator.usb_device import UsbKey
from keypeg_bridge.wire import ccid, piv, tlv, usb, usbip
from keypeg_bridge.wire.apdu import Command, Response
from tests.bridge.cards import DirectKey

POWER_ON = ccid.Command(ccid.Kind.ICC_POWER_ON, 0, 0).encode()
SELECT = Command(0, piv.INS_SELECT, 4, 0, piv.AID, 256).encode()


class Host:
    """Numbers transfers and keeps the answers."""

    def __init__(self, key: DirectKey) -> None:
        self.usb_key = UsbKey(CcidReader(key.card), "1")
        self.attachment = Attachment(self.usb_key)
        self._sequence = 0
        self.control(usb.Setup(0, usb.SET_CONFIGURATION, 1, 0, 0))

    def submit(
        self, endpoint: int, direction: int, length: int, data: bytes = b"", setup: bytes = bytes(8)
    ) -> list[usbip.Returned | usbip.Unlinked]:
        self._sequence += 1
        return self.attachment.handle(
            usbip.Submit(self._sequence, 1, direction, endpoint, length, setup, data)
        )

    def control(self, setup: usb.Setup) -> list[usbip.Returned | usbip.Unlinked]:
        return self.submit(0, int(setup.is_in), setup.length, setup=setup.encode())

    def write(self, data: bytes) -> list[usbip.Returned | usbip.Unlinked]:
        return self.submit(2, usbip.DIRECTION_OUT, len(data), data)

    def read(self, room: int = 4_096) -> list[usbip.Returned | usbip.Unlinked]:
        return self.submit(2, usbip.DIRECTION_IN, room)


def block(apdu: bytes, sequence: int = 1) -> bytes:
    return ccid.Command(ccid.Kind.XFR_BLOCK, 0, sequence, apdu).encode()


def only(answers: list[usbip.Returned | usbip.Unlinked]) -> usbip.Returned:
    (answer,) = answers
    assert isinstance(answer, usbip.Returned)
    return answer


def test_a_read_waits_for_the_answer_to_a_later_write() -> None:
    host = Host(DirectKey())
    assert host.read() == []
    written, answered = host.write(POWER_ON)
    assert isinstance(written, usbip.Returned)
    assert (written.status, written.length, written.data) == (0, 10, b"")
    assert isinstance(answered, usbip.Returned)
    assert ccid.Reply.decode(answered.data).data == ATR


def test_commands_and_answers_may_be_cut_into_packets() -> None:
    host = Host(DirectKey())
    host.write(POWER_ON)
    host.read()
    message = block(SELECT)
    for at in range(0, len(message), 8):
        host.write(message[at : at + 8])
    first, second = only(host.read(32)).data, only(host.read(32)).data
    assert Response.decode(ccid.Reply.decode(first + second).data).ok


def test_an_answer_of_whole_packets_is_followed_by_an_empty_one() -> None:
    key = DirectKey()
    host = Host(key)
    host.write(POWER_ON)
    host.read()
    label = key.card.transmit
    key.card.transmit = lambda apdu: b"x" * 52 + b"\x90\x00"  # type: ignore[method-assign]
    host.write(block(SELECT))
    key.card.transmit = label  # type: ignore[method-assign]
    assert len(only(host.read(64)).data) == 64
    assert only(host.read(64)).data == b""
    assert host.read(64) == []


def test_an_error_inside_the_key_stalls_that_transfer_only() -> None:
    key = DirectKey()
    host = Host(key)
    host.write(POWER_ON)
    host.read()
    whole = key.card.transmit

    def broken(apdu: bytes) -> bytes:
        raise ZeroDivisionError

    key.card.transmit = broken  # type: ignore[method-assign]
    assert only(host.write(block(SELECT))).status == -errno.EPIPE
    key.card.transmit = whole  # type: ignore[method-assign]
    for endpoint in (0x02, 0x82):
        host.control(usb.Setup(2, usb.CLEAR_FEATURE, 0, endpoint, 0))
    assert only(host.write(block(SELECT, 2))).status == 0
    assert Response.decode(ccid.Reply.decode(only(host.read()).data).data).ok


def test_a_transfer_is_taken_back_once() -> None:
    host = Host(DirectKey())
    assert host.read() == []
    waiting = 2  # the second transfer of this host
    assert host.attachment.handle(usbip.Unlink(90, 1, waiting)) == [
        usbip.Unlinked(90, -errno.ECONNRESET)
    ]
    assert host.attachment.handle(usbip.Unlink(91, 1, waiting)) == [usbip.Unlinked(91, 0)]


def test_transfers_before_configuration_stall() -> None:
    host = Host(DirectKey())
    host.control(usb.Setup(0, usb.SET_CONFIGURATION, 0, 0, 0))
    assert only(host.write(POWER_ON)).status == -errno.EPIPE
    assert only(host.read()).status == -errno.EPIPE


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (ccid.Command(ccid.Kind.XFR_BLOCK, 0, 1, SELECT), ccid.Error.MUTE),
        (ccid.Command(ccid.Kind.XFR_BLOCK, 1, 1, SELECT), ccid.Error.BAD_SLOT),
        (ccid.Command(ccid.Kind.ESCAPE, 0, 1), ccid.Error.NOT_SUPPORTED),
        (ccid.Command(0x99, 0, 1), ccid.Error.NOT_SUPPORTED),
    ],
    ids=["no power", "slot", "escape", "unknown"],
)
def test_the_reader_refuses_by_number(command: ccid.Command, error: ccid.Error) -> None:
    reply = CcidReader(DirectKey().card).answer(command)
    assert (reply.outcome, reply.error) == (ccid.Outcome.FAILED, error)
    assert reply.sequence == command.sequence


def test_the_reader_answers_what_it_knows() -> None:
    reader = CcidReader(DirectKey().card)
    for kind in (ccid.Kind.GET_SLOT_STATUS, ccid.Kind.GET_PARAMETERS, ccid.Kind.RESET_PARAMETERS):
        reply = reader.answer(ccid.Command(kind, 0, 5))
        assert reply.outcome is ccid.Outcome.DONE
        assert reply.kind == ccid.REPLY_KINDS[kind]


@pytest.mark.behaviour("KEY-14")
@given(st.lists(st.binary(max_size=120), max_size=8))
def test_a_reader_takes_any_bytes(pieces: list[bytes]) -> None:
    host = Host(DirectKey())
    for piece in pieces:
        host.write(piece)
        host.read()


APDUS = st.builds(
    Command,
    st.just(0) | st.integers(0, 255),
    st.sampled_from([0x20, 0x47, 0x87, 0xA4, 0xCB, 0xDB, 0xF7, 0xF8, 0xFF]) | st.integers(0, 255),
    st.sampled_from([0, 4, 0x0A, 0x3F, 0xFF]),
    st.sampled_from([0, 0x80, 0x9B, 0x9E, 0xFF]),
    st.binary(max_size=40)
    | st.binary(max_size=30).map(lambda d: tlv.encode(piv.TAG_DYNAMIC, d))
    | st.binary(max_size=30).map(lambda d: piv.object_path(0x5FC10D) + tlv.encode(0x53, d)),
    st.none() | st.just(256),
)


@pytest.mark.behaviour("KEY-14")
@given(st.lists(APDUS, max_size=6))
def test_an_applet_answers_any_command_with_a_status(commands: list[Command]) -> None:
    key = DirectKey()
    key.card.power_on()
    key.card.transmit(SELECT)
    before = key.applet.state
    for command in commands:
        Response.decode(key.card.transmit(command.encode()))
    # Without authorization nothing but the PIN's tries can have changed.
    assert key.applet.state.objects == before.objects
    assert key.applet.state.private_keys == before.private_keys
    assert key.applet.state.management_key == before.management_key


def transmit(key: DirectKey, ins: int, p1: int, p2: int, data: bytes = b"") -> Response:
    return Response.decode(key.card.transmit(Command(0, ins, p1, p2, data, 256).encode()))


def selected() -> DirectKey:
    key = DirectKey()
    key.card.power_on()
    key.card.transmit(SELECT)
    return key


def test_the_pin_is_counted_and_blocks() -> None:
    key = selected()
    right, wrong = b"123456\xff\xff", b"000000\xff\xff"
    assert transmit(key, piv.INS_VERIFY, 0, 0x80).status == 0x63C3
    assert transmit(key, piv.INS_VERIFY, 0, 0x80, wrong).status == 0x63C2
    assert transmit(key, piv.INS_VERIFY, 0, 0x80, right).status == 0x9000
    assert transmit(key, piv.INS_VERIFY, 0, 0x80).status == 0x9000
    for expected in (0x63C2, 0x63C1, 0x6983):
        assert transmit(key, piv.INS_VERIFY, 0, 0x80, wrong).status == expected
    assert transmit(key, piv.INS_VERIFY, 0, 0x80, right).status == 0x6983
    assert key.saved[-1].pin.tries == 0


def test_mutual_authentication_proves_both_sides() -> None:
    key = selected()
    algorithm = ManagementAlgorithm.AES_192
    asked = transmit(key, 0x87, algorithm, 0x9B, bytes.fromhex("7c028000"))
    encrypted = tlv.find(tlv.unwrap(asked.data, 0x7C), 0x80)
    decryptor = Cipher(algorithms.AES(DEFAULT_MANAGEMENT_KEY), modes.ECB()).decryptor()
    witness = decryptor.update(encrypted or b"") + decryptor.finalize()
    challenge = bytes(range(16))
    fields = tlv.encode(0x80, witness) + tlv.encode(0x81, challenge)
    answer = transmit(key, 0x87, algorithm, 0x9B, tlv.encode(0x7C, fields))
    assert answer.ok
    proof = tlv.find(tlv.unwrap(answer.data, 0x7C), 0x82)
    assert proof == respond(algorithm, DEFAULT_MANAGEMENT_KEY, challenge)
    put = piv.object_path(piv.container(1)) + tlv.encode(0x53, b"x")
    assert transmit(key, piv.INS_PUT_DATA, 0x3F, 0xFF, put).ok


def test_other_applications_are_not_found() -> None:
    key = DirectKey()
    key.card.power_on()
    assert transmit(key, piv.INS_SELECT, 4, 0, bytes.fromhex("a0000006472f0001")).status == 0x6A82
    assert transmit(key, piv.INS_GET_DATA, 0x3F, 0xFF, b"\x5c\x01\x7e").status == 0x6985


def test_a_failed_save_is_a_refusal_and_changes_nothing() -> None:
    key = selected()

    def fail(state: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    key.applet.session.save = fail
    key.applet.session.managed = True
    put = piv.object_path(piv.container(1)) + tlv.encode(0x53, b"x")
    assert transmit(key, piv.INS_PUT_DATA, 0x3F, 0xFF, put).status == 0x6581
    assert piv.container(1) not in key.applet.state.objects


@given(st.dictionaries(st.integers(0x5FC101, 0x5FC123), st.binary(min_size=1, max_size=99)))
def test_state_survives_its_file(objects: dict[int, bytes]) -> None:
    state = new_key("x", management_algorithm=0x0A)
    for tag, content in objects.items():
        state = replace(state, piv=state.piv.with_object(tag, content))
    assert from_json(to_json(state)) == state


@given(st.text(max_size=200) | st.just('{"format": 1}') | st.just("[]") | st.just("null"))
def test_any_text_is_a_state_or_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any text, so any sentence
        from_json(text)


def test_a_half_written_file_never_replaces_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    file = StateFile(path)
    state = new_key("x", management_algorithm=0x0A)
    file.save(state)
    path.with_name("key.json.new").write_text('{"format"')  # what a crash leaves
    assert file.load() == state
    later = replace(state, piv=state.piv.with_object(0x5FC10D, b"y"))
    file.save(later)
    assert file.load() == later
    with pytest.raises(EmulatorError, match="in use"):
        StateFile(path)
    file.close()

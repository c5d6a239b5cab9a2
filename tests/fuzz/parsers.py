"""Each parser of foreign bytes of the bridge and the emulated key, as a function of bytes.

Promises: what one does for an input is bounded by the input's length.
"""

from __future__ import annotations

import contextlib
from typing import Final

from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.emulated_key import EmulatedKey, Make
from keypeg_bridge.emulator.fido.authenticator import Authenticator
from keypeg_bridge.emulator.state import KeyState, new_key
from keypeg_bridge.emulator.usbip_bus import Bus
from keypeg_bridge.keys.errors import KeyDriverError
from keypeg_bridge.keys.fido2_commands import Fido2Key
from keypeg_bridge.wire import (
    apdu,
    cbor,
    ccid,
    ctaphid,
    ctaphid_host,
    hid,
    piv,
    smartkey,
    tlv,
    usb,
    usbip,
)
from keypeg_bridge.wire.ccid_host import HostSlot
from keypeg_bridge.wire.conversation import converse
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ClientDecoder, ServerDecoder
from keypeg_bridge.wire.vpcd import CardDecoder
from tests.bridge.one_answer import Link
from tests.fuzz.messages import CONFIGURE, GET_INFO, INIT, OPENED, pieces


class _Memory:
    """A key's file that is none."""

    def save(self, state: KeyState) -> None:
        """Nothing to do: the key lives as long as one input."""

    def close(self) -> None:
        """Nothing to do."""


_STATE: Final = new_key("fuzz", management_algorithm=0x0A)


class Clock:
    """Stands still unless it is told otherwise."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def whole_key() -> EmulatedKey:
    """A fresh emulated key, plugged in."""
    key = EmulatedKey("key", _STATE, _Memory(), Make(), Bus(), Clock())  # type: ignore[arg-type]
    key.port.plug()
    return key


def usbip_requests(data: bytes) -> None:
    decoder = ServerDecoder()
    decoder.feed(data)
    while decoder.next() is not None:
        pass


def usbip_answers(data: bytes) -> None:
    decoder = ClientDecoder()
    decoder.expect(usbip.Submit(1, 0, usbip.DIRECTION_IN, 2, 64))
    decoder.feed(data)
    while decoder.next() is not None:
        pass


def emulated_device(data: bytes) -> None:
    """Everything that a host can do to a plugged-in key."""
    key = whole_key()
    attachment = Attachment(key.port.key)
    decoder = ServerDecoder(True)
    decoder.feed(CONFIGURE.encode() + data)
    while (message := decoder.next()) is not None:
        if isinstance(message, usbip.Submit | usbip.Unlink):
            for answer in attachment.handle(message):
                answer.encode()
    attachment.poll()


def reader_commands(data: bytes) -> None:
    reader = whole_key().port.key._reader
    for piece in pieces(data):
        reader.receive(piece)
        reader.poll()


def reader_answers(data: bytes) -> None:
    slot = HostSlot()
    slot.request(ccid.Kind.XFR_BLOCK, b"\x00")
    for message in ccid.MessageBuffer().feed(data):
        slot.receive(message)
        slot.request(ccid.Kind.XFR_BLOCK, b"\x00")


def card_commands(data: bytes) -> None:
    card = whole_key().card
    card.power_on()
    for piece in pieces(data):
        apdu.Response.decode(card.transmit(piece))


def card_answers(data: bytes) -> None:
    talk = converse(apdu.Command(0, 0xCB, 0x3F, 0xFF, bytes(300), 256), max_response=4_096)
    next(talk)
    with contextlib.suppress(StopIteration):
        for piece in pieces(data):
            talk.send(piece)


def security_key_reports(data: bytes) -> None:
    key = whole_key().fido
    for report in INIT:
        key.receive(report)
    for at in range(0, len(data), 64):
        key.receive(data[at : at + 64].ljust(64, b"\x00"))
        while key.take() is not None:
            pass
    key.poll()


def security_key_answers(data: bytes) -> None:
    link = ctaphid_host.HostLink()
    link.open(bytes(8))
    for report in OPENED:
        link.receive(report)
    link.request(ctaphid.Command.CBOR, GET_INFO)
    for at in range(0, len(data), 64):
        link.receive(data[at : at + 64].ljust(64, b"\x00"))


def authenticator_requests(data: bytes) -> None:
    authenticator = Authenticator(whole_key().fido.core)
    for piece in pieces(data):
        steps = authenticator.start(piece)
        with contextlib.suppress(StopIteration):
            next(steps)
            while True:
                steps.send(True)


def authenticator_answers(data: bytes) -> None:
    key = Fido2Key(Link(data or b"\x00"))  # type: ignore[arg-type]
    for ask in (
        key.info,
        lambda: key.make_credential(bytes(16), bytes(32)),
        lambda: key.get_assertion([b"id"], bytes(32)),
    ):
        with contextlib.suppress(KeyDriverError):
            ask()


def cbor_values(data: bytes) -> None:
    value = cbor.decode(data)
    assert cbor.decode(cbor.encode(value)) == value


def tlv_values(data: bytes) -> None:
    for one in tlv.parse(data):
        assert tlv.parse(tlv.encode(one.tag, one.value)) == (one,)


def descriptors(data: bytes) -> None:
    for decode in (
        usb.parse_configuration,
        usb.total_length,
        usb.DeviceDescriptor.decode,
        usb.Setup.decode,
        ccid.ClassDescriptor.decode,
        hid.top_usages,
    ):
        with contextlib.suppress(MalformedFrame):
            decode(data)


def card_contents(data: bytes) -> None:
    for decode in (
        piv.Chuid.decode,
        piv.unwrap_container,
        smartkey.Selected.decode,
        smartkey.Info.decode,
        smartkey.Read.decode,
        smartkey.Piece.decode,
        smartkey.Proof.decode,
        smartkey.decode_size,
    ):
        with contextlib.suppress(MalformedFrame):
            decode(data)


def virtual_reader(data: bytes) -> None:
    decoder = CardDecoder()
    for message in decoder.feed(data):
        assert isinstance(message, int) or len(message.command) > 1

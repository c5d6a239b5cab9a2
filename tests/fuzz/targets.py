"""What is fuzzed: each parser of foreign bytes as a function of bytes, with inputs to begin from.

Promises: a target returns, or raises what its parser promises to raise, for any bytes; anything else is a finding. What a target
does for one input is bounded by the input's length.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.emulated_key import EmulatedKey, Make
from keypeg_bridge.emulator.fido.authenticator import Authenticator
from keypeg_bridge.emulator.state import KeyState, new_key
from keypeg_bridge.emulator.usbip_server import Bus
from keypeg_bridge.keys.errors import KeyDriverError
from keypeg_bridge.keys.fido2_commands import Fido2Key
from keypeg_bridge.wire import apdu, cbor, ccid, ctaphid, hid, piv, smartkey, tlv, usb, usbip
from keypeg_bridge.wire.ccid_host import HostSlot
from keypeg_bridge.wire.conversation import converse
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ClientDecoder, ServerDecoder
from keypeg_bridge.wire.vpcd import CardDecoder, frame
from tests.fuzz import passkeys

SELECT: Final = apdu.Command(0, 0xA4, 4, 0, piv.AID, 256).encode()
SIGN: Final = apdu.Command(
    0, 0x87, 0x11, 0x9E, tlv.encode(0x7C, b"\x82\x00" + tlv.encode(0x81, bytes(32))), 256
).encode()
INIT: Final = ctaphid.fragment(ctaphid.BROADCAST, ctaphid.Command.INIT, bytes(8))
OPENED: Final = ctaphid.fragment(
    ctaphid.BROADCAST,
    ctaphid.Command.INIT,
    ctaphid.InitReply(bytes(8), 1, (1, 0, 0), ctaphid.Capability.CBOR).encode(),
)
GET_INFO: Final = b"\x04"
MAKE: Final = b"\x01" + cbor.encode(
    {
        1: bytes(32),
        2: {"id": "example.org"},
        3: {"id": b"u", "name": "ann"},
        4: [{"alg": -7, "type": "public-key"}],
        6: {"hmac-secret": True, "credProtect": 2},
        7: {"rk": True},
    }
)
ASSERT: Final = b"\x02" + cbor.encode({1: "example.org", 2: bytes(32), 5: {"up": False}})
AGREE: Final = b"\x06" + cbor.encode({1: 2, 2: 2})
CONFIGURE: Final = usbip.Submit(1, 0x10001, 0, 0, 0, bytes.fromhex("0009010000000000"))


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


def pieces(data: bytes) -> Iterator[bytes]:
    """A sequence of messages in one input: each after its length, two bytes."""
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big") % 2_048
        yield data[at + 2 : end]
        at = end


def joined(*messages: bytes) -> bytes:
    """The inverse of `pieces`."""
    return b"".join(len(one).to_bytes(2, "big") + one for one in messages)


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
    link = ctaphid.HostLink()
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


class _Link:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def cbor(self, request: bytes, timeout: float, *, touch: bool = False) -> bytes:
        return self._answer


def authenticator_answers(data: bytes) -> None:
    key = Fido2Key(_Link(data or b"\x00"))  # type: ignore[arg-type]
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


def planted(data: bytes) -> None:
    """Faulty on purpose, a byte at a time: what guides the fuzzer finds it, and chance does not."""
    for at, wanted in enumerate(b"kpg"):
        if len(data) <= at or data[at] != wanted:
            return
    raise AssertionError("the planted fault")


@dataclass(frozen=True, slots=True)
class Target:
    """One parser; `seeds` are inputs that it takes."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = ()


def _submits() -> bytes:
    """A host that powers the card, selects the applet, and opens a channel of the security key."""
    power = ccid.Command(ccid.Kind.ICC_POWER_ON, 0, 0).encode()
    select = ccid.Command(ccid.Kind.XFR_BLOCK, 0, 1, SELECT).encode()
    out = [(2, power), (2, select), (4, INIT[0])]
    sent = b"".join(
        usbip.Submit(n, 0x10001, usbip.DIRECTION_OUT, endpoint, len(d), data=d).encode()
        for n, (endpoint, d) in enumerate(out, 2)
    )
    asked = usbip.Submit(9, 0x10001, usbip.DIRECTION_IN, 2, 64).encode()
    return sent + asked + usbip.Unlink(10, 0x10001, 9).encode()


def _reports(*requests: bytes) -> bytes:
    return b"".join(
        b"".join(ctaphid.fragment(1, ctaphid.Command.CBOR, request)) for request in requests
    )


TARGETS: Final[dict[str, Target]] = {
    "usbip-requests": Target(
        usbip_requests, (usbip.ListRequest().encode(), usbip.ImportRequest("1-1").encode())
    ),
    "usbip-answers": Target(
        usbip_answers,
        (
            usbip.ListReply((whole_key().port.describe(),)).encode(),
            usbip.ImportReply(0, whole_key().port.describe()).encode(),
        ),
    ),
    "emulated-device": Target(emulated_device, (_submits(),)),
    "reader-commands": Target(
        reader_commands,
        (
            joined(
                ccid.Command(ccid.Kind.ICC_POWER_ON, 0, 0).encode(),
                ccid.Command(ccid.Kind.GET_PARAMETERS, 0, 1).encode(),
                ccid.Command(ccid.Kind.XFR_BLOCK, 0, 2, SELECT).encode(),
                ccid.Command(ccid.Kind.ABORT, 0, 3).encode(),
            ),
        ),
    ),
    "reader-answers": Target(
        reader_answers,
        (
            ccid.Reply(ccid.Kind.DATA_BLOCK, 0, 0, b"\x90\x00").encode()
            + ccid.Reply(
                ccid.Kind.SLOT_STATUS, 0, 1, outcome=ccid.Outcome.FAILED, error=0xFE
            ).encode(),
        ),
    ),
    "card-commands": Target(
        card_commands, (joined(SELECT, SIGN), joined(SELECT, b"\x00\xf8\x00\x00"))
    ),
    "card-answers": Target(
        card_answers, (joined(b"\x90\x00", b"\x61\x10", b"abc\x90\x00", b"\x6c\x04"),)
    ),
    "security-key-reports": Target(
        security_key_reports, (_reports(GET_INFO), _reports(MAKE, ASSERT))
    ),
    "security-key-answers": Target(security_key_answers, (_reports(b"\x00\xa0"),)),
    "authenticator-requests": Target(
        authenticator_requests, (joined(GET_INFO), joined(MAKE, ASSERT, b"\x08"), joined(AGREE))
    ),
    "authenticator-answers": Target(
        authenticator_answers,
        (b"\x00" + cbor.encode({1: ["FIDO_2_1"], 3: bytes(16), 4: {"rk": True}}),),
    ),
    "cbor": Target(cbor_values, (MAKE[1:], ASSERT[1:])),
    "tlv": Target(tlv_values, (tlv.encode(0x7F49, tlv.encode(0x86, bytes(65))), SIGN[5:-1])),
    "descriptors": Target(
        descriptors,
        (
            whole_key().port.key.configuration.encode(),
            whole_key().port.key.descriptor.encode(),
            ctaphid.REPORT_DESCRIPTOR,
        ),
    ),
    "card-contents": Target(
        card_contents, (piv.Chuid(bytes(range(16))).encode(), piv.wrap_container(b"document"))
    ),
    "passkey-registrations": Target(passkeys.registrations, (passkeys.REGISTRATION,)),
    "passkey-assertions": Target(passkeys.assertions, (passkeys.ASSERTION,)),
    "virtual-reader": Target(virtual_reader, (b"\x00\x01\x01" + b"\x00\x01\x04" + frame(SELECT),)),
}


PLANTED: Final = "planted"


def run(name: str, data: bytes) -> None:
    """Try one input on one target; only a finding raises."""
    with contextlib.suppress(MalformedFrame):
        if name == PLANTED:
            planted(data)
        else:
            TARGETS[name].run(data)

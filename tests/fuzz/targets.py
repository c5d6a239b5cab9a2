"""What is fuzzed: each parser of foreign bytes as a function of bytes, with inputs to begin from.

Promises: a target returns, or raises what its parser promises to raise, for any bytes; anything else is a finding.

Leaves to others: what is done with bytes (parsers.py, passkeys.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from keypeg_bridge.wire import cbor, ccid, ctaphid, piv, tlv, usbip
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.vpcd import frame
from tests.fuzz import parsers, passkeys
from tests.fuzz.messages import (
    AGREE,
    ASSERT,
    GET_INFO,
    MAKE,
    SELECT,
    SIGN,
    joined,
    reports,
    submits,
)


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


TARGETS: Final[dict[str, Target]] = {
    "usbip-requests": Target(
        parsers.usbip_requests, (usbip.ListRequest().encode(), usbip.ImportRequest("1-1").encode())
    ),
    "usbip-answers": Target(
        parsers.usbip_answers,
        (
            usbip.ListReply((parsers.whole_key().port.describe(),)).encode(),
            usbip.ImportReply(0, parsers.whole_key().port.describe()).encode(),
        ),
    ),
    "emulated-device": Target(parsers.emulated_device, (submits(),)),
    "reader-commands": Target(
        parsers.reader_commands,
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
        parsers.reader_answers,
        (
            ccid.Reply(ccid.Kind.DATA_BLOCK, 0, 0, b"\x90\x00").encode()
            + ccid.Reply(
                ccid.Kind.SLOT_STATUS, 0, 1, outcome=ccid.Outcome.FAILED, error=0xFE
            ).encode(),
        ),
    ),
    "card-commands": Target(
        parsers.card_commands, (joined(SELECT, SIGN), joined(SELECT, b"\x00\xf8\x00\x00"))
    ),
    "card-answers": Target(
        parsers.card_answers, (joined(b"\x90\x00", b"\x61\x10", b"abc\x90\x00", b"\x6c\x04"),)
    ),
    "security-key-reports": Target(
        parsers.security_key_reports, (reports(GET_INFO), reports(MAKE, ASSERT))
    ),
    "security-key-answers": Target(parsers.security_key_answers, (reports(b"\x00\xa0"),)),
    "authenticator-requests": Target(
        parsers.authenticator_requests,
        (joined(GET_INFO), joined(MAKE, ASSERT, b"\x08"), joined(AGREE)),
    ),
    "authenticator-answers": Target(
        parsers.authenticator_answers,
        (b"\x00" + cbor.encode({1: ["FIDO_2_1"], 3: bytes(16), 4: {"rk": True}}),),
    ),
    "cbor": Target(parsers.cbor_values, (MAKE[1:], ASSERT[1:])),
    "tlv": Target(
        parsers.tlv_values, (tlv.encode(0x7F49, tlv.encode(0x86, bytes(65))), SIGN[5:-1])
    ),
    "descriptors": Target(
        parsers.descriptors,
        (
            parsers.whole_key().port.key.configuration.encode(),
            parsers.whole_key().port.key.descriptor.encode(),
            ctaphid.REPORT_DESCRIPTOR,
        ),
    ),
    "card-contents": Target(
        parsers.card_contents,
        (piv.Chuid(bytes(range(16))).encode(), piv.wrap_container(b"document")),
    ),
    "passkey-registrations": Target(passkeys.registrations, (passkeys.REGISTRATION,)),
    "passkey-assertions": Target(passkeys.assertions, (passkeys.ASSERTION,)),
    "virtual-reader": Target(
        parsers.virtual_reader, (b"\x00\x01\x01" + b"\x00\x01\x04" + frame(SELECT),)
    ),
}


PLANTED: Final = "planted"


def run(name: str, data: bytes) -> None:
    """Try one input on one target; only a finding raises."""
    with contextlib.suppress(MalformedFrame):
        if name == PLANTED:
            planted(data)
        else:
            TARGETS[name].run(data)

"""Messages that the parsers take: what inputs to begin from are made of.

Promises: each is right, so that a fuzzer begins behind the first checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from keypeg_bridge.wire import apdu, cbor, ccid, ctaphid, piv, tlv, usbip

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


def submits() -> bytes:
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


def reports(*requests: bytes) -> bytes:
    return b"".join(
        b"".join(ctaphid.fragment(1, ctaphid.Command.CBOR, request)) for request in requests
    )

"""USB/IP: recorded bytes of the kernel's document, round trips in any pieces, limits, and any bytes at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg_bridge.wire import usbip
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ClientDecoder, ServerDecoder

DEVICE = usbip.Device("/sys/x/1-1", "1-1", 1, 2, 2, 0x1209, 1, 0x0100, interfaces=((11, 0, 0),))
ServerMessage = usbip.ListRequest | usbip.ImportRequest | usbip.Submit | usbip.Unlink


def server_reads(raw: bytes, *, transfers: bool, pieces: int = 1_000_000) -> list[ServerMessage]:
    decoder = ServerDecoder()
    if transfers:
        decoder.imported()
    got: list[ServerMessage] = []
    for at in range(0, len(raw), pieces):
        decoder.feed(raw[at : at + pieces])
        while (message := decoder.next()) is not None:
            got.append(message)
    return got


def test_requests_have_the_documented_bytes() -> None:
    assert usbip.ListRequest().encode().hex() == "0111800500000000"
    assert usbip.ImportRequest("1-1").encode().hex() == "0111800300000000312d31" + "00" * 29


def test_a_submit_has_the_documented_bytes() -> None:
    submit = usbip.Submit(0x0D05, 0x1000F, 1, 1, 64, flags=0, interval=4)
    assert submit.encode().hex() == (
        "00000001 00000d05 0001000f 00000001 00000001 00000200 00000040 00000000 00000000 00000004"
        "0000000000000000"
    ).replace(" ", "")


def test_replies_have_the_documented_sizes() -> None:
    assert len(usbip.ListReply((DEVICE,)).encode()) == 12 + 312 + 4
    assert len(usbip.ImportReply(0, DEVICE).encode()) == 8 + 312
    assert len(usbip.ImportReply(1).encode()) == 8
    assert len(usbip.Returned(1, -32).encode()) == len(usbip.Unlinked(1, 0).encode()) == 48


U32 = st.integers(0, 0xFFFFFFFF)
OUT = st.binary(max_size=300).flatmap(
    lambda d: st.builds(
        usbip.Submit, U32, U32, st.just(0), st.integers(0, 15), st.just(len(d)),
        st.binary(min_size=8, max_size=8), st.just(d),
    )
)  # fmt: skip
UNLINK = st.builds(usbip.Unlink, U32, U32, U32)


@given(st.lists(OUT | UNLINK, max_size=4), st.integers(1, 400))
def test_transfers_survive_any_splitting(
    sent: list[usbip.Submit | usbip.Unlink], pieces: int
) -> None:
    raw = b"".join(m.encode() for m in sent)
    assert server_reads(raw, transfers=True, pieces=pieces) == sent


@given(st.integers(1, 400), st.booleans())
def test_lists_and_imports_survive_any_splitting(pieces: int, listed: bool) -> None:
    reply: usbip.ListReply | usbip.ImportReply = usbip.ListReply((DEVICE, DEVICE))
    if not listed:
        reply = usbip.ImportReply(0, usbip.Device("/sys/x/1-1", "1-1", 1, 2, 2, 3, 4, 5))
    raw = reply.encode()
    decoder = ClientDecoder()
    got = []
    for at in range(0, len(raw), pieces):
        decoder.feed(raw[at : at + pieces])
        while (message := decoder.next()) is not None:
            got.append(message)
    assert got == [reply]


def importing() -> ClientDecoder:
    decoder = ClientDecoder()
    decoder.feed(usbip.ImportReply(0, DEVICE).encode())
    assert isinstance(decoder.next(), usbip.ImportReply)
    return decoder


def test_answers_carry_data_for_in_transfers_only() -> None:
    decoder = importing()
    decoder.expect(usbip.Submit(1, 0, usbip.DIRECTION_IN, 2, 64))
    decoder.expect(usbip.Submit(2, 0, usbip.DIRECTION_OUT, 2, 5, data=b"hello"))
    decoder.feed(usbip.Returned(2, 0, 5).encode() + usbip.Returned(1, 0, 3, b"abc").encode())
    assert decoder.next() == usbip.Returned(2, 0, 5)
    assert decoder.next() == usbip.Returned(1, 0, 3, b"abc")


@pytest.mark.parametrize(
    "answer",
    [
        usbip.Returned(9, 0),  # never asked
        usbip.Returned(1, 0, 65, bytes(65)),  # more than there is room for
        usbip.Returned(1, 0, -1),
    ],
)
def test_answers_that_fit_nothing_are_malformed(answer: usbip.Returned) -> None:
    decoder = importing()
    decoder.expect(usbip.Submit(1, 0, usbip.DIRECTION_IN, 2, 64))
    decoder.feed(answer.encode())
    with pytest.raises(MalformedFrame):
        decoder.next()


SUBMIT = usbip.Submit(1, 0, 0, 2, 4, data=b"abcd").encode()


def changed(at: int, value: int) -> bytes:
    return SUBMIT[:at] + value.to_bytes(4, "big") + SUBMIT[at + 4 :]


@pytest.mark.parametrize(
    "raw",
    [
        changed(0, 7),  # unknown command
        changed(12, 2),  # no direction
        changed(16, 16),  # no endpoint
        changed(24, 0x7FFFFFFF),  # two gigabytes
        changed(24, 0xFFFFFFFF),  # a negative length, which asks for room of four gigabytes
        changed(32, 3),  # isochronous
    ],
    ids=["command", "direction", "endpoint", "length", "negative", "isochronous"],
)
def test_broken_submits_are_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedFrame):
        server_reads(raw, transfers=True)


@pytest.mark.parametrize("raw", ["0211800500000000", "0111123400000000", "ffffffffffffffff"])
def test_broken_operations_are_malformed(raw: str) -> None:
    with pytest.raises(MalformedFrame):
        server_reads(bytes.fromhex(raw), transfers=False)


def test_a_list_without_end_is_malformed() -> None:
    decoder = ClientDecoder()
    decoder.feed(bytes.fromhex("0111000500000000") + b"\xff\xff\xff\xff")
    with pytest.raises(MalformedFrame):
        decoder.next()


@given(st.binary(max_size=600), st.booleans())
def test_a_server_takes_any_bytes(raw: bytes, transfers: bool) -> None:
    try:
        server_reads(raw, transfers=transfers)
    except MalformedFrame:
        return


@given(st.binary(max_size=600), st.booleans())
def test_a_client_takes_any_bytes(raw: bytes, transfers: bool) -> None:
    decoder = importing() if transfers else ClientDecoder()
    decoder.expect(usbip.Submit(1, 0, usbip.DIRECTION_IN, 2, 64))
    decoder.feed(raw)
    try:
        while decoder.next() is not None:
            pass
    except MalformedFrame:
        return

"""The block protocol T=1 (ISO 7816-3 section 11), both ends, for readers that leave the framing to their host.

Promises: `Block.decode` takes any bytes and gives a block or `MalformedFrame`; `HostLink` carries whole APDUs over blocks
with a bound on blocks and repetitions, `CardLink` is the card's half. Neither does I/O or knows time: the host is a
generator that yields blocks to send and is sent the blocks received, the card is called with each block.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import IntEnum
from functools import reduce
from operator import xor
from typing import Final

from keypeg_bridge.wire.errors import MalformedFrame

MAX_INF: Final = 254  # bytes in one block
DEFAULT_INF: Final = 32  # until the other side says what it takes
MAX_APDU: Final = 65_544  # bytes; an extended APDU
MAX_BLOCKS: Final = (
    4_096  # of one exchange each way; 2,049 blocks of 32 bytes carry the longest APDU
)
MAX_REPEATS: Final = 3  # of one block, before the exchange is given up
MAX_WAITS: Final = 600  # requests for more time in one exchange
_MORE: Final = 0x20
_SEQUENCE: Final = 0x40
_EXPECTED: Final = 0x10
_OVERHEAD: Final = 4


class Supervisory(IntEnum):
    """PCB of S-blocks that ask; the answers have 0x20 too."""

    RESYNCH = 0xC0
    IFS = 0xC1
    ABORT = 0xC2
    WTX = 0xC3


ANSWER: Final = 0x20


@dataclass(frozen=True, slots=True)
class Block:
    """One block; the check byte is the exclusive-or of all before it."""

    pcb: int
    inf: bytes = b""

    @property
    def is_information(self) -> bool:
        """Whether it carries part of an APDU."""
        return not self.pcb & 0x80

    @property
    def is_receipt(self) -> bool:
        """Whether it says which block is expected next."""
        return self.pcb & 0xC0 == 0x80

    @property
    def more(self) -> bool:
        """Whether an information block is not the last one."""
        return bool(self.pcb & _MORE)

    @property
    def sequence(self) -> int:
        """N(S) of an information block, N(R) of a receipt."""
        return int(bool(self.pcb & (_SEQUENCE if self.is_information else _EXPECTED)))

    def encode(self) -> bytes:
        """The block as sent, between node 0 and node 0."""
        head = bytes((0, self.pcb, len(self.inf))) + self.inf
        return head + bytes((reduce(xor, head),))

    @classmethod
    def decode(cls, raw: bytes) -> Block:
        """The block in `raw`, which it fills exactly."""
        if len(raw) < _OVERHEAD or raw[2] != len(raw) - _OVERHEAD or raw[2] > MAX_INF:
            raise MalformedFrame("T=1", f"{len(raw)} bytes are no block")
        if reduce(xor, raw) != 0:
            raise MalformedFrame("T=1", "the check byte is wrong")
        if raw[0] != 0:
            raise MalformedFrame("T=1", f"a block for node {raw[0]:#04x}")
        return cls(raw[1], raw[3:-1])


def information(sequence: int, inf: bytes, *, more: bool) -> Block:
    """A part of an APDU."""
    return Block(_SEQUENCE * sequence | _MORE * more, inf)


def receipt(expected: int, error: int = 0) -> Block:
    """Which block is expected next: 1 as the last one was damaged, 2 as it was out of order."""
    return Block(0x80 | _EXPECTED * expected | error)


class HostLink:
    """The host's end of the link to one powered card."""

    def __init__(self, card_bytes: int) -> None:
        self._room = min(max(card_bytes, 1), MAX_INF)
        self._sending = 0
        self._expected = 0

    def begin(self) -> Generator[bytes, bytes, None]:
        """Tell the card how long its blocks may be; a card that does not answer rightly is no card of T=1."""
        asked = Block(Supervisory.IFS, bytes((MAX_INF,)))
        for _ in range(MAX_REPEATS):
            try:
                answer = Block.decode((yield asked.encode()))
            except MalformedFrame:
                continue
            if answer == Block(Supervisory.IFS | ANSWER, asked.inf):
                return
        raise MalformedFrame("T=1", "the card does not agree on a length of blocks")

    def exchange(self, apdu: bytes) -> Generator[bytes, bytes, bytes]:
        """One APDU out, its answer in. Raises `MalformedFrame` when the blocks come to no end."""
        pieces = [apdu[at : at + self._room] for at in range(0, max(1, len(apdu)), self._room)]
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            out = information(self._sending, piece, more=not last)
            block = yield from self._settled(out, last)
            self._sending ^= 1
        answer = bytearray()
        for _ in range(MAX_BLOCKS):
            self._expected ^= 1
            answer += block.inf
            if not block.more:
                return bytes(answer)
            if len(answer) > MAX_APDU:
                break
            block = yield from self._settled(receipt(self._expected), True)
        raise MalformedFrame("T=1", "the card's answer does not end")

    def _settled(self, out: Block, wants_data: bool) -> Generator[bytes, bytes, Block]:
        """Send a block until the card has taken it: its receipt, or the block of the answer that implies it."""
        repeats = waits = 0
        sent = out
        while repeats <= MAX_REPEATS and waits <= MAX_WAITS:
            try:
                block = Block.decode((yield sent.encode()))
            except MalformedFrame:
                repeats += 1
                sent = receipt(self._expected, 1)
                continue
            if block.pcb == Supervisory.WTX and len(block.inf) == 1:
                waits += 1
                sent = Block(Supervisory.WTX | ANSWER, block.inf)
            elif (
                block.pcb == Supervisory.IFS and len(block.inf) == 1 and 0 < block.inf[0] <= MAX_INF
            ):
                waits += 1
                self._room = block.inf[0]
                sent = Block(Supervisory.IFS | ANSWER, block.inf)
            elif (block.is_information and wants_data and block.sequence == self._expected) or (
                block.is_receipt and not wants_data and block.sequence != out.sequence
            ):
                return block
            else:  # a receipt that asks for the block again, or one that fits nowhere
                repeats += 1
                asks = block.is_receipt and (
                    not out.is_information or block.sequence == out.sequence
                )
                sent = out if asks else receipt(self._expected, 2)
        raise MalformedFrame("T=1", "the card did not take a block")


class CardLink:
    """The card's end. `begin` answers an APDU, or gives None and lets `poll` answer it later."""

    def __init__(
        self, begin: Callable[[bytes], bytes | None], poll: Callable[[], bytes | None]
    ) -> None:
        self._begin = begin
        self._poll = poll
        self.reset()

    def reset(self) -> None:
        """As after power-on."""
        self._room = DEFAULT_INF
        self._resynch()

    def _resynch(self) -> None:
        self._sending = 0
        self._expected = 0
        self._coming = bytearray()  # parts of a command
        self._going: list[bytes] = []  # parts of an answer, the one under way first
        self._last: Block | None = None
        self.waiting = False  # an answer is under way

    def receive(self, raw: bytes) -> bytes | None:
        """The answer to one block, or None: then `poll` and `extend` until there is one."""
        try:
            block = Block.decode(raw)
        except MalformedFrame:
            return receipt(self._expected, 1).encode()
        if block.pcb & 0xC0 == 0xC0:
            return self._supervise(block)
        if block.is_receipt:
            return self._asked_again(block)
        if self.waiting or block.sequence != self._expected:
            return receipt(self._expected, 2).encode()
        return self._take(block)

    def _take(self, block: Block) -> bytes | None:
        self._expected ^= 1
        if self._going:  # the host has the whole answer, and goes on
            self._sending ^= 1
            self._going = []
        self._coming += block.inf
        if len(self._coming) > MAX_APDU:
            self._coming.clear()
            return self._say(receipt(self._expected, 2))
        if block.more:
            return self._say(receipt(self._expected))
        apdu = bytes(self._coming)
        self._coming.clear()
        answer = self._begin(apdu)
        if answer is None:
            self.waiting = True
            return None
        return self._answer(answer)

    def poll(self) -> bytes | None:
        """The first block of the answer that is under way, when it is there."""
        answer = self._poll() if self.waiting else None
        if answer is None:
            return None
        self.waiting = False
        return self._answer(answer)

    def extend(self) -> bytes:
        """A request for more time."""
        return self._say(Block(Supervisory.WTX, b"\x01"))

    def _answer(self, answer: bytes) -> bytes:
        self._going = [answer[at : at + self._room] for at in range(0, len(answer), self._room)]
        return self._piece()

    def _piece(self) -> bytes:
        more = len(self._going) > 1
        return self._say(information(self._sending, self._going[0], more=more))

    def _asked_again(self, block: Block) -> bytes | None:
        if self.waiting:
            return self.extend()
        if self._going and len(self._going) > 1 and block.sequence != self._sending:
            self._sending ^= 1
            self._going.pop(0)
            return self._piece()
        return (self._last or receipt(self._expected, 2)).encode()

    def _supervise(self, block: Block) -> bytes | None:
        match block.pcb:
            case Supervisory.RESYNCH if not block.inf:
                self._resynch()
            case Supervisory.IFS if len(block.inf) == 1 and 0 < block.inf[0] <= MAX_INF:
                self._room = block.inf[0]
            case Supervisory.ABORT if not block.inf:
                self._coming.clear()
                self._going = []
            case _ if block.pcb == Supervisory.WTX | ANSWER and self.waiting:
                return None
            case _:
                return receipt(self._expected, 2).encode()
        return self._say(Block(block.pcb | ANSWER, block.inf))

    def _say(self, block: Block) -> bytes:
        self._last = block
        return block.encode()

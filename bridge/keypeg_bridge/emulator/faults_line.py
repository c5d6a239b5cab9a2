"""The way of an interface's answers to the host, and what is made to go wrong on it.

Promises: without a fault every answer passes as it is; a fault hits whole answers, counted as it says, and the same seed
hits the same bytes. What waits here is bounded by what the interface gives, as the next answer is taken from it only when
nothing waits. When faults begin and end is left to `faults_board.py`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keypeg_bridge.emulator.faults import Fault
from keypeg_bridge.wire import ccid, ctap, piv
from keypeg_bridge.wire.apdu import Status
from keypeg_bridge.wire.ctaphid import INIT_DATA, PACKET_BYTES, Command

LINE_KINDS: Final = frozenset({"stall", "slow", "truncate", "corrupt", "sequence", "pin"})
_COMMAND_AT: Final = 4  # of a report: command or packet number
_PAYLOAD_AT: Final = 7
_STARTS: Final = 0x80  # the bit of an initialization packet
_FIRST: Final = bytes((_STARTS,))
_CBOR: Final = _STARTS | Command.CBOR
_KEEPALIVE: Final = _STARTS | Command.KEEPALIVE
_SEQUENCE_AT: Final = 6  # of a CCID message: bSeq
_CHAINED: Final = 0x10  # of an APDU's CLA: more of the command follows


class Side(StrEnum):
    """Which interface."""

    CARD = "card"
    FIDO = "fido"


@dataclass(eq=False, slots=True)
class Hit:
    """One fault on one line. `over` is called when its count is used up."""

    fault: Fault
    draw: random.Random
    over: Callable[[Hit], None]
    seen: int = 0
    done: int = 0

    def takes(self) -> bool:
        """Whether it hits the answer that begins now, which is counted."""
        self.seen += 1
        if self.seen <= (self.fault.whole("skip") or 0):
            return False
        count = self.fault.whole("count")
        if count is not None and self.done >= count:
            return False
        self.done += 1
        return True

    @property
    def counted(self) -> bool:
        """Whether it hits so many answers, and not all."""
        return self.fault.whole("count") is not None

    @property
    def spent(self) -> bool:
        """Whether it has hit all that it was to hit."""
        count = self.fault.whole("count")
        return count is not None and self.done >= count


class Line:
    """From one interface to its host."""

    def __init__(self, side: Side, clock: Callable[[], float]) -> None:
        self._side = side
        self._clock = clock
        self._hits: list[Hit] = []
        self._now: list[Hit] = []  # that hit the answer under way
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._signs = False  # whether the command under way asks for a signature

    def add(self, hit: Hit) -> None:
        """Begin a fault."""
        self._hits.append(hit)

    def remove(self, hit: Hit) -> None:
        """End a fault; an answer that it delays comes at its time."""
        self._hits = [one for one in self._hits if one is not hit]
        if not hit.spent:  # else the rest of its last answer is still to be hit
            self._now = [one for one in self._now if one is not hit]

    def reset(self) -> None:
        """As after a bus reset: nothing on its way."""
        self._waiting.clear()
        self._now.clear()
        self._signs = False

    @property
    def deadline(self) -> float | None:
        """When an answer is due."""
        return self._waiting[0][0] if self._waiting else None

    def sent(self, data: bytes) -> None:
        """What the host sends; only looked at."""
        if self._side is Side.CARD:
            self._signs = _card_signs(data)
        elif data[_COMMAND_AT : _COMMAND_AT + 1] >= _FIRST:
            self._signs = _fido_signs(data)

    def take(self, source: Callable[[], bytes | None]) -> bytes | None:
        """The next answer for the host; from `source`, when none waits here."""
        while not self._waiting:
            answer = source()
            if answer is None or not (self._hits or self._now):
                return answer
            self._pass(answer)
        if self._waiting[0][0] > self._clock():
            return None
        return self._waiting.popleft()[1]

    def _pass(self, answer: bytes) -> None:
        begins = self._begins(answer)
        hits = self._hitting(answer, begins=begins)
        changed: bytes | None = answer
        for hit in hits:
            if changed is not None:
                changed = self._harm(hit, changed, begins=begins)
        for hit in hits:
            if begins and hit.spent:
                hit.over(hit)
        if changed is not None:
            delay = sum(hit.fault.number("delay") or 0 for hit in hits) if begins else 0
            self._waiting.append((self._clock() + delay, changed))

    def _begins(self, answer: bytes) -> bool:
        """Whether it is not the continuation of another one."""
        return self._side is Side.CARD or answer[_COMMAND_AT] >= _STARTS

    def _hitting(self, answer: bytes, *, begins: bool) -> list[Hit]:
        """The faults that hit this answer, or this part of one."""
        if self._side is Side.FIDO and answer[_COMMAND_AT] == _KEEPALIVE:
            return [hit for hit in self._hits if hit.fault.kind == "stall" and not hit.counted]
        if begins:
            self._now = [h for h in self._hits if self._concerns(h, answer) and h.takes()]
            self._hits = [hit for hit in self._hits if not hit.spent]
        return list(self._now)

    def _concerns(self, hit: Hit, answer: bytes) -> bool:
        if hit.fault.kind == "pin":
            return self._signs
        if hit.fault.kind == "sequence" and self._side is Side.FIDO:
            length = int.from_bytes(answer[_COMMAND_AT + 1 : _PAYLOAD_AT], "big")
            return length > INIT_DATA  # a packet that begins an answer has no number
        return True

    def _harm(self, hit: Hit, answer: bytes, *, begins: bool) -> bytes | None:
        """The answer as the host gets it; None when it gets none."""
        match hit.fault.kind:
            case "stall":
                return None
            case "pin":
                return self._refused(answer, begins=begins)
            case "sequence" if not begins or self._side is Side.CARD:
                return self._misnumbered(hit, answer)
            case "truncate" if begins and answer:
                left = hit.fault.whole("bytes")
                return answer[: hit.draw.randrange(len(answer)) if left is None else left]
            case "corrupt" if begins and answer:
                return _corrupted(hit, answer)
        return answer

    def _misnumbered(self, hit: Hit, answer: bytes) -> bytes:
        at, top = (_SEQUENCE_AT, 0x100) if self._side is Side.CARD else (_COMMAND_AT, _STARTS)
        changed = bytearray(answer)
        if at < len(changed):
            changed[at] = (changed[at] + (hit.fault.whole("step") or 1)) % top
        return bytes(changed)

    def _refused(self, answer: bytes, *, begins: bool) -> bytes | None:
        if self._side is Side.CARD:
            word = Status.SECURITY_NOT_SATISFIED.to_bytes(2, "big")
            return answer[:1] + len(word).to_bytes(4, "little") + answer[5:10] + word
        if not begins:
            return None
        refusal = b"\x00\x01" + bytes((ctap.Status.PUAT_REQUIRED,))
        return (answer[: _COMMAND_AT + 1] + refusal).ljust(PACKET_BYTES, b"\x00")


def _corrupted(hit: Hit, answer: bytes) -> bytes:
    offset = hit.fault.whole("offset")
    at = hit.draw.randrange(len(answer)) if offset is None else min(offset, len(answer) - 1)
    changed = bytearray(answer)
    changed[at] ^= hit.draw.randint(1, 255)
    return bytes(changed)


def _card_signs(data: bytes) -> bool:
    """Whether a CCID message holds the end of a command to sign with the identity key."""
    apdu = data[ccid.HEADER_BYTES :]
    if data[:1] != bytes((ccid.Kind.XFR_BLOCK,)) or len(apdu) < 4:
        return False
    identity = (piv.INS_AUTHENTICATE, piv.SLOT_CARD_AUTHENTICATION)
    return not apdu[0] & _CHAINED and (apdu[1], apdu[3]) == identity


def _fido_signs(data: bytes) -> bool:
    """Whether a report begins an authenticatorGetAssertion."""
    return (
        len(data) > _PAYLOAD_AT
        and data[_COMMAND_AT] == _CBOR
        and data[_PAYLOAD_AT] == ctap.Command.GET_ASSERTION
    )

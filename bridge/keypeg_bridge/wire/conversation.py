"""Long commands and long answers: both ends of chaining, GET RESPONSE and wrong-length repeats (ISO 7816-4 section 5.1.1).

Promises: `converse` turns one command of any length into APDUs and one whole response, with a bound on rounds and bytes;
`CardChannel` does the card's half. Neither does I/O: the first is a generator that yields bytes to send and is sent the
bytes received, the second is called with each command, and asked again where an answer takes time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final, Protocol

from keypeg_bridge.wire.apdu import (
    CHAINING,
    INS_GET_RESPONSE,
    MAX_EXTENDED,
    MAX_SHORT_DATA,
    MAX_SHORT_RESPONSE,
    Command,
    Response,
    Status,
)
from keypeg_bridge.wire.errors import MalformedFrame

MAX_RESPONSE: Final = 65_536  # bytes; a card that goes on beyond it is broken or hostile
MAX_ROUNDS: Final = 1_024  # short APDUs a command; 256 carry 64 KiB, the rest is for small pieces


class Pending(Protocol):
    """An answer that is not there yet: the card is to be touched, or computes."""

    def poll(self) -> Response | None:
        """The answer, or None as long as there is none."""
        ...

    def finish(self) -> Response:
        """The answer now: what is computed is waited for, and what has not happened is refused."""
        ...

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        ...


def converse(
    command: Command, *, extended: bool = False, max_response: int = MAX_RESPONSE
) -> Generator[bytes, bytes, Response]:
    """One command as APDUs: yields each to send, is sent each answer, returns the whole response.

    Short APDUs, chained, unless `extended`: then one extended APDU that asks for all of the answer. A refusal in the middle of a chain ends it and is returned. Raises `MalformedFrame` for answers that never end.
    """
    size = MAX_EXTENDED if extended else MAX_SHORT_DATA
    pieces = [command.data[at : at + size] for at in range(0, max(1, len(command.data)), size)]
    for piece in pieces[:-1]:
        link = replace(command, cla=command.cla | CHAINING, data=piece, ne=None)
        response = Response.decode((yield link.encode()))
        if not response.ok:
            return response
    most = MAX_EXTENDED + 1 if extended else MAX_SHORT_RESPONSE
    ne = None if command.ne is None else most if extended else min(command.ne, most)
    last = replace(command, data=pieces[-1], ne=ne)
    collected = bytearray()
    for _ in range(MAX_ROUNDS):
        response = Response.decode((yield last.encode(extended=extended)))
        collected += response.data
        if len(collected) > max_response:
            raise MalformedFrame("APDU", f"the card's answer goes beyond {max_response} bytes")
        low = (response.status & 0xFF) or MAX_SHORT_RESPONSE
        match response.status >> 8:
            case 0x61:
                ne = most if extended else low
                last = Command(command.cla & ~CHAINING, INS_GET_RESPONSE, 0, 0, ne=ne)
            case 0x6C if last.ne != low:
                last = replace(last, ne=low)
            case _:
                return Response(bytes(collected), response.status)
    raise MalformedFrame("APDU", f"the card's answer did not end within {MAX_ROUNDS} rounds")


class CardChannel:
    """The card's end: joins chained commands for `handler`, hands out long answers piece by piece."""

    def __init__(
        self,
        handler: Callable[[Command], Response | Pending],
        *,
        max_command: int = 8_192,  # bytes joined; over twice the largest object
        max_reply: int = 2_048,  # bytes in one response APDU, so that it fits a CCID message
    ) -> None:
        self._handler = handler
        self._max_command = max_command
        self._max_reply = max_reply
        self._pending: Pending | None = None
        self.reset()

    def reset(self) -> None:
        """Forget a half-sent command, an answer that is under way and unfetched ones, as after power-on."""
        self._cancel()
        self._chain: Command | None = None
        self._ne: int | None = None
        self._waiting = b""
        self._final = int(Status.OK)

    def transmit(self, raw: bytes) -> bytes:
        """Answer one APDU now; malformed ones get 6700."""
        answer = self.begin(raw)
        if answer is not None:
            return answer
        assert self._pending is not None
        return self._finished(self._pending.finish()).encode()

    def begin(self, raw: bytes) -> bytes | None:
        """Answer one APDU, or None when the answer takes time: then `poll` gives it."""
        self._cancel()
        try:
            command = Command.decode(raw)
        except MalformedFrame:
            self.reset()
            return Response(b"", Status.WRONG_LENGTH).encode()
        answer = self._answer(command)
        return None if answer is None else answer.encode()

    def poll(self) -> bytes | None:
        """The answer to the APDU that `begin` took, or None as long as it is under way."""
        answer = None if self._pending is None else self._pending.poll()
        return None if answer is None else self._finished(answer).encode()

    def _cancel(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()

    def _answer(self, command: Command) -> Response | None:
        chain = self._chain
        whole = replace(command, cla=command.cla & ~CHAINING)
        if chain is not None and _head(chain) != _head(whole):
            self._chain = None
            return Response(b"", Status.LAST_OF_CHAIN_EXPECTED)
        if command.ins == INS_GET_RESPONSE:
            return self._more(command)
        self._waiting = b""
        if chain is not None:
            whole = replace(whole, data=chain.data + command.data)
        self._chain = None
        if len(whole.data) > self._max_command:
            return Response(b"", Status.WRONG_LENGTH)
        if command.cla & CHAINING:
            self._chain = whole
            return Response(b"", Status.OK)
        self._ne = command.ne
        answer = self._handler(whole)
        if isinstance(answer, Response):
            return self._finished(answer)
        self._pending = answer
        return None

    def _finished(self, response: Response) -> Response:
        self._pending = None
        self._waiting, self._final = response.data, response.status
        return self._next_piece(self._ne)

    def _more(self, command: Command) -> Response:
        if (command.p1, command.p2) != (0, 0):
            return Response(b"", Status.WRONG_P1P2)
        if command.data or command.cla & CHAINING:
            return Response(b"", Status.WRONG_LENGTH)
        if not self._waiting:
            return Response(b"", Status.CONDITIONS_NOT_SATISFIED)
        return self._next_piece(command.ne)

    def _next_piece(self, ne: int | None) -> Response:
        size = min(ne or MAX_SHORT_RESPONSE, self._max_reply)
        piece, self._waiting = self._waiting[:size], self._waiting[size:]
        if self._waiting:
            return Response(piece, 0x6100 | (len(self._waiting) if len(self._waiting) < 256 else 0))
        return Response(piece, self._final)


def _head(command: Command) -> tuple[int, int, int, int]:
    return command.cla, command.ins, command.p1, command.p2

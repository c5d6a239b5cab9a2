"""Long commands and long answers: both ends of chaining, GET RESPONSE and wrong-length repeats (ISO 7816-4 section 5.1.1).

Promises: `converse` turns one command of any length into short APDUs and one whole response, with a bound on rounds and
bytes; `CardChannel` does the card's half. Neither does I/O: the first is a generator that yields bytes to send and is
sent the bytes received, the second is called with each command.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Final

from keypeg_bridge.wire.apdu import (
    CHAINING,
    INS_GET_RESPONSE,
    MAX_SHORT_DATA,
    MAX_SHORT_RESPONSE,
    Command,
    Response,
    Status,
)
from keypeg_bridge.wire.errors import MalformedFrame

MAX_RESPONSE: Final = 65_536  # bytes; a card that goes on beyond it is broken or hostile
MAX_ROUNDS: Final = 1_024  # short APDUs a command; 256 carry 64 KiB, the rest is for small pieces


def converse(
    command: Command, *, max_response: int = MAX_RESPONSE
) -> Generator[bytes, bytes, Response]:
    """One command as short APDUs: yields each to send, is sent each answer, returns the whole response.

    A refusal in the middle of a chain ends it and is returned. Raises `MalformedFrame` for answers that never end.
    """
    pieces = [
        command.data[at : at + MAX_SHORT_DATA]
        for at in range(0, max(1, len(command.data)), MAX_SHORT_DATA)
    ]
    for piece in pieces[:-1]:
        link = replace(command, cla=command.cla | CHAINING, data=piece, ne=None)
        response = Response.decode((yield link.encode()))
        if not response.ok:
            return response
    ne = None if command.ne is None else min(command.ne, MAX_SHORT_RESPONSE)
    last = replace(command, data=pieces[-1], ne=ne)
    collected = bytearray()
    for _ in range(MAX_ROUNDS):
        response = Response.decode((yield last.encode()))
        collected += response.data
        if len(collected) > max_response:
            raise MalformedFrame("APDU", f"the card's answer goes beyond {max_response} bytes")
        low = (response.status & 0xFF) or MAX_SHORT_RESPONSE
        match response.status >> 8:
            case 0x61:
                last = Command(command.cla & ~CHAINING, INS_GET_RESPONSE, 0, 0, ne=low)
            case 0x6C if last.ne != low:
                last = replace(last, ne=low)
            case _:
                return Response(bytes(collected), response.status)
    raise MalformedFrame("APDU", f"the card's answer did not end within {MAX_ROUNDS} rounds")


class CardChannel:
    """The card's end: joins chained commands for `handler`, hands out long answers piece by piece."""

    def __init__(
        self,
        handler: Callable[[Command], Response],
        *,
        max_command: int = 8_192,  # bytes joined; over twice the largest object
        max_reply: int = 2_048,  # bytes in one response APDU, so that it fits a CCID message
    ) -> None:
        self._handler = handler
        self._max_command = max_command
        self._max_reply = max_reply
        self.reset()

    def reset(self) -> None:
        """Forget a half-sent command and unfetched answers, as after power-on."""
        self._chain: Command | None = None
        self._waiting = b""
        self._final = int(Status.OK)

    def transmit(self, raw: bytes) -> bytes:
        """Answer one APDU; malformed ones get 6700."""
        try:
            command = Command.decode(raw)
        except MalformedFrame:
            self.reset()
            return Response(b"", Status.WRONG_LENGTH).encode()
        return self._answer(command).encode()

    def _answer(self, command: Command) -> Response:
        if command.ins == INS_GET_RESPONSE:
            return self._next_piece(command.ne)
        self._waiting = b""
        joined = self._join(command)
        if isinstance(joined, Response):
            return joined
        response = self._handler(joined)
        self._waiting, self._final = response.data, response.status
        return self._next_piece(command.ne, first=True)

    def _join(self, command: Command) -> Command | Response:
        chain = self._chain
        whole = replace(command, cla=command.cla & ~CHAINING)
        if chain is not None and _head(chain) == _head(whole):
            whole = replace(whole, data=chain.data + command.data)
        if len(whole.data) > self._max_command:
            self._chain = None
            return Response(b"", Status.WRONG_LENGTH)
        if command.cla & CHAINING:
            self._chain = whole
            return Response(b"", Status.OK)
        self._chain = None
        return whole

    def _next_piece(self, ne: int | None, *, first: bool = False) -> Response:
        if not first and not self._waiting:
            return Response(b"", Status.CONDITIONS_NOT_SATISFIED)
        size = min(ne or MAX_SHORT_RESPONSE, self._max_reply)
        piece, self._waiting = self._waiting[:size], self._waiting[size:]
        if self._waiting:
            return Response(piece, 0x6100 | (len(self._waiting) if len(self._waiting) < 256 else 0))
        return Response(piece, self._final)


def _head(command: Command) -> tuple[int, int, int, int]:
    return command.cla, command.ins, command.p1, command.p2

"""The card inside the emulated reader: an answer to reset, applets by name, and APDUs in and out.

Promises: `transmit` answers any bytes with an APDU response now, `begin` and `poll` when it is there; power-off forgets all
security state. SELECT decides which applet is spoken to; one that is not there leaves the present one selected (ISO
7816-4). What the applets do is in their own modules.
"""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Final, Protocol

from keypeg_bridge.wire import piv
from keypeg_bridge.wire.apdu import Command, Response, Status
from keypeg_bridge.wire.conversation import CardChannel, Pending

# ISO 7816-4 section 12.1.1: what the card can do (73: names in full and in part; chaining and extended length), and who
# made it (56).
_HISTORICAL: Final = bytes.fromhex("80 73c001c0 56") + b"keypeg"
# T=1 alone (TD1, TD2), blocks of up to 254 bytes (TA3), waiting times (TB3), and the check byte that T=1 asks for (ISO
# 7816-3 section 8).
_ATR_BODY: Final = bytes((0x80 | len(_HISTORICAL), 0x81, 0x31, 0xFE, 0x15)) + _HISTORICAL
ATR: Final = b"\x3b" + _ATR_BODY + bytes((reduce(xor, _ATR_BODY),))
_BY_NAME: Final = 0x04  # P1 of SELECT


class Applet(Protocol):
    """One application of the card."""

    def answers_to(self, name: bytes) -> bool:
        """Whether SELECT with this name, or part of a name, means this applet."""
        ...

    def handle(self, command: Command) -> Response | Pending:
        """Answer one whole command, SELECT included."""
        ...

    def deselect(self) -> None:
        """Another applet was selected: forget what was proved."""
        ...

    def power_off(self) -> None:
        """Forget everything but the contents."""
        ...


class Card:
    """One card with its applets."""

    def __init__(self, *applets: Applet) -> None:
        self._applets = applets
        self._selected: Applet | None = None
        self._channel = CardChannel(self._handle)
        self.powered = False

    def power_on(self) -> bytes:
        """Reset the card; its ATR."""
        self.power_off()
        self.powered = True
        return ATR

    def power_off(self) -> None:
        """Cut the power; safe to repeat."""
        self.powered = False
        self._selected = None
        for applet in self._applets:
            applet.power_off()
        self._channel.reset()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU now: what takes a touch is refused unless the key is being touched."""
        return self._channel.transmit(apdu)

    def begin(self, apdu: bytes) -> bytes | None:
        """Answer one command APDU, or None: then `poll` until the answer is there, or power off."""
        return self._channel.begin(apdu)

    def poll(self) -> bytes | None:
        """The answer that `begin` did not give, or None as long as it is under way."""
        return self._channel.poll()

    def drop(self) -> None:
        """Forget what is under way: nobody waits for its answer. What was proved stays proved."""
        self._channel.reset()

    def _handle(self, command: Command) -> Response | Pending:
        if command.ins == piv.INS_SELECT and command.p1 == _BY_NAME:
            found = next((a for a in self._applets if a.answers_to(command.data)), None)
            if found is None:
                return Response(b"", Status.NOT_FOUND)
            if found is not self._selected and self._selected is not None:
                self._selected.deselect()
            self._selected = found
        if self._selected is None:
            return Response(b"", Status.CONDITIONS_NOT_SATISFIED)
        return self._selected.handle(command)

"""The card inside the emulated reader: an answer to reset, and APDUs in and out.

Promises: `transmit` answers any bytes with an APDU response; power-off forgets all security state. What the applets do is
in their own modules.
"""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Final

from keypeg_bridge.emulator.piv_applet import PivApplet
from keypeg_bridge.wire.conversation import CardChannel

_HISTORICAL: Final = b"keypeg"
_ATR_BODY: Final = bytes((0x80 | len(_HISTORICAL), 0x80, 0x01)) + _HISTORICAL
# T=1 (TD1, TD2), the historical bytes, and the check byte that T=1 asks for (ISO 7816-3 section 8).
ATR: Final = b"\x3b" + _ATR_BODY + bytes((reduce(xor, _ATR_BODY),))


class Card:
    """One card with one PIV applet."""

    def __init__(self, applet: PivApplet) -> None:
        self._applet = applet
        self._channel = CardChannel(applet.handle)
        self.powered = False

    def power_on(self) -> bytes:
        """Reset the card; its ATR."""
        self.power_off()
        self.powered = True
        return ATR

    def power_off(self) -> None:
        """Cut the power; safe to repeat."""
        self.powered = False
        self._applet.power_off()
        self._channel.reset()

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU."""
        return self._channel.transmit(apdu)

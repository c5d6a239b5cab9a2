"""Keys for tests of drivers: an emulated card fed directly, in this process, with no USB in between."""

from __future__ import annotations

from keypeg_bridge.emulator.card import Card
from keypeg_bridge.emulator.piv_applet import PROFILES, PivApplet
from keypeg_bridge.emulator.state import KeyState, new_key
from keypeg_bridge.transport.errors import DeviceGone
from keypeg_bridge.transport.ports import CardPipe, OnGone


class DirectPipe:
    """A pipe straight into a card; ends when the key is unplugged."""

    def __init__(self, card: Card, on_gone: OnGone | None) -> None:
        self._card = card
        self._on_gone = on_gone
        self._closed = False
        self.gone = False
        card.power_on()

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        if self.gone or self._closed:
            raise DeviceGone("The device was unplugged.")
        return self._card.transmit(apdu)

    def pull(self) -> None:
        """The key was unplugged."""
        if not (self.gone or self._closed):
            self.gone = True
            if self._on_gone is not None:
                self._on_gone()

    def close(self) -> None:
        self._closed = True


class DirectKey:
    """An emulated key without its USB side; its state stays over unplugging."""

    def __init__(self, profile: str = "token", seed: str = "a test") -> None:
        chosen = PROFILES[profile]
        self.saved: list[KeyState] = []
        state = new_key(seed, management_algorithm=chosen.management_algorithm)
        self.applet = PivApplet(state, chosen, self.saved.append)
        self.card = Card(self.applet)
        self._pipe: DirectPipe | None = None
        self._plugged = True

    def pipe(self, on_gone: OnGone | None = None) -> CardPipe:
        """Open the key."""
        if not self._plugged:
            raise DeviceGone("There is no such device.")
        self._pipe = DirectPipe(self.card, on_gone)
        return self._pipe

    def unplug(self) -> None:
        """Pull it."""
        self._plugged = False
        self.card.power_off()
        if self._pipe is not None:
            self._pipe.pull()

    def plug(self) -> None:
        """Put it back."""
        self._plugged = True

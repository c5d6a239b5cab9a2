"""Keys for tests of drivers: an emulated card fed directly, in this process, with no USB in between."""

from __future__ import annotations

from typing import Final

from keypeg_bridge.emulator.card import Card
from keypeg_bridge.emulator.piv.applet import PivApplet
from keypeg_bridge.emulator.piv.session import PROFILES, Profile
from keypeg_bridge.emulator.piv.state import PivState
from keypeg_bridge.emulator.state import new_key
from keypeg_bridge.transport.errors import DeviceGone
from keypeg_bridge.transport.ports import CardPipe, OnGone
from keypeg_bridge.wire import piv

# Cards that do one kind of key only, and have their management key in another algorithm.
CARDS: Final = PROFILES | {
    name: Profile(name, True, management, 3_052, 80_000, algorithms=frozenset({algorithm}))
    for name, management, algorithm in (
        ("p384", 0x08, piv.ALGORITHM_P384),
        ("ed25519", 0x03, piv.ALGORITHM_ED25519),
        ("rsa", 0x0A, piv.ALGORITHM_RSA2048),
    )
}


class DirectPipe:
    """A pipe straight into a card; ends when the key is unplugged."""

    def __init__(self, card: Card, on_gone: OnGone | None, extended: bool = False) -> None:
        self._card = card
        self._on_gone = on_gone
        self._closed = False
        self.gone = False
        self.extended = extended
        card.power_on()

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        if self.gone or self._closed:
            raise DeviceGone("The device was unplugged.")
        answer = self._card.transmit(apdu)
        if self.gone:  # meanwhile: what it said, if anything, did not arrive
            raise DeviceGone("The device was unplugged.")
        return answer

    def restart(self) -> None:
        if self.gone or self._closed:
            raise DeviceGone("The device was unplugged.")
        self._card.power_on()

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

    def __init__(self, profile: str | Profile = "token", seed: str = "a test") -> None:
        chosen = CARDS[profile] if isinstance(profile, str) else profile
        self.saved: list[PivState] = []
        state = new_key(seed, management_algorithm=chosen.management_algorithm)
        self.serial = state.serial
        self.applet = PivApplet(
            state.piv, chosen, self.saved.append, seed=state.seed, serial=state.serial
        )
        self.card = Card(self.applet)
        self._pipe: DirectPipe | None = None
        self._plugged = True

    def pipe(self, on_gone: OnGone | None = None, *, extended: bool = False) -> CardPipe:
        """Open the key, as behind a reader that takes extended APDUs or one that does not."""
        if not self._plugged:
            raise DeviceGone("There is no such device.")
        self._pipe = DirectPipe(self.card, on_gone, extended)
        return self._pipe

    def unplug(self) -> None:
        """Pull it."""
        self._plugged = False
        if self._pipe is not None:
            self._pipe.pull()
        self.card.power_off()

    def plug(self) -> None:
        """Put it back."""
        self._plugged = True

"""Smartkeys for tests of drivers: the applet fed directly, in this process, with no USB and no other applet around it."""

from __future__ import annotations

from collections.abc import Callable

from keypeg_bridge.emulator import smartkey_state
from keypeg_bridge.emulator.smartkey_applet import SmartkeyApplet
from keypeg_bridge.emulator.smartkey_state import SmartkeyState
from keypeg_bridge.keys.smartkey import SmartkeyDriver
from keypeg_bridge.keys.smartkey_counters import SmartkeyCounters
from keypeg_bridge.transport.errors import DeviceGone
from keypeg_bridge.transport.ports import OnGone
from keypeg_bridge.wire.conversation import CardChannel

Harm = Callable[[bytes], bytes]


class DirectPipe:
    """A pipe straight into the applet; ends when the key is unplugged."""

    extended = False

    def __init__(self, key: DirectSmartkey, on_gone: OnGone | None) -> None:
        self._key = key
        self._on_gone = on_gone
        self._closed = False
        self.gone = False

    def exchange(self, apdu: bytes, timeout: float) -> bytes:
        if self.gone or self._closed:
            raise DeviceGone("The device was unplugged.")
        self._key.sent.append(apdu)
        answer = self._key.harm(self._key.channel.transmit(apdu))
        if self.gone:  # meanwhile: what it said, if anything, did not arrive
            raise DeviceGone("The device was unplugged.")
        return answer

    def restart(self) -> None:
        self._key.power()

    def pull(self) -> None:
        """The key was unplugged."""
        if not (self.gone or self._closed):
            self.gone = True
            if self._on_gone is not None:
                self._on_gone()

    def close(self) -> None:
        self._closed = True


class DirectSmartkey:
    """A smartkey without its USB side; its contents stay over unplugging, and `harm` may change its answers."""

    def __init__(self, seed: str = "a test", counters: SmartkeyCounters | None = None) -> None:
        self.saved: list[SmartkeyState] = []
        self.sent: list[bytes] = []
        self.harm: Harm = lambda answer: answer
        self.counters = counters or SmartkeyCounters()
        self.applet = SmartkeyApplet(seed, smartkey_state.fresh(seed), self.saved.append)
        self.channel = CardChannel(self.applet.handle)
        self._pipe: DirectPipe | None = None
        self._plugged = True

    def open(self, on_gone: OnGone | None = None) -> SmartkeyDriver:
        """Power the key anew, and give it to its driver."""
        return SmartkeyDriver(self.pipe(on_gone), self.counters)

    def pipe(self, on_gone: OnGone | None = None) -> DirectPipe:
        """Power the key anew."""
        if not self._plugged:
            raise DeviceGone("There is no such device.")
        self.power()
        self._pipe = DirectPipe(self, on_gone)
        return self._pipe

    def power(self) -> None:
        """As after a reset."""
        self.applet.power_off()
        self.channel.reset()

    def unplug(self) -> None:
        """Pull it."""
        self._plugged = False
        if self._pipe is not None:
            self._pipe.pull()
        self.applet.power_off()

    def plug(self) -> None:
        """Put it back."""
        self._plugged = True

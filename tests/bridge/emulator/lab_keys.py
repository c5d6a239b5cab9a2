"""Emulated keys of a laboratory without a process: on a bus that nobody serves, with a clock that stands still."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keypeg.testing import FakeClock
from keypeg_bridge.emulator.emulated_key import EmulatedKey, Make
from keypeg_bridge.emulator.faults import Fault
from keypeg_bridge.emulator.faults_board import Active, Board
from keypeg_bridge.emulator.faults_runner import Runner
from keypeg_bridge.emulator.faults_script import Script
from keypeg_bridge.emulator.key_set import KeySet
from keypeg_bridge.emulator.key_specs import same
from keypeg_bridge.emulator.usbip_bus import Bus
from keypeg_bridge.wire import ctaphid, piv, tlv


class KeyLaboratory:
    """Some keys, plugged in, and the board of their faults."""

    def __init__(self, folder: Path, count: int = 1, *, seed: str = "s", **make: Any) -> None:
        self.clock = FakeClock()
        self.bus = Bus()
        self.keys = KeySet(folder / "key.json", self.bus, self.clock.monotonic)
        self.keys.load(same(count, seed, Make(**make), plugged=True))
        self.board = Board(self.keys, self.clock.monotonic, self.clock.at, seed)
        self.runner = Runner(self.board, self.clock.monotonic, self.clock.at)

    def key(self, name: str | None = None) -> EmulatedKey:
        return self.keys.find(name)

    def inject(self, kind: str, key: str | None = None, **values: Any) -> Active:
        named = {} if key is None else {"key": key}
        return self.board.inject(Fault.read({"fault": kind, **named, **values}))

    def run(self, script: dict[str, Any], seed: str) -> None:
        self.runner.start(Script.read(script), seed)

    def did(self) -> list[tuple[float, str, str, str]]:
        """The history: when, what, which fault, which key."""
        return [(one["at"], one["did"], one["fault"], one["key"]) for one in self.board.history]

    def close(self) -> None:
        self.keys.close()


def select(key: EmulatedKey) -> None:
    """Power the card and select its PIV applet."""
    key.card.power_on()
    assert key.card.transmit(bytes.fromhex("00a404000b") + piv.AID)[-2:] == b"\x90\x00"


def verify_pin(key: EmulatedKey, pin: bytes = b"123456\xff\xff") -> int:
    """VERIFY; its status word."""
    select(key)
    return int.from_bytes(key.card.transmit(bytes.fromhex("0020008008") + pin)[-2:], "big")


def put_object(key: EmulatedKey, tag: int, content: bytes) -> int:
    """PUT DATA, as the holder of the management key; the status word."""
    select(key)
    key.piv.session.managed = True
    data = piv.object_path(tag) + tlv.encode(piv.TAG_OBJECT, content)
    apdu = bytes.fromhex("00db3fff00") + len(data).to_bytes(2, "big") + data
    return int.from_bytes(key.card.transmit(apdu)[-2:], "big")


def fido_packets(size: int, channel: int = 1) -> list[bytes]:
    """An answer of the security key of `size` bytes, as packets."""
    return ctaphid.fragment(channel, ctaphid.Command.CBOR, bytes(range(1, 200))[:size])

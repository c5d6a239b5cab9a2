"""Keys, ways to keys and time that tests have in their hands. They keep the rack's ports, and answer as real ones do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from keypeg.errors import KeyAuthorizationFailed, KeyFaulty, KeyNotEnrolled, KeyUnplugged
from keypeg.v1 import document_pb2
from keypeg_bridge.rack.contents import stored_delegation
from keypeg_bridge.rack.index import Index, encode_index
from keypeg_bridge.rack.ports import Capabilities, Identity, Look, Seen, SlotMalformed
from keypeg_bridge.rack.rack import Rack
from keypeg_bridge.rack.shelf import KeyChange
from tests.bridge.publisher import Publisher

RESPONSE = b"right-response!!"
CHALLENGE = b"a-key's-question"


class FakeTimer:
    def __init__(self, due: float, callback: Callable[[], object]) -> None:
        self.due = due
        self.callback = callback
        self.canceled = False

    def cancel(self) -> None:
        self.canceled = True


class FakeTime:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.date = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.timers: list[FakeTimer] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return self.date

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(self.now + delay, callback)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        while due := [one for one in self.timers if not one.canceled and one.due <= end]:
            first = min(due, key=lambda one: one.due)
            self.timers.remove(first)
            self.now = max(self.now, first.due)
            first.callback()
        self.now = end
        self.date += timedelta(seconds=seconds)


class FakeKey:
    """A key with a private key of its own, nineteen slots, and faults on command."""

    def __init__(self, number: int = 1, *, enrolled: bool = True, card_id: bool = True) -> None:
        self.card_id: bytes | None = bytes([number]) * 16 if card_id else None
        self.serial = f"{number:010d}"
        self.private = ec.generate_private_key(ec.SECP256R1()) if enrolled else None
        self.slots: dict[int, bytes] = {}
        self.malformed: set[int] = set()
        self.slot_count = 19
        self.forgetful = False
        self.managed = False
        self.factory = True
        self.fault: Exception | None = None
        self.stall: threading.Event | None = None
        self.stalled = threading.Event()
        self.proofs: list[bytes] = []
        self.suspicions: tuple[str, ...] = ()
        self.events: list[str] = []

    @property
    def point(self) -> bytes:
        assert self.private is not None
        return self.private.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def carry(
        self, publisher: Publisher, product: str = "synth", slot: int = 1, **kwargs: object
    ) -> None:
        """Put a license for this key into a slot, with its delegation."""
        envelope = publisher.license(self.point, product, str(slot), **kwargs)  # type: ignore[arg-type]
        self.slots[slot] = envelope.SerializeToString()
        self.slots[0] = encode_index(Index((stored_delegation(publisher.delegation()),)))

    def carry_all(
        self,
        publisher: Publisher,
        version: int,
        *licenses: document_pb2.Envelope,
        named: tuple[document_pb2.Envelope, ...] | None = None,
    ) -> None:
        """Put licenses into the slots, with contents that name them, or others."""
        contents = publisher.contents(self.point, version, *(licenses if named is None else named))
        index = Index().having(stored_delegation(publisher.delegation()), contents)
        self.slots = {0: encode_index(index)}
        for slot, envelope in enumerate(licenses, 1):
            self.slots[slot] = envelope.SerializeToString()

    def _answer(self) -> None:
        if self.stall is not None:
            self.stalled.set()
            self.stall.wait(20)
        if self.fault is not None:
            raise self.fault

    def identity(self) -> Identity:
        self._answer()
        return Identity(
            driver="piv",
            model="fake key",
            serial=self.serial,
            emulated=True,
            card_id=self.card_id,
            public_key=self.point if self.private else None,
            factory_key=self.factory,
        )

    def probe(self) -> Capabilities:
        self._answer()
        return Capabilities(True, False, self.slot_count, 0, "aes192")

    def signals(self) -> tuple[str, ...]:
        return self.suspicions

    def prove(self, challenge: bytes) -> bytes:
        self._answer()
        if self.private is None:
            raise KeyNotEnrolled("not enrolled")
        self.proofs.append(challenge)
        return self.private.sign(challenge, ec.ECDSA(Prehashed(hashes.SHA256())))

    def read(self, slot: int) -> bytes | None:
        self._answer()
        if slot in self.malformed:
            raise SlotMalformed(f"slot {slot} cannot be read")
        return self.slots.get(slot)

    def write(self, slot: int, data: bytes) -> None:
        self._answer()
        if not self.managed:
            raise KeyAuthorizationFailed("no authorization")
        self.slots[slot] = data[:-1] if self.forgetful else data

    def give_card_id(self) -> None:
        self._answer()
        self.card_id = b"\x77" * 16

    def begin_authorization(self) -> bytes:
        self._answer()
        self.events.append("begin")
        return CHALLENGE

    def finish_authorization(self, response: bytes) -> None:
        self._answer()
        self.managed = response == RESPONSE
        self.events.append("finish")
        if not self.managed:
            raise KeyAuthorizationFailed("wrong response")

    def end_authorization(self) -> None:
        self._answer()
        self.managed = False
        self.events.append("end")

    def set_management_key(self, algorithm: str, key: bytes) -> None:
        self._answer()
        if not self.managed:
            raise KeyAuthorizationFailed("no authorization")
        self.factory = False
        self.events.append(f"set {algorithm} {len(key)}")

    def generate_identity_key(self) -> bytes:
        self._answer()
        if not self.managed:
            raise KeyAuthorizationFailed("no authorization")
        self.private = ec.generate_private_key(ec.SECP256R1())
        return self.point

    def close(self) -> None:
        self.managed = False
        self.events.append("close")


class FakeSource:
    """A bus with keys in it."""

    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.plugged: dict[str, FakeKey] = {}
        self.notices = None
        self.seen: dict[str, Seen] = {}
        """What is shown of a key, where a test says so."""
        self.problem: Exception | None = None
        self.partial: tuple[str, ...] = ()
        self._gone: dict[str, Callable[[], None]] = {}
        self._count = 0
        self.looks = self.asked = 0

    def plug(self, key: FakeKey) -> str:
        """Put a key in; as on a real bus it gets a new place each time."""
        self._count += 1
        place = f"{self.name}-{self._count}"
        self.plugged[place] = key
        return place

    def pull(self, place: str, *, silently: bool = False) -> None:
        """Take it out; the one who holds it hears so, if the bus can tell."""
        key = self.plugged.pop(place)
        gone = self._gone.pop(place, None)
        key.fault = KeyUnplugged("gone")
        if key.stall is not None:
            key.stall.set()
        if gone is not None and not silently:
            gone()

    def look(self) -> Look:
        self.looks += 1
        if self.problem is not None:
            raise self.problem
        return Look(
            [self.seen.get(one) or Seen(one, ("piv",)) for one in self.plugged], self.partial
        )

    def open(self, bus_id: str, side: str, gone: Callable[[], None]) -> FakeKey:
        key = self.plugged.get(bus_id)
        if key is None:
            raise KeyUnplugged("gone")
        if isinstance(key.fault, KeyUnplugged):
            key.fault = None
        self._gone[bus_id] = gone
        key.events.append("open")
        return key


class Watch:
    """What a rack announces, in order; waits for what has not come yet."""

    def __init__(self, rack: Rack) -> None:
        self.changes: list[KeyChange] = []
        self._position = 0
        self._new = asyncio.Event()
        rack.listen(self._heard)

    def _heard(self, change: KeyChange) -> None:
        self.changes.append(change)
        self._new.set()

    async def next(self, wanted: Callable[[KeyChange], bool]) -> KeyChange:
        """The next change that fits; those before it are passed over."""
        async with asyncio.timeout(10):
            while True:
                while self._position < len(self.changes):
                    self._position += 1
                    change = self.changes[self._position - 1]
                    if wanted(change):
                        return change
                self._new.clear()
                await self._new.wait()


def faulty(sentence: str = "It answers nonsense.") -> KeyFaulty:
    return KeyFaulty(sentence, detail=sentence)

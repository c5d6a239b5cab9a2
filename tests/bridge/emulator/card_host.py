"""A host for tests of the emulated card: commands by instruction, a finger, and time in its hands."""

from __future__ import annotations

from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg_bridge.emulator.card import Card
from keypeg_bridge.emulator.piv.applet import PivApplet
from keypeg_bridge.emulator.piv.session import Profile
from keypeg_bridge.emulator.piv.state import PivState
from keypeg_bridge.emulator.state import new_key
from keypeg_bridge.emulator.touch import Finger, TouchPolicy
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Response, Status
from keypeg_bridge.wire.conversation import converse
from tests.bridge.cards import CARDS

PIN = b"123456\xff\xff"
WRONG = b"000000\xff\xff"
PUK = b"12345678"


class CardHost:
    """One card, selected."""

    def __init__(
        self, profile: str | Profile = "token", touch: TouchPolicy = TouchPolicy.ALWAYS
    ) -> None:
        self.profile = CARDS[profile] if isinstance(profile, str) else profile
        self.now = 100.0
        self.saved: list[PivState] = []
        self.finger = Finger(touch, lambda: self.now)
        made = new_key("a test", management_algorithm=self.profile.management_algorithm)
        self.serial = made.serial
        self.applet = PivApplet(
            made.piv,
            self.profile,
            self.saved.append,
            seed=made.seed,
            serial=made.serial,
            finger=self.finger,
            now=lambda: self.now,
        )
        self.card = Card(self.applet)
        self.card.power_on()
        self.select()

    @property
    def state(self) -> PivState:
        return self.applet.state

    def select(self, name: bytes = piv.AID) -> Response:
        return self.send(piv.INS_SELECT, 4, 0, name)

    def send(self, ins: int, p1: int = 0, p2: int = 0, data: bytes = b"", cla: int = 0) -> Response:
        """One command with its whole answer."""
        conversation = converse(Command(cla, ins, p1, p2, data, 256))
        try:
            apdu = next(conversation)
            while True:
                apdu = conversation.send(self.card.transmit(apdu))
        except StopIteration as finished:
            response: Response = finished.value
            return response

    def status(
        self, ins: int, p1: int = 0, p2: int = 0, data: bytes = b"", cla: int = 0
    ) -> Status | int:
        """Its status word alone."""
        return self.send(ins, p1, p2, data, cla).status

    def verify(self, pin: bytes = PIN) -> int:
        return self.status(piv.INS_VERIFY, 0, 0x80, pin)

    def manage(self, key: bytes = DEFAULT_MANAGEMENT_KEY) -> int:
        """Prove the management key."""
        algorithm = ManagementAlgorithm(self.state.management_algorithm)
        asked = self.send(0x87, algorithm, 0x9B, bytes.fromhex("7c028100"))
        challenge = tlv.find(tlv.unwrap(asked.data, 0x7C), 0x81) or b""
        answer = respond(algorithm, key[: algorithm.key_bytes], challenge)
        return self.status(0x87, algorithm, 0x9B, tlv.encode(0x7C, tlv.encode(0x82, answer)))

    def generate(
        self, slot: int, algorithm: int, pin: int | None = None, touch: int | None = None
    ) -> dict[int, bytes]:
        """A new key; the elements of its public half."""
        template = tlv.encode(0x80, bytes((algorithm,)))
        template += b"" if pin is None else tlv.encode(0xAA, bytes((pin,)))
        template += b"" if touch is None else tlv.encode(0xAB, bytes((touch,)))
        made = self.send(piv.INS_GENERATE, 0, slot, tlv.encode(0xAC, template))
        assert made.status == Status.OK
        return {e.tag: e.value for e in tlv.parse(tlv.unwrap(made.data, 0x7F49))}

    def use(self, slot: int, algorithm: int, data: bytes, tag: int = 0x81) -> Response:
        """GENERAL AUTHENTICATE with a private key."""
        fields = tlv.encode(0x82, b"") + tlv.encode(tag, data)
        return self.send(0x87, algorithm, slot, tlv.encode(0x7C, fields))

    def used(self, slot: int, algorithm: int, data: bytes, tag: int = 0x81) -> bytes:
        """The same, and the result."""
        response = self.use(slot, algorithm, data, tag)
        assert response.status == Status.OK
        return tlv.find(tlv.unwrap(response.data, 0x7C), 0x82) or b""

    def put(self, tag: int, content: bytes) -> int:
        data = piv.object_path(tag) + tlv.encode(0x53, content)
        return self.status(piv.INS_PUT_DATA, 0x3F, 0xFF, data)

    def get(self, tag: int) -> Response:
        return self.send(piv.INS_GET_DATA, 0x3F, 0xFF, piv.object_path(tag))

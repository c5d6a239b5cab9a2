"""An authenticator for tests, fed directly: no USB, no process, a clock that stands until it is moved."""

from __future__ import annotations

import errno
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from keypeg_bridge.emulator.fido.core import PROFILES, Core
from keypeg_bridge.emulator.fido.credential import cose_point
from keypeg_bridge.emulator.fido.hid import FidoHid
from keypeg_bridge.emulator.fido.pin_protocol import ProtocolOne, ProtocolTwo
from keypeg_bridge.emulator.fido.state import FidoState
from keypeg_bridge.emulator.touch import Finger, TouchPolicy
from keypeg_bridge.wire import cbor, ctap
from keypeg_bridge.wire.ctap import Status
from keypeg_bridge.wire.ctaphid import Command
from keypeg_bridge.wire.ctaphid_host import Answer, Failed, HostEvent, HostLink, Keepalive

RP: Final = "keypeg.test"
HASH: Final = hashlib.sha256(b"client data").digest()
ES256: Final = {"type": "public-key", "alg": ctap.ES256}


class Key:
    """One authenticator behind its HID interface, and the host's end of one channel."""

    def __init__(
        self,
        touch: TouchPolicy = TouchPolicy.ALWAYS,
        profile: str = "token",
        state: FidoState | None = None,
        seed: str = "a test",
    ) -> None:
        self.now = 1_000.0
        self.saved: list[FidoState] = []
        self.disk_full = False
        self._random = 0
        self.core = Core(
            seed, state or FidoState(), PROFILES[profile], self._save, lambda: self.now, self._bytes
        )
        self.hid = FidoHid(self.core, Finger(touch, lambda: self.now))
        self.link = self.open()

    def _save(self, state: FidoState) -> None:
        if self.disk_full:
            raise OSError(errno.ENOSPC, "no space left")
        self.saved.append(state)

    def _bytes(self, size: int) -> bytes:
        self._random += 1
        return hashlib.shake_128(str(self._random).encode()).digest(size)

    def open(self) -> HostLink:
        """A channel."""
        link = HostLink()
        answers = list(self.exchange(link.open(bytes(8)), link))
        assert isinstance(answers[-1], Answer)
        return link

    def replug(self) -> None:
        """Pull the key and put it in."""
        self.hid.power_up()
        self.link = self.open()

    def exchange(self, packets: list[bytes], link: HostLink | None = None) -> Iterator[HostEvent]:
        """Write packets; what comes back at once."""
        for packet in packets:
            self.hid.receive(packet)
        yield from self.read(link)

    def read(self, link: HostLink | None = None) -> Iterator[HostEvent]:
        """What the key has to say."""
        while (report := self.hid.take()) is not None:
            event = (link or self.link).receive(report)
            if event is not None:
                yield event

    def raw(self, request: bytes) -> bytes:
        """The answer to a CBOR request that ends at once."""
        *_, last = self.exchange(self.link.request(Command.CBOR, request))
        assert isinstance(last, Answer), last
        return last.payload

    def call(self, command: int, parameters: dict[Any, Any] | None = None) -> tuple[Status, Any]:
        """Status and body."""
        body = b"" if parameters is None else cbor.encode(parameters)
        answer = self.raw(bytes((command,)) + body)
        return Status(answer[0]), cbor.decode(answer[1:]) if len(answer) > 1 else None

    def start(self, command: int, parameters: dict[Any, Any] | None = None) -> list[HostEvent]:
        """Send a request that may wait; what comes back at once."""
        body = b"" if parameters is None else cbor.encode(parameters)
        packets = self.link.request(Command.CBOR, bytes((command,)) + body)
        return list(self.exchange(packets))

    def wait(self, seconds: float) -> list[HostEvent]:
        """Let time go by, with all that is due in it."""
        end, events = self.now + seconds, list(self.read())
        while (due := self.hid.deadline) is not None and due <= end:
            self.now = max(self.now, due)
            self.hid.poll()
            events += self.read()
        self.now = end
        return events

    # What platforms do with a PIN

    def platform(self, version: int = 2) -> Platform:
        """A platform that agreed on a secret with this key."""
        return Platform(self, version)

    def set_pin(self, pin: str = "1234", version: int = 2) -> Status:
        """Give the key its PIN."""
        platform = self.platform(version)
        cipher = platform.encrypt(pin.encode().ljust(64, b"\x00"))
        return self.call(
            6, {1: version, 2: 3, 3: platform.public, 4: platform.mac(cipher), 5: cipher}
        )[0]

    def token(self, permissions: int, rp: str | None = None, pin: str = "1234") -> Platform:
        """A platform that holds a token."""
        platform = self.platform()
        status, body = platform.ask_token(pin, permissions, rp)
        assert status is Status.OK, status
        platform.take_token(body)
        return platform


class Platform:
    """The other end of a PIN protocol, by the formulas of the specification."""

    def __init__(self, key: Key, version: int) -> None:
        self.key, self.version = key, version
        status, body = key.call(6, {1: version, 2: 2})
        assert status is Status.OK
        mine = ec.generate_private_key(ec.SECP256R1())
        self.public = cose_point(mine.public_key(), ctap.ECDH_ES_HKDF_256)
        point = b"\x04" + body[1][-2] + body[1][-3]
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        self._protocol = ProtocolOne() if version == 1 else ProtocolTwo(lambda n: bytes(range(n)))
        self.secret = self._protocol.derive(mine.exchange(ec.ECDH(), peer))
        self.value = b""

    def encrypt(self, plain: bytes) -> bytes:
        return self._protocol.encrypt(self.secret, plain)

    def decrypt(self, cipher: bytes) -> bytes | None:
        return self._protocol.decrypt(self.secret, cipher)

    def mac(self, message: bytes, key: bytes | None = None) -> bytes:
        """Under the shared secret, or another key."""
        whole = hmac.digest((key or self.secret)[:32], message, "sha256")
        return whole[:16] if self.version == 1 else whole

    def sign(self, message: bytes) -> bytes:
        """Under the token."""
        return self.mac(message, self.value)

    def ask_token(
        self, pin: str, permissions: int | None = None, rp: str | None = None
    ) -> tuple[Status, Any]:
        """The token's request with this PIN."""
        cipher = self.encrypt(hashlib.sha256(pin.encode()).digest()[:16])
        request = {1: self.version, 2: 5 if permissions is None else 9, 3: self.public, 6: cipher}
        request |= {} if permissions is None else {9: permissions}
        return self.key.call(6, request | ({} if rp is None else {10: rp}))

    def take_token(self, body: dict[int, bytes]) -> None:
        self.value = self.decrypt(body[2]) or b""


def making(**changes: Any) -> dict[int, Any]:
    """Parameters of makeCredential; `p7={...}` sets the seventh, `p1=None` leaves the first out."""
    parameters: dict[int, Any] = {
        1: HASH,
        2: {"id": RP, "name": "keypeg"},
        3: {"id": b"user", "name": "ann", "displayName": "Ann"},
        4: [ES256],
    }
    return changed(parameters, changes)


def asserting(**changes: Any) -> dict[int, Any]:
    """Parameters of getAssertion, changed as `making` changes them."""
    return changed({1: RP, 2: HASH}, changes)


def changed(parameters: dict[int, Any], changes: dict[str, Any]) -> dict[int, Any]:
    for name, value in changes.items():
        parameters[int(name[1:])] = value
    return {key: value for key, value in parameters.items() if value is not None}


def credential_id(body: dict[int, Any]) -> bytes:
    """The id in the authenticator data of makeCredential."""
    data: bytes = body[2]
    size = int.from_bytes(data[53:55], "big")
    return data[55 : 55 + size]


def counter(data: bytes) -> int:
    """The signature counter in authenticator data."""
    return int.from_bytes(data[33:37], "big")


def keepalives(events: list[HostEvent]) -> list[int]:
    """The statuses of the keepalives among events."""
    return [event.status for event in events if isinstance(event, Keepalive)]


def ends(events: list[HostEvent]) -> list[Answer | Failed]:
    """What ended requests among events."""
    return [event for event in events if not isinstance(event, Keepalive)]

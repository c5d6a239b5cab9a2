"""The PIV applet of an emulated key (NIST SP 800-73-4 part 2, and the wide-spread vendor extensions F7, F8 and FF).

Promises: `handle` answers every command with a status word; a change is durable before it is answered; security state
ends with `power_off` and with a new SELECT. APDU chaining is done before a command gets here.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from keypeg_bridge.emulator import piv_crypto
from keypeg_bridge.emulator.state import DEFAULT_MANAGEMENT_KEY, PIN_TRIES, KeyState
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Response, Status
from keypeg_bridge.wire.errors import MalformedFrame

SIGNING_SLOTS: Final = frozenset({0x9A, 0x9C, 0x9D, 0x9E, *range(0x82, 0x96)})
SLOTS_WITHOUT_PIN: Final = frozenset({piv.SLOT_CARD_AUTHENTICATION})
P256_DIGEST_BYTES: Final = 32
_AID_LEAST: Final = 5  # bytes; a card answers to its RID and more, a careful host sends all


@dataclass(frozen=True, slots=True)
class Profile:
    """What kind of PIV card this is."""

    name: str
    vendor_commands: bool
    management_algorithm: int
    object_limit: int  # bytes of one object's content
    storage: int  # bytes of all objects' contents


PROFILES: Final = {
    p.name: p
    for p in (
        Profile("token", True, 0x0A, 3_052, 80_000),
        Profile("standard", False, 0x03, 3_052, 40_000),
    )
}


class Refused(Exception):
    """A command that is answered with a status word alone."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


class PivApplet:
    """One card's applet; `save` is called with the new contents before a change is answered."""

    def __init__(
        self,
        state: KeyState,
        profile: Profile,
        save: Callable[[KeyState], None],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.state = state
        self._profile = profile
        self._save = save
        self._random = random
        self._commands: dict[int, Callable[[Command], bytes]] = {
            piv.INS_VERIFY: self._verify,
            piv.INS_GENERATE: self._generate,
            piv.INS_AUTHENTICATE: self._authenticate,
            piv.INS_GET_DATA: self._get_data,
            piv.INS_PUT_DATA: self._put_data,
        }
        if profile.vendor_commands:
            self._commands |= {
                piv.INS_GET_METADATA: self._metadata,
                piv.INS_GET_SERIAL: self._serial,
                piv.INS_SET_MANAGEMENT_KEY: self._set_management_key,
            }
        self.power_off()

    def power_off(self) -> None:
        """Forget everything but the contents."""
        self._selected = False
        self._forget_security()

    def _forget_security(self) -> None:
        self._managed = False
        self._pin_verified = False
        self._challenge: bytes | None = None
        self._witness: bytes | None = None

    def handle(self, command: Command) -> Response:
        """Answer one whole command."""
        try:
            if command.cla != 0:
                raise Refused(Status.CLA_NOT_SUPPORTED)
            if command.ins == piv.INS_SELECT:
                return Response(self._select(command), Status.OK)
            if not self._selected:
                raise Refused(Status.CONDITIONS_NOT_SATISFIED)
            if command.ins not in self._commands:
                raise Refused(Status.INS_NOT_SUPPORTED)
            return Response(self._commands[command.ins](command), Status.OK)
        except Refused as refusal:
            return Response(b"", refusal.status)
        except MalformedFrame:
            return Response(b"", Status.WRONG_DATA)

    def _commit(self, state: KeyState) -> None:
        try:
            self._save(state)
        except OSError:
            raise Refused(Status.MEMORY_FAILURE) from None
        self.state = state

    def _select(self, command: Command) -> bytes:
        if command.p1 != 0x04:
            raise Refused(Status.WRONG_P1P2)
        if len(command.data) < _AID_LEAST or not piv.AID.startswith(command.data):
            raise Refused(Status.NOT_FOUND)
        self._forget_security()
        self._selected = True
        authority = tlv.encode(0x79, tlv.encode(0x4F, piv.AID[:5]))
        identifier = tlv.encode(0x4F, piv.AID[5:])
        label = tlv.encode(piv.TAG_LABEL, piv.EMULATED_LABEL)
        return tlv.encode(piv.TAG_APPLICATION, identifier + authority + label)

    def _get_data(self, command: Command) -> bytes:
        if (command.p1, command.p2) != (0x3F, 0xFF):
            raise Refused(Status.WRONG_P1P2)
        tag = int.from_bytes(tlv.unwrap(command.data, piv.TAG_OBJECT_ID), "big")
        if tag == piv.OBJECT_DISCOVERY:
            policy = tlv.encode(0x5F2F, b"\x40\x00")
            return tlv.encode(tag, tlv.encode(0x4F, piv.AID) + policy)
        if tag not in self.state.objects:
            raise Refused(Status.NOT_FOUND)
        return tlv.encode(piv.TAG_OBJECT, self.state.objects[tag])

    def _put_data(self, command: Command) -> bytes:
        if (command.p1, command.p2) != (0x3F, 0xFF):
            raise Refused(Status.WRONG_P1P2)
        self._need_management()
        path, *rest = tlv.parse(command.data)
        if path.tag != piv.TAG_OBJECT_ID or len(rest) != 1 or rest[0].tag != piv.TAG_OBJECT:
            raise Refused(Status.WRONG_DATA)
        tag, content = int.from_bytes(path.value, "big"), rest[0].value
        if len(path.value) != 3 or not 0x5FC101 <= tag <= 0x5FC123:
            raise Refused(Status.WRONG_DATA)
        others = sum(len(c) for t, c in self.state.objects.items() if t != tag)
        if (
            len(content) > self._profile.object_limit
            or others + len(content) > self._profile.storage
        ):
            raise Refused(Status.NO_SPACE)
        self._commit(self.state.with_object(tag, content))
        return b""

    def _generate(self, command: Command) -> bytes:
        self._need_management()
        if command.p1 != 0 or command.p2 not in SIGNING_SLOTS:
            raise Refused(Status.WRONG_P1P2)
        template = tlv.unwrap(command.data, piv.TAG_GENERATE)
        if tlv.find(template, piv.TAG_ALGORITHM) != bytes((piv.ALGORITHM_P256,)):
            raise Refused(Status.WRONG_DATA)
        vendor = (piv.TAG_PIN_POLICY, piv.TAG_TOUCH_POLICY)
        if not self._profile.vendor_commands and any(e.tag in vendor for e in tlv.parse(template)):
            raise Refused(Status.WRONG_DATA)
        pkcs8, point = piv_crypto.generate_p256()
        self._commit(self.state.with_private_key(command.p2, pkcs8))
        return tlv.encode(piv.TAG_PUBLIC_KEY, tlv.encode(piv.TAG_EC_POINT, point))

    def _authenticate(self, command: Command) -> bytes:
        fields = {e.tag: e.value for e in tlv.parse(tlv.unwrap(command.data, piv.TAG_DYNAMIC))}
        if command.p2 == piv.SLOT_MANAGEMENT:
            return self._authenticate_management(command.p1, fields)
        return self._sign(command.p1, command.p2, fields)

    def _sign(self, algorithm: int, slot: int, fields: dict[int, bytes]) -> bytes:
        if slot not in SIGNING_SLOTS:
            raise Refused(Status.WRONG_P1P2)
        if slot not in self.state.private_keys:
            raise Refused(Status.REFERENCE_NOT_FOUND)
        if algorithm != piv.ALGORITHM_P256:
            raise Refused(Status.WRONG_P1P2)
        digest = fields.get(piv.TAG_CHALLENGE)
        if digest is None or len(digest) != P256_DIGEST_BYTES or piv.TAG_RESPONSE not in fields:
            raise Refused(Status.WRONG_DATA)
        if slot not in SLOTS_WITHOUT_PIN and not self._pin_verified:
            raise Refused(Status.SECURITY_NOT_SATISFIED)
        signature = piv_crypto.sign_digest(self.state.private_keys[slot], digest)
        return tlv.encode(piv.TAG_DYNAMIC, tlv.encode(piv.TAG_RESPONSE, signature))

    def _authenticate_management(self, algorithm: int, fields: dict[int, bytes]) -> bytes:
        if algorithm != self.state.management_algorithm:
            raise Refused(Status.WRONG_P1P2)
        block = piv.MANAGEMENT_SIZES[algorithm][1]
        challenge, self._challenge = self._challenge, None
        witness, self._witness = self._witness, None
        match fields:
            case {piv.TAG_CHALLENGE: b"", **rest} if not rest:
                self._challenge = self._random(block)
                return self._dynamic(piv.TAG_CHALLENGE, self._challenge)
            case {piv.TAG_WITNESS: b"", **rest} if not rest:
                self._witness = self._random(block)
                return self._dynamic(piv.TAG_WITNESS, self._encrypt(self._witness))
            case {piv.TAG_RESPONSE: answer, **rest} if not rest:
                expected = None if challenge is None else self._encrypt(challenge)
                self._accept(answer, expected)
                return b""
            case {piv.TAG_WITNESS: answer, piv.TAG_CHALLENGE: asked}:
                self._accept(answer, witness)
                if len(asked) != block:
                    raise Refused(Status.WRONG_DATA)
                return self._dynamic(piv.TAG_RESPONSE, self._encrypt(asked))
        raise Refused(Status.WRONG_DATA)

    def _dynamic(self, tag: int, value: bytes) -> bytes:
        return tlv.encode(piv.TAG_DYNAMIC, tlv.encode(tag, value))

    def _encrypt(self, block: bytes) -> bytes:
        state = self.state
        return piv_crypto.encrypt_block(state.management_algorithm, state.management_key, block)

    def _accept(self, answer: bytes, expected: bytes | None) -> None:
        self._managed = False
        if expected is None or not hmac.compare_digest(answer, expected):
            raise Refused(Status.SECURITY_NOT_SATISFIED)
        self._managed = True

    def _need_management(self) -> None:
        if not self._managed:
            raise Refused(Status.SECURITY_NOT_SATISFIED)

    def _set_management_key(self, command: Command) -> bytes:
        self._need_management()
        if command.p1 != 0xFF or command.p2 != 0xFF:
            raise Refused(Status.WRONG_P1P2)
        if not command.data or command.data[0] not in piv.MANAGEMENT_SIZES:
            raise Refused(Status.WRONG_DATA)
        algorithm = command.data[0]
        key = tlv.unwrap(command.data[1:], piv.SLOT_MANAGEMENT)
        if len(key) != piv.MANAGEMENT_SIZES[algorithm][0]:
            raise Refused(Status.WRONG_DATA)
        self._commit(replace(self.state, management_algorithm=algorithm, management_key=key))
        return b""

    def _metadata(self, command: Command) -> bytes:
        state = self.state
        if command.p2 == piv.SLOT_MANAGEMENT:
            default = state.management_key == DEFAULT_MANAGEMENT_KEY[: len(state.management_key)]
            return (
                tlv.encode(piv.META_ALGORITHM, bytes((state.management_algorithm,)))
                + tlv.encode(piv.META_POLICY, b"\x00\x01")
                + tlv.encode(piv.META_DEFAULT, bytes((default,)))
            )
        if command.p2 not in state.private_keys:
            raise Refused(Status.REFERENCE_NOT_FOUND)
        pin_policy = 1 if command.p2 in SLOTS_WITHOUT_PIN else 2
        point = piv_crypto.public_point(state.private_keys[command.p2])
        return (
            tlv.encode(piv.META_ALGORITHM, bytes((piv.ALGORITHM_P256,)))
            + tlv.encode(piv.META_POLICY, bytes((pin_policy, 1)))
            + tlv.encode(piv.META_ORIGIN, b"\x01")
            + tlv.encode(piv.META_PUBLIC_KEY, tlv.encode(piv.TAG_EC_POINT, point))
        )

    def _serial(self, command: Command) -> bytes:
        return self.state.serial.to_bytes(4, "big")

    def _verify(self, command: Command) -> bytes:
        if command.p2 != piv.REFERENCE_PIN:
            raise Refused(Status.REFERENCE_NOT_FOUND)
        if command.p1 == 0xFF and not command.data:
            self._pin_verified = False
            return b""
        state = self.state
        if not command.data and self._pin_verified:
            return b""
        if state.pin_tries == 0:
            raise Refused(Status.AUTH_METHOD_BLOCKED)
        if not command.data:
            raise Refused(0x63C0 | state.pin_tries)
        # The try is spent on disk before the comparison, so that pulling the key wins nothing.
        self._commit(replace(state, pin_tries=state.pin_tries - 1))
        self._pin_verified = hmac.compare_digest(command.data, state.pin)
        if not self._pin_verified:
            left = self.state.pin_tries
            raise Refused(0x63C0 | left if left else Status.AUTH_METHOD_BLOCKED)
        self._commit(replace(self.state, pin_tries=PIN_TRIES))
        return b""

"""The PIV driver: off-the-shelf smart cards and tokens as keys (NIST SP 800-73-4; docs/protocols.md, "PIV").

Promises: the port in `driver.py`. What a card can do is asked, never read off its model, version or serial number. The
applet is selected once and again only to start over, as selecting it ends an authorization.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from keypeg.management import ManagementAlgorithm
from keypeg_bridge.keys import certificate
from keypeg_bridge.keys.card import GENERATE_SECONDS, CardSession
from keypeg_bridge.keys.driver import (
    CHALLENGE_BYTES,
    Capabilities,
    KeyIdentity,
    ManagementChallenge,
    Signature,
)
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    KeyDriverError,
    KeyMissing,
    MalformedReply,
    NotSupported,
    ObjectMissing,
    StorageFull,
)
from keypeg_bridge.transport.ports import CardPipe
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import MAX_SHORT_RESPONSE, Response, Status
from keypeg_bridge.wire.errors import MalformedFrame

T = TypeVar("T")

# The order in which algorithms are tried on a card that does not tell its own.
ALGORITHM_ORDER: Final = (
    ManagementAlgorithm.TRIPLE_DES,
    ManagementAlgorithm.AES_192,
    ManagementAlgorithm.AES_256,
    ManagementAlgorithm.AES_128,
)
_UNSUPPORTED: Final = frozenset(
    {
        Status.INS_NOT_SUPPORTED,
        Status.CLA_NOT_SUPPORTED,
        Status.FUNCTION_NOT_SUPPORTED,
        Status.WRONG_P1P2,
        Status.WRONG_P1P2_ALONE,
    }
)
# What a refusal of a change means; anything else is a plain KeyDriverError.
_WRITE_ERRORS: Final[dict[int, tuple[type[KeyDriverError], str]]] = {
    Status.SECURITY_NOT_SATISFIED: (AuthorizationFailed, "The key allows no change without authorization."),
    Status.NO_SPACE: (StorageFull, "The key has no room for this."),
    Status.WRONG_LENGTH: (StorageFull, "The key takes no object of this size."),
    Status.MEMORY_FAILURE: (StorageFull, "The key could not store this."),
    Status.NOT_FOUND: (ObjectMissing, "The key has no such object."),
    Status.REFERENCE_NOT_FOUND: (ObjectMissing, "The key has no such object."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What instruction F7 told about a slot."""

    algorithm: int | None
    policy: bytes
    is_default: bool | None
    point: bytes | None


class PivDriver:
    """One PIV card. `model` and `serial` are what the transport knows, for people to read."""

    def __init__(
        self,
        pipe: CardPipe,
        *,
        model: str = "PIV card",
        serial: str | None = None,
        emulated: bool = False,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._card = CardSession(pipe)
        self._model = model
        self._serial = serial
        self._random = random
        self._algorithm: ManagementAlgorithm | None = None
        self._public_key: bytes | None = None
        self._emulated = self._select() or emulated

    def _select(self) -> bool:
        """Select the applet by its full name; whether it is marked as emulated."""
        response = self._card.send(piv.INS_SELECT, 0x04, 0x00, piv.AID, ne=MAX_SHORT_RESPONSE)
        if not response.ok:
            raise NotSupported("The card has no PIV application.", status_word=response.status)
        try:
            template = tlv.find(response.data, piv.TAG_APPLICATION) or b""
            return tlv.find(template, piv.TAG_LABEL) == piv.EMULATED_LABEL
        except MalformedFrame:
            return False  # the applet is there; how it introduces itself is its own business

    # Asking

    def probe(self) -> Capabilities:
        """Ask the card what it can do; signs once when there is an identity key."""
        management = self._metadata(piv.SLOT_MANAGEMENT)
        missing: list[str] = []
        public_key = self._find_public_key()
        silent: bool | None = None
        if public_key is not None:
            silent = self._signs_silently()
            if not silent:
                missing.append("Its identity key wants a PIN or a touch for each signature.")
        algorithm = self._find_algorithm()
        if algorithm is None:
            missing.append("It has no management key of a known kind, so nothing can be written.")
        return Capabilities(
            driver="piv",
            enrolled=public_key is not None,
            silent=silent,
            slots=piv.CONTAINERS,
            slot_bytes=None,
            management_algorithm=algorithm,
            management_is_default=management.is_default if management else None,
            can_change_management_key=True if management else None,
            missing=tuple(missing),
        )

    def identity(self) -> KeyIdentity:
        """Public key, card id, and what is for people."""
        chuid = self._read_chuid()
        return KeyIdentity(
            public_key=self._find_public_key(),
            card_id=chuid.guid if chuid else None,
            serial=self._serial or self._card_serial(),
            model=self._model,
            emulated=self._emulated,
        )

    def _card_serial(self) -> str | None:
        response = self._card.send(piv.INS_GET_SERIAL, 0, 0, ne=MAX_SHORT_RESPONSE)
        if response.ok and len(response.data) == 4:
            return f"{int.from_bytes(response.data, 'big'):010d}"
        return None

    def _metadata(self, slot: int) -> _Metadata | None:
        response = self._card.send(piv.INS_GET_METADATA, 0, slot, ne=MAX_SHORT_RESPONSE)
        if not response.ok:
            return None
        fields = _read(lambda: {e.tag: e.value for e in tlv.parse(response.data)})
        algorithm = fields.get(piv.META_ALGORITHM, b"")
        default = fields.get(piv.META_DEFAULT)
        public = fields.get(piv.META_PUBLIC_KEY, b"")
        return _Metadata(
            algorithm=algorithm[0] if len(algorithm) == 1 else None,
            policy=fields.get(piv.META_POLICY, b""),
            is_default=None if default is None else default == b"\x01",
            point=_read(lambda: tlv.find(public, piv.TAG_EC_POINT)),
        )

    def _find_public_key(self) -> bytes | None:
        if self._public_key is None:
            metadata = self._metadata(piv.SLOT_CARD_AUTHENTICATION)
            if metadata is not None and certificate.is_p256_point(metadata.point or b""):
                self._public_key = metadata.point
            else:
                content = self._get(piv.OBJECT_CARD_AUTHENTICATION)
                stored = _read(lambda: tlv.find(content or b"", piv.CERTIFICATE_TAG))
                self._public_key = certificate.public_point_of(stored) if stored else None
        return self._public_key

    def _signs_silently(self) -> bool:
        try:
            self.prove(bytes(CHALLENGE_BYTES))
        except (NotSupported, KeyMissing):
            return False
        return True

    # Proving

    def prove(self, challenge: bytes) -> Signature:
        """Sign 32 bytes with slot 9E."""
        if len(challenge) != CHALLENGE_BYTES:
            raise ValueError(f"a challenge has {CHALLENGE_BYTES} bytes, not {len(challenge)}")
        fields = tlv.encode(piv.TAG_RESPONSE, b"") + tlv.encode(piv.TAG_CHALLENGE, challenge)
        response = self._authenticate(piv.ALGORITHM_P256, piv.SLOT_CARD_AUTHENTICATION, fields)
        match response.status:
            case Status.OK:
                return Signature(_dynamic(response, piv.TAG_RESPONSE))
            case Status.SECURITY_NOT_SATISFIED | Status.AUTH_METHOD_BLOCKED:
                raise NotSupported(
                    "The key wants a PIN or a touch before it signs.", status_word=response.status
                )
            case (
                Status.REFERENCE_NOT_FOUND
                | Status.NOT_FOUND
                | Status.WRONG_DATA
                | Status.WRONG_P1P2
                | Status.CONDITIONS_NOT_SATISFIED
            ):
                raise KeyMissing(
                    "The key has no identity key. Enrol it first.", status_word=response.status
                )
            case _:
                raise KeyDriverError("The key did not sign.", status_word=response.status)

    def _authenticate(self, algorithm: int, slot: int, fields: bytes) -> Response:
        data = tlv.encode(piv.TAG_DYNAMIC, fields)
        return self._card.send(piv.INS_AUTHENTICATE, algorithm, slot, data, ne=MAX_SHORT_RESPONSE)

    # Objects

    def read(self, slot: int) -> bytes | None:
        """The data in a container, or None when it is empty."""
        content = self._get(piv.container(slot))
        return _read(lambda: piv.unwrap_container(content or b""))

    def write(self, slot: int, data: bytes) -> None:
        """Replace a container's data, or empty it, and read it back."""
        self._put(piv.container(slot), piv.wrap_container(data) if data else b"")
        if (self.read(slot) or b"") != data:
            raise MalformedReply(f"Slot {slot} does not give back what was written to it.")

    def _get(self, tag: int) -> bytes | None:
        """An object's content; None when it is absent, empty bytes when it is empty."""
        response = self._card.send(
            piv.INS_GET_DATA, 0x3F, 0xFF, piv.object_path(tag), ne=MAX_SHORT_RESPONSE
        )
        if response.status in (Status.NOT_FOUND, Status.REFERENCE_NOT_FOUND):
            return None
        if response.status in (Status.SECURITY_NOT_SATISFIED, *_UNSUPPORTED):
            raise NotSupported(
                f"The key does not give out object {tag:X}.", status_word=response.status
            )
        if not response.ok:
            raise KeyDriverError(f"Object {tag:X} cannot be read.", status_word=response.status)
        return _read(lambda: tlv.unwrap(response.data, piv.TAG_OBJECT))

    def _put(self, tag: int, content: bytes) -> None:
        try:
            data = piv.object_path(tag) + tlv.encode(piv.TAG_OBJECT, content)
        except ValueError as error:
            raise StorageFull("The data is larger than any object of a key.") from error
        self._need(self._card.send(piv.INS_PUT_DATA, 0x3F, 0xFF, data))

    @staticmethod
    def _need(response: Response) -> None:
        """Turn a refused change into the error it means."""
        if response.ok:
            return
        if response.status in _WRITE_ERRORS:
            kind, text = _WRITE_ERRORS[response.status]
            raise kind(text, status_word=response.status)
        if response.status in _UNSUPPORTED:
            raise NotSupported("The key cannot do this.", status_word=response.status)
        raise KeyDriverError("The key refused the change.", status_word=response.status)

    # Authorization

    def begin_authorization(self) -> ManagementChallenge:
        """Ask for a challenge under the management key, with the algorithm that the card uses."""
        algorithm = self._find_algorithm()
        if algorithm is None:
            raise NotSupported("The key has no management key of a known kind.")
        challenge = self._ask_challenge(algorithm)
        if challenge is None:  # changed behind our back: find it again, once
            self._algorithm = None
            algorithm = self._find_algorithm()
            challenge = self._ask_challenge(algorithm) if algorithm else None
        if algorithm is None or challenge is None:
            raise NotSupported("The key gives no challenge for its management key.")
        return ManagementChallenge(algorithm, challenge)

    def _find_algorithm(self) -> ManagementAlgorithm | None:
        if self._algorithm is None:
            metadata = self._metadata(piv.SLOT_MANAGEMENT)
            if metadata is not None and metadata.algorithm in set(ManagementAlgorithm):
                self._algorithm = ManagementAlgorithm(metadata.algorithm)
            else:
                self._algorithm = next(
                    (a for a in ALGORITHM_ORDER if self._ask_challenge(a) is not None), None
                )
        return self._algorithm

    def _ask_challenge(self, algorithm: ManagementAlgorithm) -> bytes | None:
        request = tlv.encode(piv.TAG_CHALLENGE, b"")
        response = self._authenticate(algorithm, piv.SLOT_MANAGEMENT, request)
        if not response.ok:
            return None
        challenge = _dynamic(response, piv.TAG_CHALLENGE)
        if len(challenge) != algorithm.block_bytes:
            raise MalformedReply(f"The key's challenge has {len(challenge)} bytes.")
        return challenge

    def finish_authorization(self, response: bytes) -> None:
        """Give the answer to the challenge asked for last."""
        if self._algorithm is None:
            raise AuthorizationFailed("No challenge was asked for. Begin an authorization first.")
        answer = self._authenticate(
            self._algorithm, piv.SLOT_MANAGEMENT, tlv.encode(piv.TAG_RESPONSE, response)
        )
        if not answer.ok:
            raise AuthorizationFailed(
                "The key did not take the answer. Its management key is another one, or the"
                " challenge is out of date.",
                status_word=answer.status,
            )

    def end_authorization(self) -> None:
        """Select the applet anew, which ends all that was allowed."""
        self._select()

    def set_management_key(self, algorithm: ManagementAlgorithm, new_key: bytes) -> None:
        """Replace the management key, where the card has the command for it."""
        if len(new_key) != algorithm.key_bytes:
            raise ValueError(f"a {algorithm.name} key has {algorithm.key_bytes} bytes")
        data = bytes((algorithm,)) + tlv.encode(piv.SLOT_MANAGEMENT, new_key)
        response = self._card.send(piv.INS_SET_MANAGEMENT_KEY, 0xFF, 0xFF, data)
        if response.status == Status.WRONG_DATA:
            raise NotSupported(
                f"The key takes no {algorithm.name} management key.", status_word=response.status
            )
        self._need(response)
        self._algorithm = algorithm

    # Enrolment

    def ensure_card_id(self) -> bytes:
        """The CHUID's GUID; a random one is written when the card has none."""
        chuid = self._read_chuid()
        if chuid is None:
            chuid = piv.Chuid(self._random(piv.GUID_BYTES))
            self._put(piv.OBJECT_CHUID, chuid.encode())
        return chuid.guid

    def _read_chuid(self) -> piv.Chuid | None:
        content = self._get(piv.OBJECT_CHUID)
        return _read(lambda: piv.Chuid.decode(content or b""))

    def generate_identity_key(self) -> bytes:
        """Make a P-256 key in slot 9E, and store a self-signed certificate so that the card remembers it."""
        plain = tlv.encode(piv.TAG_ALGORITHM, bytes((piv.ALGORITHM_P256,)))
        never = bytes((piv.POLICY_NEVER,))
        policies = tlv.encode(piv.TAG_PIN_POLICY, never) + tlv.encode(piv.TAG_TOUCH_POLICY, never)
        response = self._generate(plain + policies)
        if response.status in (Status.WRONG_DATA, Status.WRONG_LENGTH):
            response = self._generate(plain)  # a card without policies: 9E needs no PIN anyway
        self._need(response)
        public = _read(lambda: tlv.unwrap(response.data, piv.TAG_PUBLIC_KEY))
        point = _read(lambda: tlv.find(public, piv.TAG_EC_POINT))
        if point is None or not certificate.is_p256_point(point):
            raise MalformedReply("The key gave no P-256 public key for its new identity key.")
        self._public_key = point
        own = certificate.self_signed(point, lambda digest: self.prove(digest).value)
        self._put(piv.OBJECT_CARD_AUTHENTICATION, piv.wrap_container(own))
        return point

    def _generate(self, template: bytes) -> Response:
        return self._card.send(
            piv.INS_GENERATE,
            0,
            piv.SLOT_CARD_AUTHENTICATION,
            tlv.encode(piv.TAG_GENERATE, template),
            ne=MAX_SHORT_RESPONSE,
            timeout=GENERATE_SECONDS,
        )

    def close(self) -> None:
        """Let go of the card."""
        self._card.close()


def _read(reading: Callable[[], T]) -> T:
    """Foreign bytes through a parser, its error as ours."""
    try:
        return reading()
    except MalformedFrame as error:
        raise MalformedReply(f"The key's answer cannot be read: {error}.") from error


def _dynamic(response: Response, tag: int) -> bytes:
    value = _read(lambda: tlv.find(tlv.unwrap(response.data, piv.TAG_DYNAMIC), tag))
    if value is None:
        raise MalformedReply("The key's answer lacks what was asked for.")
    return value

"""A PIV card's commands, one method each, and what its refusals mean (NIST SP 800-73-4 part 2; docs/protocols.md, "PIV").

Promises: foreign bytes come out as values or `MalformedReply`; refused changes as the error they mean. Which command to
give when is the driver's business, in `piv.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from keypeg.management import ManagementAlgorithm
from keypeg_bridge.keys.card import GENERATE_SECONDS, CardSession
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    KeyDriverError,
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

UNSUPPORTED: Final = frozenset(
    {
        Status.INS_NOT_SUPPORTED,
        Status.CLA_NOT_SUPPORTED,
        Status.FUNCTION_NOT_SUPPORTED,
        Status.WRONG_P1P2,
        Status.WRONG_P1P2_ALONE,
    }
)
# What cards answer when they should make a key of a kind that they do not know.
NO_SUCH_ALGORITHM: Final = frozenset(
    {
        Status.WRONG_DATA,
        Status.FUNCTION_NOT_SUPPORTED,
        Status.WRONG_P1P2,
        Status.WRONG_P1P2_ALONE,
    }
)
# What a refusal of a change means; anything else is a plain KeyDriverError.
REFUSALS: Final[dict[int, tuple[type[KeyDriverError], str]]] = {
    Status.SECURITY_NOT_SATISFIED: (
        AuthorizationFailed,
        "The key allows no change without authorization.",
    ),
    Status.NO_SPACE: (StorageFull, "The key has no room for this."),
    Status.WRONG_LENGTH: (StorageFull, "The key takes no object of this size."),
    Status.MEMORY_FAILURE: (StorageFull, "The key could not store this."),
    Status.NOT_FOUND: (ObjectMissing, "The key has no such object."),
    Status.REFERENCE_NOT_FOUND: (ObjectMissing, "The key has no such object."),
    **dict.fromkeys(UNSUPPORTED, (NotSupported, "The key cannot do this.")),
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What instruction F7 told about a slot."""

    algorithm: int | None
    is_default: bool | None
    public: dict[int, bytes]  # the elements of its public key


class PivCard:
    """The commands of one card."""

    def __init__(self, pipe: CardPipe) -> None:
        self._session = CardSession(pipe)

    def select(self) -> bool:
        """Select the applet by its full name, which ends an authorization; whether it is marked as emulated."""
        response = self._session.send(piv.INS_SELECT, 0x04, 0x00, piv.AID, ne=MAX_SHORT_RESPONSE)
        if not response.ok:
            raise NotSupported("The card has no PIV application.", status_word=response.status)
        try:
            template = tlv.find(response.data, piv.TAG_APPLICATION) or b""
            return tlv.find(template, piv.TAG_LABEL) == piv.EMULATED_LABEL
        except MalformedFrame:
            return False  # the applet is there; how it introduces itself is its own business

    def restart(self) -> None:
        """Start over: cards may go on to allow what they allowed when the applet is only selected anew."""
        self._session.restart()
        self.select()

    def serial(self) -> str | None:
        """The serial number, from cards that have the command for it."""
        response = self._session.send(piv.INS_GET_SERIAL, 0, 0, ne=MAX_SHORT_RESPONSE)
        if response.ok and len(response.data) == 4:
            return f"{int.from_bytes(response.data, 'big'):010d}"
        return None

    def metadata(self, slot: int) -> Metadata | None:
        """What the card tells about a key, or None when it does not."""
        response = self._session.send(piv.INS_GET_METADATA, 0, slot, ne=MAX_SHORT_RESPONSE)
        if not response.ok:
            return None
        fields = readable(lambda: {e.tag: e.value for e in tlv.parse(response.data)})
        algorithm = fields.get(piv.META_ALGORITHM, b"")
        default = fields.get(piv.META_DEFAULT)
        public = fields.get(piv.META_PUBLIC_KEY, b"")
        return Metadata(
            algorithm=algorithm[0] if len(algorithm) == 1 else None,
            is_default=None if default is None else default == b"\x01",
            public=readable(lambda: {e.tag: e.value for e in tlv.parse(public)}),
        )

    def get(self, tag: int) -> bytes | None:
        """An object's content; None when it is absent, empty bytes when it is empty."""
        response = self._session.send(
            piv.INS_GET_DATA,
            0x3F,
            0xFF,
            piv.object_path(tag),
            ne=MAX_SHORT_RESPONSE,
            long_answer=True,
        )
        if response.status in (Status.NOT_FOUND, Status.REFERENCE_NOT_FOUND):
            return None
        if response.status in (Status.SECURITY_NOT_SATISFIED, *UNSUPPORTED):
            raise NotSupported(
                f"The key does not give out object {tag:X}.", status_word=response.status
            )
        if not response.ok:
            raise KeyDriverError(f"Object {tag:X} cannot be read.", status_word=response.status)
        return readable(lambda: tlv.unwrap(response.data, piv.TAG_OBJECT))

    def put(self, tag: int, content: bytes) -> None:
        """Replace an object's content; empty content removes it."""
        try:
            data = piv.object_path(tag) + tlv.encode(piv.TAG_OBJECT, content)
        except ValueError as error:
            raise StorageFull("The data is larger than any object of a key.") from error
        self._need(self._session.send(piv.INS_PUT_DATA, 0x3F, 0xFF, data))

    def authenticate(self, algorithm: int, slot: int, fields: bytes) -> Response:
        """GENERAL AUTHENTICATE with the fields given; any status is a valid answer."""
        data = tlv.encode(piv.TAG_DYNAMIC, fields)
        return self._session.send(
            piv.INS_AUTHENTICATE, algorithm, slot, data, ne=MAX_SHORT_RESPONSE
        )

    def attest(self, slot: int) -> tuple[bytes, ...]:
        """Certificates by which the card's maker vouches for a key that was made in it; none when it does not."""
        response = self._session.send(
            piv.INS_ATTEST, slot, 0, ne=MAX_SHORT_RESPONSE, long_answer=True
        )
        if not response.ok:
            return ()
        stored = self.get(piv.OBJECT_ATTESTATION) or b""
        signer = readable(lambda: tlv.find(stored, piv.CERTIFICATE_TAG))
        return (response.data, signer) if signer else (response.data,)

    def generate(self, slot: int, algorithm: int) -> dict[int, bytes] | None:
        """A new key that signs without PIN and touch; the elements of its public half. None when it knows no such keys."""
        plain = tlv.encode(piv.TAG_ALGORITHM, bytes((algorithm,)))
        never = bytes((piv.POLICY_NEVER,))
        policies = tlv.encode(piv.TAG_PIN_POLICY, never) + tlv.encode(piv.TAG_TOUCH_POLICY, never)
        response = self._generate(slot, plain + policies)
        if response.status in (Status.WRONG_DATA, Status.WRONG_LENGTH):
            response = self._generate(slot, plain)  # a card without policies
        if response.status in NO_SUCH_ALGORITHM:
            return None
        self._need(response)
        public = readable(lambda: tlv.unwrap(response.data, piv.TAG_PUBLIC_KEY))
        return readable(lambda: {e.tag: e.value for e in tlv.parse(public)})

    def _generate(self, slot: int, template: bytes) -> Response:
        return self._session.send(
            piv.INS_GENERATE,
            0,
            slot,
            tlv.encode(piv.TAG_GENERATE, template),
            ne=MAX_SHORT_RESPONSE,
            timeout=GENERATE_SECONDS,
        )

    def knows_set_management_key(self) -> bool:
        """Whether the card has the command to replace the management key; asked with nothing to set, so nothing changes."""
        response = self._session.send(piv.INS_SET_MANAGEMENT_KEY, 0xFF, 0xFF)
        return response.status not in (Status.INS_NOT_SUPPORTED, Status.CLA_NOT_SUPPORTED)

    def set_management_key(self, algorithm: ManagementAlgorithm, key: bytes) -> None:
        """Replace the management key, on cards that have the command for it."""
        data = bytes((algorithm,)) + tlv.encode(piv.SLOT_MANAGEMENT, key)
        response = self._session.send(piv.INS_SET_MANAGEMENT_KEY, 0xFF, 0xFF, data)
        if response.status == Status.WRONG_DATA:
            raise NotSupported(
                f"The key takes no {algorithm.name} management key.", status_word=response.status
            )
        self._need(response)

    @staticmethod
    def _need(response: Response) -> None:
        """Turn a refused change into the error it means."""
        if response.ok:
            return
        default = (KeyDriverError, "The key refused the change.")
        kind, text = REFUSALS.get(response.status, default)
        raise kind(text, status_word=response.status)

    def close(self) -> None:
        """Let go of the card."""
        self._session.close()


def readable(reading: Callable[[], T]) -> T:
    """Foreign bytes through a parser, its error as ours."""
    try:
        return reading()
    except MalformedFrame as error:
        raise MalformedReply(f"The key's answer cannot be read: {error}.") from error


def dynamic_field(response: Response, tag: int) -> bytes:
    """One field of a GENERAL AUTHENTICATE answer, which must be there."""
    value = readable(lambda: tlv.find(tlv.unwrap(response.data, piv.TAG_DYNAMIC), tag))
    if value is None:
        raise MalformedReply("The key's answer lacks what was asked for.")
    return value

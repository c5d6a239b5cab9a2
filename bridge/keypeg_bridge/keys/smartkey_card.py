"""A smartkey's commands, one method each, and what its refusals mean (docs/key-protocol.md).

Promises: foreign bytes come out as values or `MalformedReply`; refusals as the error that they mean. Which command to give
when, and what is believed of a counter, is the driver's business, in `smartkey.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from keypeg.management import ManagementAlgorithm
from keypeg_bridge.keys.card import EXCHANGE_SECONDS, GENERATE_SECONDS, CardSession
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    KeyDriverError,
    KeyMissing,
    MalformedReply,
    NotSupported,
    StorageFull,
)
from keypeg_bridge.transport.ports import CardPipe
from keypeg_bridge.wire import smartkey
from keypeg_bridge.wire.apdu import MAX_SHORT_RESPONSE, Response, Status
from keypeg_bridge.wire.errors import MalformedFrame

T = TypeVar("T")

_NOT_TAKEN: Final = (
    "The key did not take the answer. Its management key is another one, or the challenge is out of"
    " date."
)
# What a refused change means; anything else is a plain KeyDriverError.
REFUSALS: Final[dict[int, tuple[type[KeyDriverError], str]]] = {
    Status.SECURITY_NOT_SATISFIED: (
        AuthorizationFailed,
        "The key allows no change without authorization.",
    ),
    Status.NO_SPACE: (StorageFull, "The key has no room for this."),
    Status.MEMORY_FAILURE: (StorageFull, "The key could not store this."),
    Status.WRONG_P1P2: (NotSupported, "The key cannot do this."),
    Status.INS_NOT_SUPPORTED: (NotSupported, "The key cannot do this."),
    Status.CLA_NOT_SUPPORTED: (NotSupported, "The key cannot do this."),
}


class SmartkeyCard:
    """The commands of one applet."""

    def __init__(self, pipe: CardPipe) -> None:
        self._session = CardSession(pipe)

    def select(self) -> bytes:
        """Select the applet, which ends an authorization; its label."""
        response = self._session.send(
            smartkey.INS_SELECT, smartkey.P1_BY_NAME, 0, smartkey.AID, ne=MAX_SHORT_RESPONSE
        )
        if not response.ok:
            raise NotSupported("The card has no smartkey applet.", status_word=response.status)
        return _readable(lambda: smartkey.Selected.decode(response.data)).label

    def info(self) -> smartkey.Info:
        """What it says of itself."""
        response = self._send(smartkey.INS_INFO)
        if not response.ok:
            raise KeyDriverError("The key says nothing of itself.", status_word=response.status)
        version = response.data[:1]
        if version != bytes((smartkey.VERSION,)):
            raise NotSupported(
                f"The key speaks version {version.hex() or 'none'} of the smartkey protocol, and this"
                f" program version {smartkey.VERSION}. Update the program."
            )
        return _readable(lambda: smartkey.Info.decode(response.data))

    def read(self, slot: int, limit: int) -> bytes:
        """A slot's data, at most `limit` bytes of it; nothing when it is empty."""
        data = b""
        while len(data) <= limit:
            asked = smartkey.Read(len(data), smartkey.MAX_READ)
            response = self._send(smartkey.INS_READ, slot, 0, asked.encode())
            if not response.ok:
                raise KeyDriverError(f"Slot {slot} cannot be read.", status_word=response.status)
            if len(response.data) > smartkey.MAX_READ:
                raise MalformedReply("The key gives more than it was asked for.")
            data += response.data
            if len(response.data) < smartkey.MAX_READ:
                return data
        raise MalformedReply(f"Slot {slot} goes beyond the {limit} bytes that it holds.")

    def write(self, slot: int, data: bytes) -> None:
        """Replace a slot's data; it is there whole, or as it was."""
        size = smartkey.encode_size(len(data))
        _need(self._send(smartkey.INS_WRITE, slot, smartkey.P2_BEGIN, size))
        for at in range(0, len(data), smartkey.MAX_PIECE):
            piece = smartkey.Piece(at, data[at : at + smartkey.MAX_PIECE])
            _need(self._send(smartkey.INS_WRITE, slot, smartkey.P2_PIECE, piece.encode()))

    def challenge(self, size: int) -> bytes:
        """A challenge under the management key."""
        response = self._send(smartkey.INS_CHALLENGE)
        _need(response)
        if len(response.data) != size:
            raise MalformedReply(f"The key's challenge has {len(response.data)} bytes.")
        return response.data

    def authenticate(self, answer: bytes) -> None:
        """Give the answer to the challenge."""
        response = self._send(smartkey.INS_AUTHENTICATE, 0, 0, answer)
        if not response.ok:
            raise AuthorizationFailed(_NOT_TAKEN, status_word=response.status)

    def set_management_key(self, algorithm: ManagementAlgorithm, key: bytes) -> None:
        """Replace the management key."""
        _need(self._send(smartkey.INS_SET_MANAGEMENT_KEY, algorithm, 0, key))

    def generate(self) -> bytes:
        """A new identity key; its point as the key wrote it."""
        response = self._send(smartkey.INS_GENERATE, timeout=GENERATE_SECONDS)
        _need(response)
        return response.data

    def sign(self, challenge: bytes) -> smartkey.Proof:
        """A signature with its number."""
        response = self._send(smartkey.INS_SIGN, 0, 0, challenge)
        if response.status == Status.REFERENCE_NOT_FOUND:
            raise KeyMissing(
                "The key has no identity key. Enroll it first.", status_word=response.status
            )
        if response.status == Status.MEMORY_FAILURE:
            raise KeyDriverError(
                "The key cannot raise its counter, so it signs nothing: it is worn out. Use another one.",
                status_word=response.status,
            )
        if not response.ok:
            raise KeyDriverError("The key did not sign.", status_word=response.status)
        return _readable(lambda: smartkey.Proof.decode(response.data))

    def close(self) -> None:
        """Let go of the card."""
        self._session.close()

    def _send(
        self,
        ins: int,
        p1: int = 0,
        p2: int = 0,
        data: bytes = b"",
        *,
        timeout: float = EXCHANGE_SECONDS,
    ) -> Response:
        return self._session.send(
            ins, p1, p2, data, ne=MAX_SHORT_RESPONSE, timeout=timeout, cla=smartkey.CLA
        )


def _need(response: Response) -> None:
    if not response.ok:
        error, text = REFUSALS.get(response.status, (KeyDriverError, "The key refused the change."))
        raise error(text, status_word=response.status)


def _readable(read: Callable[[], T]) -> T:
    try:
        return read()
    except MalformedFrame as error:
        raise MalformedReply(f"The key's answer cannot be read: {error}.") from error

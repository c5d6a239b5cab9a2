"""Commands of any length to a card, over a pipe that carries single APDUs; errors of the bytes as errors of the key."""

from __future__ import annotations

from typing import Final

from keypeg_bridge.keys.errors import MalformedReply
from keypeg_bridge.transport.ports import CardPipe
from keypeg_bridge.wire.apdu import Command, Response
from keypeg_bridge.wire.conversation import converse
from keypeg_bridge.wire.errors import MalformedFrame

EXCHANGE_SECONDS: Final = 5.0  # one APDU; making a key on a slow card takes about two
GENERATE_SECONDS: Final = 30.0


class CardSession:
    """Whole commands to one card."""

    def __init__(self, pipe: CardPipe) -> None:
        self._pipe = pipe

    def send(
        self,
        ins: int,
        p1: int,
        p2: int,
        data: bytes = b"",
        *,
        ne: int | None = None,
        timeout: float = EXCHANGE_SECONDS,
        cla: int = 0,
    ) -> Response:
        """One command, chained and followed up as needed; any status word is a valid answer."""
        conversation = converse(Command(cla, ins, p1, p2, data, ne))
        try:
            apdu = next(conversation)
            while True:
                apdu = conversation.send(self._pipe.exchange(apdu, timeout))
        except StopIteration as finished:
            response: Response = finished.value
            return response
        except MalformedFrame as error:
            raise MalformedReply(f"The key's answer cannot be read: {error}.") from error

    def close(self) -> None:
        """Let go of the card."""
        self._pipe.close()

"""Commands of any length to a card, over a pipe that carries single APDUs; errors of the bytes as errors of the key."""

from __future__ import annotations

from typing import Final

from keypeg_bridge.keys.errors import MalformedReply
from keypeg_bridge.transport.ports import CardPipe
from keypeg_bridge.wire.apdu import MAX_SHORT_DATA, Command, Response, Status
from keypeg_bridge.wire.conversation import converse
from keypeg_bridge.wire.errors import MalformedFrame

EXCHANGE_SECONDS: Final = 5.0  # one APDU; making a key on a slow card takes about two
GENERATE_SECONDS: Final = 30.0
# What cards answer to an extended APDU that they do not take after all.
_NOT_EXTENDED: Final = frozenset({Status.WRONG_LENGTH, Status.CLA_NOT_SUPPORTED})


class CardSession:
    """Whole commands to one card."""

    def __init__(self, pipe: CardPipe) -> None:
        self._pipe = pipe
        self._extended = pipe.extended

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
        long_answer: bool = False,
    ) -> Response:
        """One command, chained and followed up as needed; any status word is a valid answer.

        Long data, and what may have a long answer, goes in one extended APDU where reader and card take those.
        """
        command = Command(cla, ins, p1, p2, data, ne)
        long = self._extended and (long_answer or len(data) > MAX_SHORT_DATA)
        response = self._converse(command, long, timeout)
        if long and response.status in _NOT_EXTENDED:
            plain = self._converse(command, False, timeout)
            if plain.status != response.status:
                self._extended = False  # whatever it says of itself
            return plain
        return response

    def _converse(self, command: Command, extended: bool, timeout: float) -> Response:
        conversation = converse(command, extended=extended)
        try:
            apdu = next(conversation)
            while True:
                apdu = conversation.send(self._pipe.exchange(apdu, timeout))
        except StopIteration as finished:
            response: Response = finished.value
            return response
        except MalformedFrame as error:
            raise MalformedReply(f"The key's answer cannot be read: {error}.") from error

    def restart(self) -> None:
        """Cut the card's power and give it again: nothing is selected, and nothing allowed."""
        self._pipe.restart()

    def close(self) -> None:
        """Let go of the card."""
        self._pipe.close()

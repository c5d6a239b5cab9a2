"""The host's side of one CCID slot: which number a request has, and which reply is its answer.

Promises: replies to older requests, and requests for more time, are passed over; a reply that fits nothing is malformed.
"""

from __future__ import annotations

from keypeg_bridge.wire.ccid import REPLY_KINDS, Command, Kind, Outcome, Reply
from keypeg_bridge.wire.errors import MalformedFrame


class HostSlot:
    """The host's side of one slot: one request under way, replies matched by sequence number."""

    def __init__(self, slot: int = 0) -> None:
        self._slot = slot
        self._sequence = 255
        self._expected: Kind | None = None

    def request(self, kind: Kind, data: bytes = b"", parameters: bytes = b"\x00\x00\x00") -> bytes:
        """The bytes of the next request; a request still unanswered is given up."""
        self._sequence = self.next_sequence
        self._expected = REPLY_KINDS[kind]
        return Command(kind, self._slot, self._sequence, data, parameters).encode()

    @property
    def sequence(self) -> int:
        """The number of the latest request, for ABORT on the control pipe."""
        return self._sequence

    @property
    def next_sequence(self) -> int:
        """The number that the next request will have: the two halves of an ABORT share one."""
        return (self._sequence + 1) & 0xFF

    def receive(self, raw: bytes) -> Reply | None:
        """The answer to the request under way, or None: not yet (more time asked for, or an old answer)."""
        reply = Reply.decode(raw)
        if reply.slot != self._slot or reply.sequence != self._sequence:
            return None
        if self._expected is None:
            raise MalformedFrame("CCID", "a reply came that nothing asked for")
        if reply.outcome is Outcome.MORE_TIME:
            return None
        if reply.kind not in (self._expected, Kind.SLOT_STATUS) or (
            reply.kind != self._expected and reply.outcome is Outcome.DONE
        ):
            raise MalformedFrame(
                "CCID", f"reply {reply.kind:#04x} where {int(self._expected):#04x} was due"
            )
        self._expected = None
        return reply

"""Proofs of keys for sessions: by the best key that gives one, and by the same one again.

Promises: the app can check every one; whether a license may be used is judged anew each time.

Leaves to others: which license is chosen (rack/choice.py), signing (the rack), when a proof is due (sessions.py).
"""

from __future__ import annotations

from keypeg.errors import KeypegError
from keypeg.possession import challenge
from keypeg.v1 import proof_pb2, session_pb2
from keypeg_bridge.rack import choice
from keypeg_bridge.rack.choice import Choice
from keypeg_bridge.rack.memory import Memory
from keypeg_bridge.rack.ports import Time
from keypeg_bridge.rack.rack import Rack
from keypeg_bridge.rpc import encode
from keypeg_bridge.rpc.session import Session, release_of


class KeyProofs:
    """The keys of a bridge, as sessions see them."""

    def __init__(self, rack: Rack, time: Time, location_host: str, memory: Memory) -> None:
        self._rack = rack
        self._time = time
        self._location_host = location_host
        self._judge = memory.objection

    async def first(self, name: str, frame: session_pb2.Open) -> tuple[Choice, bytes]:
        """The proof of the best key that gives one."""
        refusal: KeypegError | None = None
        judge = self._judge
        keys, now = self._rack.records(), self._time.wall()
        for chosen in choice.choose(keys, frame.product, now, judge, release_of(frame.app)):
            try:
                return chosen, await self.prove(name, chosen, frame.nonce)
            except KeypegError as error:
                refusal = refusal or error
        assert refusal is not None, "choose gives at least one"
        raise refusal

    def again(self, session: Session) -> Choice:
        """What the session runs by, as it is now; raises why it runs no more."""
        record, now = self._rack.key(session.key), self._time.wall()
        judge = self._judge
        return choice.again(
            record, session.product, session.activation, now, judge, session.release
        )

    async def prove(self, name: str, chosen: Choice, nonce: bytes) -> bytes:
        """The signature of the key, for one session (name) and nonce."""
        digest = challenge(self._location_host, name, nonce)
        return await self._rack.prove(chosen.key, name, digest)

    def proof(self, session: Session, chosen: Choice, signature: bytes) -> proof_pb2.Proof:
        """What the app checks."""
        return encode.key_proof(chosen, self._location_host, session.name, signature)

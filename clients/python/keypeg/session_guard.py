"""What is believed of the other side's frames: proofs, codes and fencing numbers.

Promises: nothing gives the app time or a seat that was not verified here: proofs against the pinned root
(keypeg.proof), codes under the session key that the proof is bound to, fencing numbers that grow per pool,
and counters of smartkeys that grow over all sessions of the app. Towards a bridge there is no session key, so every bit of time takes a proof. The first failure raises
the error that says which check failed.

Leaves to others: when to ask (session_machine), and what the times mean (session_state).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from keypeg import proof as proofs
from keypeg import sessionkey
from keypeg.envelope import key_id
from keypeg.errors import DocumentType, FencingStale, FrameForged, ProtocolViolation
from keypeg.instants import span
from keypeg.key_counters import KeyCounters
from keypeg.proof import Expectation, Verified
from keypeg.sessionkey import FrameAuthenticator, KeyShare
from keypeg.v1 import proof_pb2, seat_pb2, session_pb2
from keypeg.versions import UNTOLD, Release

NONCE_BYTES: Final = 32
_KINDS: Final = {True: ("key", "host"), False: ("cloud", "site")}  # by whether it is a bridge


class Randomness(Protocol):
    """Everything unpredictable that a session needs."""

    def nonce(self) -> bytes:
        """32 random bytes."""
        ...

    def key_share(self) -> KeyShare:
        """A new half of an agreement."""
        ...

    def request_id(self) -> str:
        """A new UUID."""
        ...

    def jitter(self) -> float:
        """From 0 to 1."""
        ...


@dataclass(frozen=True)
class Pinned:
    """What the app knows by itself."""

    product: str
    device: str
    root: bytes = field(repr=False)  # the publisher's Ed25519 key; 32 bytes
    publisher: str | None = None
    fingerprint: Mapping[str, str] | None = field(default=None, repr=False)
    counters: KeyCounters = field(default_factory=KeyCounters, repr=False, compare=False)
    """What this app has seen of smartkeys, in all of its sessions."""
    release: Release = UNTOLD  # what the app says of itself


@dataclass(frozen=True)
class _Question:
    """A nonce that is to be signed, and how far each key had counted before it was given out."""

    nonce: bytes
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Admission:
    """What a verified answer gives."""

    valid_for: float  # s from when the frame was sent
    verified: Verified


class Guard:
    """The checks of one session; a new `open` or `resume` brings a new session key."""

    def __init__(self, pinned: Pinned, *, to_bridge: bool, randomness: Randomness) -> None:
        self._pinned = pinned
        self._to_bridge = to_bridge
        self._randomness = randomness
        self._share: KeyShare | None = None
        self._server_share = b""
        self._question = _Question(b"", {})  # of the open or resume that is under way
        self._questions: dict[int, _Question] = {}  # of renewals without an answer
        self._authenticator: FrameAuthenticator | None = None
        self._session = ""
        self._seen: dict[str, int] = {}  # the highest generation, by activation or publisher
        self._fencing: dict[str, int] = {}  # the highest number seen, by pool
        self._known: dict[str, int] = {}  # fencing numbers by lease
        self.verified: Verified | None = None

    def opening(self) -> tuple[bytes, bytes]:
        """Nonce and key share of a new `open`."""
        self._question = self._asked(self._randomness.nonce())
        if self._to_bridge:
            return self._question.nonce, b""
        self._share = self._randomness.key_share()
        return self._question.nonce, self._share.public

    def resuming(self, sequence: int, session: str) -> tuple[bytes, bytes, bytes]:
        """Nonce, key share and code of a `resume`."""
        nonce, share = self.opening()
        if self._authenticator is None:
            return nonce, share, b""
        return nonce, share, self._authenticator.resume(sequence, session, nonce, share)

    def renewing(self, sequence: int, *, proof: bool) -> tuple[bytes, bytes]:
        """Nonce (empty when no proof is wanted) and code of a `renew`."""
        nonce = self._randomness.nonce() if proof or self._authenticator is None else b""
        self._questions[sequence] = self._asked(nonce)
        if self._authenticator is None:
            return nonce, b""
        return nonce, self._authenticator.renew(sequence, nonce)

    def opened(self, frame: session_pb2.Opened, wall: datetime) -> Admission:
        """Checks the answer to `open` or `resume`."""
        self._server_share = frame.key_share
        authenticator = None
        if self._share is not None:
            authenticator = FrameAuthenticator(
                self._share.agree(frame.key_share, self._question.nonce, frame.session)
            )
            expected = authenticator.opened(
                frame.sequence,
                frame.session,
                sessionkey.microseconds(frame.valid_for),
                frame.resumed,
                frame.leases,
            )
            sessionkey.check(expected, frame.mac, "opened")
        self._session = frame.session
        verified = self._verify(frame.proof, self._question, wall)
        self._authenticator = authenticator
        self._questions.clear()
        for lease in frame.leases:
            self._number(lease, above=-1)
        return self._admission(span(frame.valid_for).total_seconds(), verified)

    def renewed(self, frame: session_pb2.Renewed, wall: datetime) -> tuple[Admission, bool]:
        """Checks the answer to `renew`; True when it brought a proof."""
        question = self._questions.pop(frame.sequence, None)
        if question is None or self.verified is None:
            raise ProtocolViolation(
                f"The other side answered a renewal (sequence {frame.sequence}) that was not sent; "
                "open a new session."
            )
        if self._authenticator is not None:
            code = self._authenticator.renewed(
                frame.sequence, sessionkey.microseconds(frame.valid_for)
            )
            sessionkey.check(code, frame.mac, "renewed")
        wanted = bool(question.nonce)
        if wanted and not frame.HasField("proof"):
            raise FrameForged(
                "The other side gave more time without the signed proof that was asked for; open a "
                "new session.",
                frame="renewed",
            )
        verified = self._verify(frame.proof, question, wall) if wanted else self.verified
        return self._admission(span(frame.valid_for).total_seconds(), verified), wanted

    def acquired(self, frame: session_pb2.Acquired, *, above: int) -> None:
        """Checks a seat that was given; `above`: the pool's highest fencing number when it was asked for."""
        if self._authenticator is None:
            raise ProtocolViolation("A bridge gives no seats; ask a server for them.")
        code = self._authenticator.acquired(frame.sequence, frame.request_id, frame.lease)
        sessionkey.check(code, frame.mac, "acquired")
        self._number(frame.lease, above=above)

    def fencing(self) -> Mapping[str, int]:
        """The highest fencing number seen, by pool; a snapshot."""
        return dict(self._fencing)

    def _number(self, lease: seat_pb2.Lease, *, above: int) -> None:
        pool = lease.name.partition("/leases/")[0]
        known = self._known.get(lease.name)
        if known is not None:
            proofs.check_fencing(known, lease.fencing_number)
        if lease.fencing_number <= above:
            raise FencingStale(
                f"The seat {lease.name} has fencing number {lease.fencing_number}, and {above} was "
                "seen before it was asked for: it is not a new one. Acquire another.",
                fencing_number=str(lease.fencing_number),
                seen=str(above),
            )
        self._known[lease.name] = lease.fencing_number
        self._fencing[pool] = max(self._fencing.get(pool, 0), lease.fencing_number)

    def _asked(self, nonce: bytes) -> _Question:
        return _Question(nonce, self._pinned.counters.known() if nonce and self._to_bridge else {})

    def _verify(self, proof: proof_pb2.Proof, question: _Question, wall: datetime) -> Verified:
        kind = proof.WhichOneof("kind")
        if kind not in _KINDS[self._to_bridge]:
            raise DocumentType(
                f"The other side sent a proof of kind {kind or 'none'}, and from it one of kind "
                f"{' or '.join(_KINDS[self._to_bridge])} is accepted.",
                kind=kind or "none",
            )
        verified = proofs.verify(
            proof,
            Expectation(
                publisher_root=self._pinned.root,
                publisher=self._pinned.publisher,
                product=self._pinned.product,
                session=self._session,
                device=self._pinned.device,
                nonce=question.nonce,
                client_key_share=self._share.public if self._share else b"",
                server_key_share=self._server_share,
                now=wall,
                fingerprint=self._pinned.fingerprint,
                release=self._pinned.release,
                seen={**self._seen, **question.counters},
            ),
        )
        self._saw(verified.delegation.publisher, verified.delegation.generation)
        if verified.license is not None:
            self._saw(verified.activation, verified.license.generation)
            if verified.contents is not None:
                self._saw(verified.contents.location, verified.contents.version)
            if verified.key_counter is not None:
                key = key_id(verified.license.location_key)
                self._pinned.counters.saw(key, verified.key_counter)
        self.verified = verified
        return verified

    def _saw(self, name: str, generation: int) -> None:
        self._seen[name] = max(self._seen.get(name, 0), generation)

    @staticmethod
    def _admission(valid_for: float, verified: Verified) -> Admission:
        # The frame may give less than what is signed, never more.
        allowed = min(valid_for, verified.valid_for.total_seconds())
        if allowed <= 0:
            raise ProtocolViolation("The other side gave no time to run; open a new session.")
        return Admission(allowed, verified)

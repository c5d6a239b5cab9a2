"""The session key of one session, and the codes that authenticate its frames (docs/formats.md, "Session key").

Promises: both ends of an X25519 agreement get the same 32 bytes; a frame's code covers everything in it that
lets an app run, its direction and kind included. Keys are never in a repr.

Leaves to others: that the shares are those of the right peer, which the signed Grant says (proof.py), and
that sequence numbers grow.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from google.protobuf.duration_pb2 import Duration

from keypeg.errors import FieldInvalid, FrameForged
from keypeg.v1.seat_pb2 import Lease

KEY_BYTES: Final = 32
MAC_BYTES: Final = 16
_INFO: Final = b"keypeg session key v1\0"

RENEW: Final = b"kp1 renew"
RENEWED: Final = b"kp1 renewed"
OPENED: Final = b"kp1 opened"
ACQUIRED: Final = b"kp1 acquired"
RESUME: Final = b"kp1 resume"

# For these the key's block is hashed once, at the first frame, and every frame goes on from a copy. The
# others come once; a server with many sessions keeps no half KiB for each of them.
_REPEATED: Final = frozenset((RENEW, RENEWED, ACQUIRED))

# Parts and numbers of a code, several at once: each part is its length and its bytes, a number has eight.
_LENGTH: Final = struct.Struct(">I")
_NUMBER_AND_LENGTH: Final = struct.Struct(">IQI")
_THREE_NUMBERS: Final = struct.Struct(">IQIQIQ")


class KeyShare:
    """One end's half of an agreement: private, used once, and forgotten."""

    def __init__(self, private_key: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(private_key)
        self.public: bytes = self._key.public_key().public_bytes_raw()

    @classmethod
    def generate(cls) -> KeyShare:
        """A new random share."""
        return cls(X25519PrivateKey.generate().private_bytes_raw())

    def agree(self, peer_public: bytes, nonce: bytes, session: str) -> bytes:
        """The session key, 32 bytes, of the `open` or `resume` with this nonce.

        FieldInvalid when the other share is not 32 bytes, or one that makes the key guessable.
        """
        try:
            shared = self._key.exchange(X25519PublicKey.from_public_bytes(peer_public))
        except ValueError as error:
            sentence = "key_share is no X25519 share of 32 bytes; make a new one for each open."
            raise FieldInvalid(sentence, fields={"key_share": sentence}) from error
        info = _INFO + session.encode()
        return HKDF(hashes.SHA256(), KEY_BYTES, salt=nonce, info=info).derive(shared)

    def __repr__(self) -> str:
        return f"KeyShare(public={self.public.hex()})"


class FrameAuthenticator:
    """The codes of one session key, one method per frame that has one; 16 bytes each."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a session key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = key
        self._prepared: dict[bytes, hashlib.blake2b] = {}

    def renew(self, sequence: int, nonce: bytes) -> bytes:
        """Of `renew`; the nonce may be empty."""
        return self._code(RENEW, _number(sequence) + _part(nonce))

    def renewed(self, sequence: int, valid_for_us: int) -> bytes:
        """Of `renewed`; the time in whole microseconds."""
        return self._code(RENEWED, _number(sequence) + _number(valid_for_us))

    def opened(
        self, sequence: int, session: str, valid_for_us: int, resumed: bool, leases: Iterable[Lease]
    ) -> bytes:
        """Of `opened`, with the leases in the frame's order."""
        held = [_lease(lease) for lease in leases]
        return self._code(
            OPENED,
            _number(sequence)
            + _text(session)
            + _number(valid_for_us)
            + _number(int(resumed))
            + _number(len(held))
            + b"".join(held),
        )

    def acquired(self, sequence: int, request_id: str, lease: Lease) -> bytes:
        """Of `acquired`; the sequence is 0 when the frame answers an earlier stream's command."""
        asked = request_id.encode()
        begin = _NUMBER_AND_LENGTH.pack(8, sequence, len(asked))
        return self._code(ACQUIRED, begin + asked + _lease(lease))

    def resume(self, sequence: int, session: str, nonce: bytes, key_share: bytes) -> bytes:
        """Of `resume`, under the session key that the ticket seals."""
        return self._code(
            RESUME, _number(sequence) + _text(session) + _part(nonce) + _part(key_share)
        )

    def _code(self, label: bytes, data: bytes) -> bytes:
        prepared = self._prepared.get(label)
        if prepared is None:
            prepared = hashlib.blake2b(key=self._key, person=label, digest_size=MAC_BYTES)
            if label in _REPEATED:
                self._prepared[label] = prepared
        code = prepared.copy()
        code.update(data)
        return code.digest()

    def __repr__(self) -> str:
        return "FrameAuthenticator()"


def check(expected: bytes, given: bytes, frame: str) -> None:
    """FrameForged when the code that came with a frame is not the expected one; in constant time."""
    if not hmac.compare_digest(expected, given):
        raise FrameForged(
            f"The code of the {frame} frame is wrong: it was changed on its way, or it is of another "
            "session. Open a new session.",
            frame=frame,
        )


def microseconds(duration: Duration) -> int:
    """A Duration as codes cover it: whole microseconds, rounded down, and 0 when negative."""
    return max(0, duration.seconds * 1_000_000 + duration.nanos // 1_000)


def _part(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _text(text: str) -> bytes:
    return _part(text.encode())


def _number(value: int) -> bytes:
    return b"\0\0\0\x08" + value.to_bytes(8, "big")


def _lease(lease: Lease) -> bytes:
    name = lease.name.encode()
    features = lease.features
    held = _LENGTH.pack(len(name)) + name
    held += _THREE_NUMBERS.pack(8, lease.units, 8, lease.fencing_number, 8, len(features))
    for one in features:
        held += _text(one.feature) + _number(one.units)
    return held

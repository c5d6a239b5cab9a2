"""The driver of smartkeys: cards with keypeg's own applet, which numbers its signatures (docs/key-protocol.md).

Promises: the port in `driver.py`. A signature is passed on only when it is right, and its number is above the highest that
this bridge had seen of the key before it asked; one that is not is refused with `CounterFell`, kept, and told by `signals`.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from keypeg.envelope import key_id
from keypeg.errors import KeyProofInvalid
from keypeg.management import ManagementAlgorithm
from keypeg.possession import check_possession
from keypeg.v1.document_pb2 import KEY_ALGORITHM_SMARTKEY_P256, PublicKey
from keypeg_bridge.keys.driver import (
    CHALLENGE_BYTES,
    Capabilities,
    KeyIdentity,
    ManagementChallenge,
    Signature,
)
from keypeg_bridge.keys.errors import (
    AuthorizationFailed,
    CounterFell,
    KeyMissing,
    MalformedReply,
    NotSupported,
    StorageFull,
)
from keypeg_bridge.keys.smartkey_card import SmartkeyCard
from keypeg_bridge.keys.smartkey_counters import SmartkeyCounters
from keypeg_bridge.transport.ports import CardPipe
from keypeg_bridge.wire import smartkey

_ALGORITHMS: Final = {number: ManagementAlgorithm(number) for number in smartkey.MANAGEMENT_SIZES}

_LOG = structlog.get_logger(__name__)


class SmartkeyDriver:
    """One smartkey. `model` and `serial` are what the transport knows, for people to read."""

    def __init__(
        self,
        pipe: CardPipe,
        counters: SmartkeyCounters,
        *,
        model: str = "smartkey",
        serial: str | None = None,
        emulated: bool = False,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._card = SmartkeyCard(pipe)
        self._counters = counters
        self._model = model
        self._serial = serial
        self._random = random
        self._tried = False
        self._emulated = (self._card.select() == smartkey.EMULATED_LABEL) or emulated
        self._info = self._ask()

    # Asking

    def _ask(self) -> smartkey.Info:
        info = self._card.info()
        if not any(info.card_id):
            raise MalformedReply("The key has no card id.")
        if info.public_key is not None and not _is_point(info.public_key):
            raise MalformedReply("The key's public key is no point of P-256.")
        self._info = info
        return info

    def probe(self) -> Capabilities:
        """What the key says of itself; when it has an identity key, it signs once, which counts."""
        info = self._ask()
        enrolled = info.public_key is not None
        if enrolled and not self._tried:
            self._try()
        algorithm = _ALGORITHMS.get(info.management_algorithm)
        unknown = "It has a management key of an unknown kind, so nothing can be written."
        return Capabilities(
            driver="smartkey",
            enrolled=enrolled,
            silent=True if enrolled else None,
            slots=info.slots,
            slot_bytes=info.slot_bytes,
            management_algorithm=algorithm,
            management_is_default=info.management_is_default,
            can_change_management_key=True,
            missing=() if algorithm else (unknown,),
            counter=True if enrolled else None,
        )

    def identity(self) -> KeyIdentity:
        """Public key, card id, and what is for people."""
        info = self._ask()
        return KeyIdentity(
            public_key=info.public_key,
            card_id=info.card_id,
            serial=self._serial,
            model=self._model,
            emulated=self._emulated,
            key_algorithm=KEY_ALGORITHM_SMARTKEY_P256,
        )

    def signals(self) -> tuple[str, ...]:
        """Whether its counter ever fell."""
        point = self._info.public_key
        fall = self._counters.known(_key_id(point)).fall if point is not None else None
        if fall is None:
            return ()
        return (
            f"its counter told {fall[1]} after {fall[0]}: there is a copy of it, or it was put back;"
            " report it, and enroll another one",
        )

    # Proving

    def prove(self, challenge: bytes) -> Signature:
        """Sign 32 bytes: counter and signature (docs/formats.md, "Challenges")."""
        if len(challenge) != CHALLENGE_BYTES:
            raise ValueError(f"a challenge has {CHALLENGE_BYTES} bytes, not {len(challenge)}")
        point = self._info.public_key
        if point is None:
            point = self._ask().public_key
        if point is None:
            raise KeyMissing("The key has no identity key. Enroll it first.")
        key = _key_id(point)
        seen = self._counters.known(key).counter
        proof = self._card.sign(challenge)
        signature = proof.encode()
        try:
            check_possession(_public_key(point), challenge, signature)
        except KeyProofInvalid as error:
            raise MalformedReply("The key's signature is wrong.") from error
        if proof.counter <= seen:
            if self._counters.fell(key, seen, proof.counter):
                _LOG.warning("clone suspected", key_id=key, seen=seen, told=proof.counter)
            raise CounterFell(seen, proof.counter)
        self._counters.saw(key, proof.counter)
        return Signature(signature)

    def _try(self) -> None:
        """Sign something, so that a counter that fell is known as soon as the key is there."""
        with contextlib.suppress(CounterFell):  # told by `signals`, refused to who asks for a proof
            self.prove(self._random(CHALLENGE_BYTES))
        self._tried = True

    # Slots

    def read(self, slot: int) -> bytes | None:
        """The data in a slot, or None when it is empty."""
        self._check_slot(slot)
        return self._card.read(slot, self._info.slot_bytes) or None

    def write(self, slot: int, data: bytes) -> None:
        """Replace a slot's data, or empty it, and read it back."""
        self._check_slot(slot)
        limit = self._info.slot_bytes
        if len(data) > limit:
            raise StorageFull(f"A slot of this key holds {limit} bytes, and this is {len(data)}.")
        self._card.write(slot, data)
        if (self.read(slot) or b"") != data:
            raise MalformedReply(f"Slot {slot} does not give back what was written to it.")

    def _check_slot(self, slot: int) -> None:
        if not 0 <= slot < self._info.slots:
            raise ValueError(f"slot {slot} is not one of 0 to {self._info.slots - 1}")

    # Authorization

    def begin_authorization(self) -> ManagementChallenge:
        """Ask for a challenge under the management key, of the algorithm that the key names."""
        algorithm = _ALGORITHMS.get(self._ask().management_algorithm)
        if algorithm is None:
            raise NotSupported("The key has no management key of a known kind.")
        return ManagementChallenge(algorithm, self._card.challenge(algorithm.block_bytes))

    def finish_authorization(self, response: bytes) -> None:
        """Give the answer to the challenge asked for last."""
        algorithm = _ALGORITHMS.get(self._info.management_algorithm)
        if algorithm is None or len(response) != algorithm.block_bytes:
            raise AuthorizationFailed(
                f"An answer of {len(response)} bytes is none to this key's challenge."
            )
        self._card.authenticate(response)

    def end_authorization(self) -> None:
        """Select the applet anew, which ends all that was allowed."""
        self._card.select()

    def set_management_key(self, algorithm: ManagementAlgorithm, new_key: bytes) -> None:
        """Replace the management key; it is AES."""
        if len(new_key) != algorithm.key_bytes:
            raise ValueError(f"a {algorithm.name} key has {algorithm.key_bytes} bytes")
        if algorithm not in smartkey.MANAGEMENT_SIZES:
            raise NotSupported("A smartkey's management key is AES, not triple DES.")
        self._card.set_management_key(algorithm, new_key)
        self._ask()

    # Enrollment

    def ensure_card_id(self) -> bytes:
        """The card id that the applet was made with."""
        return self._info.card_id

    def generate_identity_key(self) -> bytes:
        """Let the key make a P-256 key, and sign with it once; its public key. The counter goes on."""
        point = self._card.generate()
        if not _is_point(point):
            raise MalformedReply("The key gave no P-256 public key for its new identity key.")
        if self._ask().public_key != point:
            raise MalformedReply("The key names another public key than the one that it made.")
        self._try()
        return point

    def close(self) -> None:
        """Let go of the card."""
        if self._info.public_key is not None:
            self._counters.settle(_key_id(self._info.public_key))
        self._card.close()


def _is_point(point: bytes) -> bool:
    """Whether the bytes are an uncompressed point on P-256."""
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        return False
    return len(point) == smartkey.POINT_BYTES


def _public_key(point: bytes) -> PublicKey:
    return PublicKey(algorithm=KEY_ALGORITHM_SMARTKEY_P256, key=point)


def _key_id(point: bytes) -> str:
    return key_id(_public_key(point))

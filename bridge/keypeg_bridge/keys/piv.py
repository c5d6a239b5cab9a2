"""The PIV driver: off-the-shelf smart cards and tokens as keys (docs/protocols.md, "PIV").

Promises: the port in `driver.py`. What a card can do is asked, never read off its model, version or serial number. The
applet is selected once and again only to start over, as selecting it ends an authorization.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from keypeg.management import ManagementAlgorithm
from keypeg_bridge.keys import certificate, piv_identity
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
    StorageFull,
)
from keypeg_bridge.keys.piv_card import PivCard, dynamic_field, readable
from keypeg_bridge.keys.piv_identity import IdentityKind, PublicIdentity
from keypeg_bridge.transport.ports import CardPipe
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Status

# The order in which algorithms are tried on a card that does not tell its own.
ALGORITHM_ORDER: Final = (
    ManagementAlgorithm.TRIPLE_DES,
    ManagementAlgorithm.AES_192,
    ManagementAlgorithm.AES_256,
    ManagementAlgorithm.AES_128,
)
_PIN_WANTED: Final = frozenset({Status.SECURITY_NOT_SATISFIED, Status.AUTH_METHOD_BLOCKED})
_NO_KEY: Final = frozenset(
    {
        Status.REFERENCE_NOT_FOUND,
        Status.NOT_FOUND,
        Status.WRONG_DATA,
        Status.WRONG_P1P2,
        Status.CONDITIONS_NOT_SATISFIED,
    }
)


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
        kinds: Sequence[IdentityKind] = piv_identity.KINDS,
    ) -> None:
        self._card = PivCard(pipe)
        self._model = model
        self._serial = serial
        self._random = random
        self._algorithm: ManagementAlgorithm | None = None
        self._kinds = kinds
        self._own: PublicIdentity | None = None
        self._attestation: tuple[bytes, ...] = ()
        self._emulated = self._card.select() or emulated

    # Asking

    def probe(self) -> Capabilities:
        """Ask the card what it can do; signs once when there is an identity key."""
        management = self._card.metadata(piv.SLOT_MANAGEMENT)
        missing: list[str] = []
        own = self._find_own()
        enrolled = own is not None
        silent = self._signs_silently() if enrolled else None
        if silent is False:
            missing.append("Its identity key wants a PIN or a touch for each signature.")
        features = [] if own is None else [piv_identity.kind_of(own).name]
        changes = None if management or self._card.knows_set_management_key() else False
        if changes is False:
            features.append("management_key_fixed")
        algorithm = self._find_algorithm()
        if algorithm is None:
            missing.append("It has no management key of a known kind, so nothing can be written.")
        return Capabilities(
            driver="piv",
            enrolled=enrolled,
            silent=silent,
            slots=piv.CONTAINERS,
            slot_bytes=None,
            management_algorithm=algorithm,
            management_is_default=management.is_default if management else None,
            can_change_management_key=True if management else changes,
            missing=tuple(missing),
            features=tuple(features),
        )

    def identity(self) -> KeyIdentity:
        """Public key, card id, and what is for people."""
        chuid = self._read_chuid()
        own = self._find_own()
        return KeyIdentity(
            public_key=own.key if own else None,
            card_id=chuid.guid if chuid else None,
            serial=self._serial or self._card.serial(),
            model=self._model,
            emulated=self._emulated,
            key_algorithm=own.algorithm if own else None,
            attestation=self._attestation,
        )

    def _find_own(self) -> PublicIdentity | None:
        """The identity key's public half: from what the card tells, or from the certificate that stands beside it."""
        if self._own is None:
            metadata = self._card.metadata(piv.SLOT_CARD_AUTHENTICATION)
            if metadata is not None:
                self._own = piv_identity.from_number(metadata.algorithm, metadata.public)
        if self._own is None:
            content = self._card.get(piv.OBJECT_CARD_AUTHENTICATION) or b""
            stored = readable(lambda: tlv.find(content, piv.CERTIFICATE_TAG))
            self._own = certificate.identity_of(stored) if stored else None
        return self._own

    def _signs_silently(self) -> bool:
        try:
            self.prove(self._random(CHALLENGE_BYTES))
        except (NotSupported, KeyMissing):
            return False
        return True

    def signals(self) -> tuple[str, ...]:
        """Nothing: PIV signatures count nothing."""
        return ()

    # Proving

    def prove(self, challenge: bytes) -> Signature:
        """Sign 32 bytes with slot 9E, as its kind of key does."""
        if len(challenge) != CHALLENGE_BYTES:
            raise ValueError(f"a challenge has {CHALLENGE_BYTES} bytes, not {len(challenge)}")
        kind = piv_identity.P256  # to find out that there is none
        with contextlib.suppress(NotSupported):  # it signs, and tells nothing of itself
            own = self._find_own()
            kind = kind if own is None else piv_identity.kind_of(own)
        return Signature(self._sign(kind, kind.to_sign(challenge)))

    def _sign(self, kind: IdentityKind, data: bytes) -> bytes:
        fields = tlv.encode(piv.TAG_RESPONSE, b"") + tlv.encode(piv.TAG_CHALLENGE, data)
        response = self._card.authenticate(kind.number, piv.SLOT_CARD_AUTHENTICATION, fields)
        status = response.status
        if response.ok:
            return dynamic_field(response, piv.TAG_RESPONSE)
        if status in _PIN_WANTED:
            text = "The key wants a PIN or a touch before it signs."
            raise NotSupported(text, status_word=status)
        if status in _NO_KEY:
            text = "The key has no identity key. Enroll it first."
            raise KeyMissing(text, status_word=status)
        raise KeyDriverError("The key did not sign.", status_word=status)

    # Objects

    def read(self, slot: int) -> bytes | None:
        """The data in a container, or None when it is empty."""
        content = self._card.get(piv.container(slot)) or b""
        return readable(lambda: piv.unwrap_container(content))

    def write(self, slot: int, data: bytes) -> None:
        """Replace a container's data, or empty it, and read it back."""
        tag = piv.container(slot)
        if len(data) > piv.MAX_CONTAINER_DATA:
            raise StorageFull("The data is larger than any object of a key.")
        self._card.put(tag, piv.wrap_container(data) if data else b"")
        if (self.read(slot) or b"") != data:
            raise MalformedReply(f"Slot {slot} does not give back what was written to it.")

    # Authorization

    def begin_authorization(self) -> ManagementChallenge:
        """Ask for a challenge under the management key, with the algorithm that the card uses."""
        algorithm = self._find_algorithm()
        challenge = self._ask_challenge(algorithm) if algorithm else None
        if challenge is None:  # changed behind our back: find it again, once
            self._algorithm = None
            algorithm = self._find_algorithm()
            challenge = self._ask_challenge(algorithm) if algorithm else None
        if algorithm is None or challenge is None:
            raise NotSupported("The key has no management key of a known kind.")
        return ManagementChallenge(algorithm, challenge)

    def _find_algorithm(self) -> ManagementAlgorithm | None:
        if self._algorithm is None:
            metadata = self._card.metadata(piv.SLOT_MANAGEMENT)
            if metadata is not None and metadata.algorithm in set(ManagementAlgorithm):
                self._algorithm = ManagementAlgorithm(metadata.algorithm)
            else:
                self._algorithm = next(
                    (a for a in ALGORITHM_ORDER if self._ask_challenge(a) is not None), None
                )
        return self._algorithm

    def _ask_challenge(self, algorithm: ManagementAlgorithm) -> bytes | None:
        request = tlv.encode(piv.TAG_CHALLENGE, b"")
        response = self._card.authenticate(algorithm, piv.SLOT_MANAGEMENT, request)
        if not response.ok:
            return None
        challenge = dynamic_field(response, piv.TAG_CHALLENGE)
        if len(challenge) != algorithm.block_bytes:
            raise MalformedReply(f"The key's challenge has {len(challenge)} bytes.")
        return challenge

    def finish_authorization(self, response: bytes) -> None:
        """Give the answer to the challenge asked for last."""
        if self._algorithm is None:
            raise AuthorizationFailed("No challenge was asked for. Begin an authorization first.")
        if len(response) != self._algorithm.block_bytes:
            raise AuthorizationFailed(
                f"An answer has {self._algorithm.block_bytes} bytes, not {len(response)}."
            )
        answer = self._card.authenticate(
            self._algorithm, piv.SLOT_MANAGEMENT, tlv.encode(piv.TAG_RESPONSE, response)
        )
        if not answer.ok:
            raise AuthorizationFailed(
                "The key did not take the answer. Its management key is another one, or the"
                " challenge is out of date.",
                status_word=answer.status,
            )

    def end_authorization(self) -> None:
        """Restart the card, which ends all that was allowed."""
        self._card.restart()

    def set_management_key(self, algorithm: ManagementAlgorithm, new_key: bytes) -> None:
        """Replace the management key, where the card has the command for it."""
        if len(new_key) != algorithm.key_bytes:
            raise ValueError(f"a {algorithm.name} key has {algorithm.key_bytes} bytes")
        self._card.set_management_key(algorithm, new_key)
        self._algorithm = algorithm

    # Enrollment

    def ensure_card_id(self) -> bytes:
        """The CHUID's GUID; a random one is written when the card has none."""
        chuid = self._read_chuid()
        if chuid is None:
            chuid = piv.Chuid(self._random(piv.GUID_BYTES))
            self._card.put(piv.OBJECT_CHUID, chuid.encode())
        return chuid.guid

    def _read_chuid(self) -> piv.Chuid | None:
        content = self._card.get(piv.OBJECT_CHUID) or b""
        return readable(lambda: piv.Chuid.decode(content))

    def generate_identity_key(self) -> bytes:
        """Make a key in slot 9E, of the first kind that the card knows, and store a self-signed certificate beside it.

        The certificate lets the card remember the public key. What the maker says of the key is asked for by the way.
        """
        for kind in self._kinds:
            public = self._card.generate(piv.SLOT_CARD_AUTHENTICATION, kind.number)
            if public is not None:
                break
        else:
            names = ", ".join(kind.name for kind in self._kinds)
            raise NotSupported(
                f"The key makes no identity key of a kind that is wanted: {names}."
                " The bridge's setting keys.piv_algorithms says which are."
            )
        own = piv_identity.from_template(kind, public)
        if own is None:
            raise MalformedReply(
                f"The key gave no {kind.name} public key for its new identity key."
            )
        self._own, self._attestation = own, ()
        stored = certificate.self_signed(own, lambda data: self._sign(kind, _for_card(kind, data)))
        self._card.put(piv.OBJECT_CARD_AUTHENTICATION, piv.wrap_container(stored))
        self._attestation = self._card.attest(piv.SLOT_CARD_AUTHENTICATION)
        return own.key

    def close(self) -> None:
        """Let go of the card."""
        self._card.close()


def _for_card(kind: IdentityKind, data: bytes) -> bytes:
    """A digest in the form that the card signs; Ed25519 is given the whole, of any length."""
    return data if kind is piv_identity.ED25519 else kind.to_sign(data)

"""The FIDO2 driver: security keys as keys, by silent assertions of a credential made for keypeg (docs/protocols.md, "FIDO2").

Promises: the port in `driver.py`. What a key can do is tried at enrollment, and a key that signs only when touched is
refused there. Licenses, the card id and the management key stand on the bridge's disk (`fido2_shelf.py`), bound to the
credential: a key is recognized by signing, never by a model or serial number. The counter is a signal: told, and kept.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from keypeg.management import ManagementAlgorithm, respond
from keypeg_bridge.keys import fido2_proving, fido2_telling
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
    NotSupported,
    StorageFull,
)
from keypeg_bridge.keys.fido2_commands import Fido2Key, Info
from keypeg_bridge.keys.fido2_shelf import CARD_ID_BYTES, CredentialRecord, Fall, Shelf
from keypeg_bridge.keys.fido2_telling import SLOT_BYTES, SLOTS, Blank
from keypeg_bridge.transport.errors import DeviceGone

SAVE_EVERY: Final = 256  # counts; a crash forgets no more than these, and a copy that is further behind is still found

_LOG = structlog.get_logger(__name__)


class Fido2Driver:
    """One FIDO2 key. `model` and `serial` are what the transport knows, for people to read."""

    def __init__(
        self,
        key: Fido2Key,
        shelf: Shelf,
        *,
        gone: Callable[[], bool],
        model: str = "FIDO2 key",
        serial: str | None = None,
        emulated: bool = False,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._key = key
        self._shelf = shelf
        self._gone = gone
        self._model = model
        self._serial = serial
        self._emulated = emulated
        self._random = random
        self._closed = False
        self._blank = Blank()
        self._challenge: bytes | None = None
        self._authorized = False
        self._refusal = ""
        self._saved_counter = 0
        self._fell = False
        self._info: Info = key.info()
        if not self._info.speaks_ctap2:
            raise NotSupported(
                "The key speaks only U2F, which keypeg does not use. It needs FIDO2."
            )
        self._record = self._recognize()

    # Asking

    def _recognize(self) -> CredentialRecord | None:
        """The record whose credential the key signs with."""
        try:
            found = fido2_proving.recognized(
                self._key, self._info, self._shelf.records(), self._random
            )
        except NotSupported as error:  # it does not sign silently: no key that was enrolled here
            self._refusal = str(error)
            return None
        if found is None:
            return None
        record, assertion = found
        self._saved_counter = record.counter
        return self._noted(record, assertion.counter)

    def probe(self) -> Capabilities:
        """What the key said of itself, and what its enrollment has shown."""
        self._need_key()
        return fido2_telling.capabilities(self._info, self._record, self._blank, self._refusal)

    def identity(self) -> KeyIdentity:
        """Who the key is; its card id is given by this bridge."""
        self._need_key()
        record = self._record
        return KeyIdentity(
            public_key=record.public_key if record else None,
            card_id=record.card_id if record else self._blank.card_id,
            serial=self._serial,
            model=self._model,
            emulated=self._emulated,
            key_algorithm=record.key_algorithm if record else None,
        )

    def signals(self) -> tuple[str, ...]:
        """Whether there may be two of the key."""
        return fido2_telling.signals(self._record)

    # Proving

    def prove(self, challenge: bytes) -> Signature:
        """Sign 32 bytes silently: authenticator data and signature (docs/formats.md, "Challenges")."""
        if len(challenge) != CHALLENGE_BYTES:
            raise ValueError(f"a challenge has {CHALLENGE_BYTES} bytes, not {len(challenge)}")
        self._need_key()
        record = self._record
        if record is None:
            raise KeyMissing("The key has no credential of this bridge. Enroll it first.")
        proof, assertion = fido2_proving.asserted(
            self._key, record.credential, record.key_algorithm, record.public_key, challenge
        )
        self._record = self._noted(record, assertion.counter)
        return proof

    def _noted(self, record: CredentialRecord, counter: int) -> CredentialRecord:
        """With the counter taken in: the highest is kept, and a fall is told and kept."""
        if record.counts and counter <= record.counter:
            fallen = replace(record, fall=Fall(record.counter, counter))
            if not self._fell:
                self._fell = True
                _LOG.warning(
                    "clone suspected",
                    card_id=record.card_id.hex(),
                    seen=record.counter,
                    told=counter,
                )
                self._save(fallen)
            return fallen
        record = replace(record, counter=max(record.counter, counter))
        if record.counter - self._saved_counter >= SAVE_EVERY:
            self._save(record)
        return record

    # Slots

    def read(self, slot: int) -> bytes | None:
        """The data in a slot of the credential's record."""
        _check_slot(slot)
        self._need_key()
        return self._record.slots.get(slot) if self._record else None

    def write(self, slot: int, data: bytes) -> None:
        """Replace a slot's data; on disk on return."""
        _check_slot(slot)
        self._need_authorization()
        if len(data) > SLOT_BYTES:
            raise StorageFull(f"A slot holds {SLOT_BYTES} bytes, and this is {len(data)}.")
        if self._record is None:
            raise KeyMissing("The key has no credential of this bridge. Enroll it first.")
        record = self._record.with_slot(slot, data)
        self._save(record)
        self._record = record

    # Authorization

    def begin_authorization(self) -> ManagementChallenge:
        """Ask for a challenge under the record's management key."""
        self._need_key()
        algorithm, _ = self._management()
        self._challenge = self._random(algorithm.block_bytes)
        return ManagementChallenge(algorithm, self._challenge)

    def finish_authorization(self, response: bytes) -> None:
        """Give the answer to the challenge asked for last."""
        self._need_key()
        challenge, self._challenge = self._challenge, None
        if challenge is None:
            raise AuthorizationFailed("No challenge was asked for. Begin an authorization first.")
        algorithm, key = self._management()
        if not hmac.compare_digest(respond(algorithm, key, challenge), response):
            self._authorized = False
            raise AuthorizationFailed(
                "The answer was not taken. The key's management key is another one, or the"
                " challenge is out of date."
            )
        self._authorized = True

    def end_authorization(self) -> None:
        """Forget an authorization."""
        self._challenge, self._authorized = None, False

    def set_management_key(self, algorithm: ManagementAlgorithm, new_key: bytes) -> None:
        """Replace the management key of the record; before there is one, of the record to come."""
        if len(new_key) != algorithm.key_bytes:
            raise ValueError(f"a {algorithm.name} key has {algorithm.key_bytes} bytes")
        self._need_authorization()
        if self._record is None:
            self._blank = replace(self._blank, algorithm=algorithm, key=new_key)
            return
        record = replace(self._record, management_algorithm=algorithm, management_key=new_key)
        self._save(record)
        self._record = record

    def _management(self) -> tuple[ManagementAlgorithm, bytes]:
        if self._record is not None:
            return self._record.management_algorithm, self._record.management_key
        return self._blank.algorithm, self._blank.key

    # Enrollment

    def ensure_card_id(self) -> bytes:
        """A random card id, kept with the credential once there is one."""
        self._need_key()
        if self._record is not None:
            return self._record.card_id
        if self._blank.card_id is None:
            self._blank = replace(self._blank, card_id=self._random(CARD_ID_BYTES))
        assert self._blank.card_id is not None
        return self._blank.card_id

    def generate_identity_key(self) -> bytes:
        """Let the key make a credential (it waits for a touch), and try that it signs silently; its public key."""
        self._need_authorization()
        card_id = self.ensure_card_id()
        made = self._key.make_credential(card_id, self._random(CHALLENGE_BYTES))
        first = fido2_proving.silent_counter(self._key, made, self._random)
        second = fido2_proving.silent_counter(self._key, made, self._random)
        algorithm, key = self._management()
        record = CredentialRecord(
            card_id=card_id,
            credential=made.id,
            key_algorithm=made.algorithm,
            public_key=made.public_key,
            counts=second > first,
            counter=second,
            attested=made.attested,
            management_algorithm=algorithm,
            management_key=key,
            slots=self._record.slots if self._record else {},
        )
        self._save(record)
        self._record, self._refusal, self._fell = record, "", False
        return made.public_key

    def close(self) -> None:
        """Let go of the key."""
        if self._closed:
            return
        self._closed = True
        record = self._record
        if record is not None and record.counter > self._saved_counter:
            try:
                self._save(record)
            except KeyDriverError as error:
                _LOG.error("counter not kept", reason=str(error))
        self._key.close()

    def _save(self, record: CredentialRecord) -> None:
        try:
            self._shelf.save(record)
        except OSError as error:
            raise KeyDriverError(
                f"The key's record cannot be written to disk: {error.strerror or error}."
            ) from error
        self._saved_counter = record.counter

    def _need_key(self) -> None:
        """What is on disk is of no use without the key."""
        if self._closed or self._gone():
            raise DeviceGone("The key was unplugged, or let go.")

    def _need_authorization(self) -> None:
        self._need_key()
        if not self._authorized:
            raise AuthorizationFailed("The key allows no change without authorization.")


def _check_slot(slot: int) -> None:
    if not 0 <= slot < SLOTS:
        raise ValueError(f"slot {slot} is not one of 0 to {SLOTS - 1}")

"""Locations, and the enrollment of keys: one use case a method.

Promises: a key becomes a location only with a proof that it has the private key, over a nonce of this
server that is ten minutes old at most and used once (docs/formats.md, "Challenges"). The management key of
a card is derived from the server's master key, the account and the card's id, so that one account's
members can never learn that of a card of another. Emulated keys are refused unless settings allow them, and
where settings name makers, so is a key that none of them vouches for (attestation.py).

A computer becomes one by the hashes of its parts, which it tells itself.

Leaves to others: talking to the key, which a bridge does (docs/protocols.md).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from keypeg import names
from keypeg.errors import (
    AlreadyExists,
    FieldInvalid,
    KeyEmulated,
    KeyLost,
    KeyUnsuitable,
    LimitExceeded,
)
from keypeg.management import (
    DEFAULT_MANAGEMENT_KEY,
    DIVERSIFIED_ALGORITHM,
    ManagementAlgorithm,
    diversify,
    respond,
)
from keypeg.possession import check_possession, enrollment_challenge
from keypeg.v1.document_pb2 import PublicKey
from keypeg_server.domain.location import Location
from keypeg_server.service.accounts import found_in, not_found
from keypeg_server.service.attestation import Roots
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Page, Request, Store, Unit

NONCE_BYTES: Final = 32
ENROLLMENT_TIME: Final = timedelta(minutes=10)  # a person plugs the key in, and out, and in again

HOST_LIMIT: Final = 10_000  # computers of an account; more than any was seen to have

ALGORITHMS: Final = {
    "3des": ManagementAlgorithm.TRIPLE_DES,
    "aes128": ManagementAlgorithm.AES_128,
    "aes192": ManagementAlgorithm.AES_192,
    "aes256": ManagementAlgorithm.AES_256,
}
_WORDS: Final = {algorithm: word for word, algorithm in ALGORITHMS.items()}


@dataclass(frozen=True)
class WriteRequest:
    """What a key asks of whoever would write to it."""

    card_id: str  # 32 hexadecimal characters
    algorithm: ManagementAlgorithm
    challenge: bytes
    factory_key: bool
    emulated: bool


@dataclass(frozen=True)
class WriteAuthorization:
    """The answer for the key."""

    response: bytes
    enrollment_nonce: bytes
    new_key: bytes = field(default=b"", repr=False)
    new_algorithm: str = ""


@dataclass(frozen=True)
class NewKey:
    """A key that asks to become a location."""

    location: Location  # without id and create_time
    nonce: bytes
    signature: bytes
    attestation: tuple[bytes, ...] = ()  # certificates, the key's own first


class LocationService:
    """See the contract's LocationService."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        master_key: bytes,
        *,
        allow_emulated: bool,
        roots: Roots | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._master_key = master_key
        self._allow_emulated = allow_emulated
        self._roots = roots

    async def get_location(self, account: str, id: str) -> Location:
        location = await self._store.read(lambda unit: unit.places.location(account, id))
        if location is None:
            raise not_found(names.LOCATION.build(account, id))
        return location

    async def list_locations(self, account: str, page: Page) -> list[Location]:
        return await self._store.read(
            lambda unit: found_in(unit, account, unit.places.list_locations(account, page))
        )

    async def authorize_write(self, account: str, asked: WriteRequest) -> WriteAuthorization:
        """Answer a key's challenge; with its factory key, give it one of its own."""
        self._check_emulated(asked.emulated)
        if len(asked.challenge) != asked.algorithm.block_bytes:
            what = f"a {_WORDS[asked.algorithm]} challenge has {asked.algorithm.block_bytes} bytes"
            raise FieldInvalid(
                f"The challenge has {len(asked.challenge)} bytes; {what}.",
                fields={"challenge": what},
            )
        master = hmac.digest(self._master_key, b"account\0" + account.encode(), "sha256")
        card_id = bytes.fromhex(asked.card_id)
        nonce = os.urandom(NONCE_BYTES)
        if asked.factory_key:
            algorithm = _next_algorithm(asked.algorithm)
            answer = WriteAuthorization(
                respond(asked.algorithm, _factory_key(asked.algorithm), asked.challenge),
                nonce,
                diversify(master, card_id, algorithm),
                _WORDS[algorithm],
            )
        else:
            key = diversify(master, card_id, asked.algorithm)
            answer = WriteAuthorization(respond(asked.algorithm, key, asked.challenge), nonce)

        def remember(unit: Unit) -> None:
            if unit.accounts.account(account) is None:
                raise not_found(names.ACCOUNT.build(account))
            _check_not_lost(unit, account, asked)
            now = self._clock.wall()
            digest = hashlib.sha256(nonce).digest()
            unit.places.add_enrollment(account, asked.card_id, digest, now + ENROLLMENT_TIME, now)

        await self._store.write(remember)
        return answer

    async def create_key_location(self, request: Request[Location], new: NewKey) -> bytes:
        """Add a key; the same card with a new private key replaces what nothing lives on."""
        key = new.location
        self._check_emulated(key.emulated)
        name = names.ACCOUNT.build(key.account)
        public_key = PublicKey(algorithm=key.key_algorithm, key=key.public_key)  # type: ignore[arg-type]
        challenge = enrollment_challenge(key.card_id, name, new.nonce)
        check_possession(public_key, challenge, new.signature)
        now = self._clock.wall()
        if self._roots is not None:
            self._roots.check(new.attestation, public_key, now)

        def create(unit: Unit) -> Location:
            digest = hashlib.sha256(new.nonce).digest()
            ends = unit.places.take_enrollment(key.account, key.card_id, digest)
            if ends is None or now >= ends:
                what = "not one of this server for this account and card, used before, or too old"
                raise FieldInvalid(
                    f"The enrollment nonce is {what}; authorize a write again.",
                    fields={"enrollment_nonce": what},
                )
            old = unit.places.key_location(key.account, key.card_id)
            if old is None:
                location = replace(key, id=self._new_id(), create_time=now)
                unit.places.add_location(location)
                _record(unit, name, location)
                return location
            if any(one.location == old.id for one in unit.licenses.list_activations(key.account)):
                where = names.LOCATION.build(old.account, old.id)
                raise AlreadyExists(
                    f"This key is {where} already, and licenses live on it; "
                    "they name the private key that it had before.",
                    name=where,
                )
            location = replace(key, id=old.id, create_time=old.create_time)
            unit.places.update_location(location)
            _record(unit, name, location)
            return location

        return await self._store.once(request, create)

    async def create_host_location(self, request: Request[Location], host: Location) -> bytes:
        """Add a computer; one that is a location already gets its new parts, unless a license lives there."""
        name = names.ACCOUNT.build(host.account)
        now = self._clock.wall()

        def create(unit: Unit) -> Location:
            if unit.accounts.account(host.account) is None:
                raise not_found(name)
            old = unit.places.host_location(host.account, host.device)
            if old is None:
                _check_room(unit, host.account)
                location = replace(host, id=self._new_id(), create_time=now)
                unit.places.add_location(location)
            elif any(
                one.location == old.id for one in unit.licenses.list_activations(host.account)
            ):
                _is_there(unit, old, now)
                return old  # its documents name the parts that it had
            else:
                location = replace(host, id=old.id, create_time=old.create_time)
                unit.places.update_location(location)
            where = names.LOCATION.build(location.account, location.id)
            unit.record(
                name, "host_added", location=where, device=host.device, host=host.display_name
            )
            _is_there(unit, location, now)
            return location

        return await self._store.once(request, create)

    def _check_emulated(self, emulated: bool) -> None:
        if emulated and not self._allow_emulated:
            raise KeyEmulated(
                "This key is emulated, and this server takes none: what is emulated can be copied. "
                "In a laboratory, set keys.allow_emulated = true."
            )


def _is_there(unit: Unit, host: Location, now: datetime) -> None:
    """A license may be activated onto this computer, in the next ten minutes: it has just spoken for itself (LIC-12)."""
    unit.places.leave_hand(host.account, host.hand_id)
    nobody_s = hashlib.sha256(os.urandom(NONCE_BYTES)).digest()
    unit.places.add_enrollment(host.account, host.hand_id, nobody_s, now + ENROLLMENT_TIME, now)


def _check_room(unit: Unit, account: str) -> None:
    """Any member may add a computer: not without end."""
    if unit.places.host_count(account) >= HOST_LIMIT:
        raise LimitExceeded(
            f"{names.ACCOUNT.build(account)} has {HOST_LIMIT} computers as locations, which is the limit.",
            limit="locations.hosts",
            value=str(HOST_LIMIT),
        )


def _check_not_lost(unit: Unit, account: str, asked: WriteRequest) -> None:
    """Refuse to write to a lost key, unless it was reset since: then its private key is gone."""
    cards = unit.keys.of_card(account, asked.card_id)
    if cards and not asked.factory_key and all(one.lost_time is not None for one in cards):
        raise KeyLost(
            f"This key is {cards[-1].name}, which was reported lost, and stays refused. To use it again, "
            "reset it with its maker's tool, and enroll it anew.",
            location=cards[-1].name,
        )


def _factory_key(algorithm: ManagementAlgorithm) -> bytes:
    key = DEFAULT_MANAGEMENT_KEY[: algorithm.key_bytes]
    if len(key) != algorithm.key_bytes:
        raise KeyUnsuitable(
            f"No key leaves its factory with a {_WORDS[algorithm]} management key that is known; "
            "reset it with its maker's tool.",
            capability="factory_key",
        )
    return key


def _next_algorithm(algorithm: ManagementAlgorithm) -> ManagementAlgorithm:
    """What a key is given: a card with triple DES may know nothing else, the others know AES-256."""
    if algorithm is ManagementAlgorithm.TRIPLE_DES:
        return algorithm
    return DIVERSIFIED_ALGORITHM


def _record(unit: Unit, account: str, key: Location) -> None:
    """A key is a place where licenses of this account may live."""
    unit.record(
        account,
        "key_enrolled",
        location=names.LOCATION.build(key.account, key.id),
        card=key.card_id,
        model=key.model,
        serial=key.serial,
        emulated=key.emulated or None,
    )

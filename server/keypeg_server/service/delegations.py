"""Delegations over time: who may sign next, what a root is asked for, and whether its answer is taken.

Promises: pure. A new key signs from now on, and grants of the keys before it hold for the overlap; what else they
signed holds for as long as the delegation, unless they are withdrawn. Generations only grow. Which key signs is the
first of the delegation whose private half is there.

Leaves to others: private keys (signing_keys.py), the root's (root_keys.py), files and the database (rotating.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from keypeg import names
from keypeg.document import (
    DELEGATED_KEY_COUNT,
    key_id,
    parsed,
    seal,
    verify_delegation,
    verify_with_key,
)
from keypeg.envelope import DELEGATION_TYPE, Signer
from keypeg.errors import DocumentMalformed
from keypeg.instants import instant
from keypeg.v1 import document_pb2
from keypeg.v1.document_pb2 import DelegatedKey, Delegation, Envelope, PublicKey

REQUEST_TYPE: Final = "application/vnd.keypeg.delegationrequest.v1+protobuf"
LIFETIME: Final = timedelta(days=730)
OVERLAP: Final = timedelta(days=30)  # longer than any grant, and than an app stays offline on one
BACKDATED: Final = timedelta(hours=1)  # for apps whose clock is a little behind
PURPOSES: Final = (
    document_pb2.PURPOSE_LICENSE,
    document_pb2.PURPOSE_GRANT,
    document_pb2.PURPOSE_LOG,
)
KEPT: Final = (document_pb2.PURPOSE_LICENSE, document_pb2.PURPOSE_LOG)  # of keys that came before


class DelegationRefused(Exception):
    """Why a request or a delegation is not taken: one sentence."""


@dataclass(frozen=True)
class Entry:
    """A key of a delegation, for people."""

    key_id: str
    purposes: tuple[str, ...]
    begins: datetime
    ends: datetime


def wanted(
    before: Delegation,
    publisher: str,
    current: PublicKey,
    now: datetime,
    *,
    overlap: timedelta = OVERLAP,
    withdrawn: Collection[str] = (),
) -> Delegation:
    """The delegation that follows `before` (empty for none), in which `current` signs.

    `publisher` is the name, `withdrawn` has the ids of keys that nobody is to believe any more.
    """
    after = Delegation(publisher=publisher, generation=before.generation + 1)
    after.issue_time.FromDatetime(now)
    mine = key_id(current)
    begun = [one.not_before_time for one in before.keys if key_id(one.public_key) == mine]
    first = after.keys.add(public_key=current, purposes=PURPOSES)
    first.not_before_time.FromDatetime(now - BACKDATED)
    if begun:
        first.not_before_time.CopyFrom(min(begun, key=instant))
    first.not_after_time.FromDatetime(now + LIFETIME)
    kept: set[str] = set()
    for one in before.keys:
        id = key_id(one.public_key)
        if id == mine or id in withdrawn:
            continue
        if id not in kept:
            kept.add(id)
            begins = min(
                (other.not_before_time for other in before.keys if key_id(other.public_key) == id),
                key=instant,
            )
            entry = after.keys.add(public_key=one.public_key, purposes=KEPT, not_before_time=begins)
            entry.not_after_time.FromDatetime(now + LIFETIME)
        ends = min(_ends(one), now + overlap)
        if document_pb2.PURPOSE_GRANT in one.purposes and ends > now:
            entry = after.keys.add(
                public_key=one.public_key,
                purposes=(document_pb2.PURPOSE_GRANT,),
                not_before_time=one.not_before_time,
            )
            entry.not_after_time.FromDatetime(ends)
    if len(after.keys) > DELEGATED_KEY_COUNT:
        raise DelegationRefused(
            f"A delegation names at most {DELEGATED_KEY_COUNT} keys; withdraw some of the oldest."
        )
    return after


def request(delegation: Delegation, signer: Signer) -> Envelope:
    """What the root is asked to sign; by the key that is to sign, which so shows that it is there."""
    return seal(delegation, REQUEST_TYPE, signer)


def requested(envelope: Envelope) -> Delegation:
    """What a request asks for; KeypegError or DelegationRefused when its own key has not signed it."""
    if envelope.payload_type != REQUEST_TYPE:
        raise DelegationRefused(
            "This is no request for a delegation; `keypegd key rotate --request FILE` writes one."
        )
    claimed = parsed(Delegation, envelope.payload)
    if not claimed.keys or not names.PUBLISHER.matches(claimed.publisher):
        raise DocumentMalformed("The request names no key or no publisher; make a new one.")
    verify_with_key(envelope, REQUEST_TYPE, claimed.keys[0].public_key)
    return claimed


def signed(envelope: Envelope, root: Signer) -> Envelope:
    """The root's answer to a request."""
    return seal(requested(envelope), DELEGATION_TYPE, root)


def accepted(
    envelope: Envelope, publisher: str, root: bytes, before: int, now: datetime
) -> Delegation:
    """A delegation that is newer than generation `before`; KeypegError or DelegationRefused when it is not to be taken."""
    found = verify_delegation(envelope, publisher=publisher, root=root, now=now)
    if found.generation <= before:
        raise DelegationRefused(
            f"The delegation of {publisher} has generation {found.generation}, and {before} is in use; "
            "make a new request, and have the root sign that."
        )
    return found


def signing_key(delegation: Delegation, here: Collection[str], now: datetime) -> str | None:
    """The id of the key that signs: the first that may sign grants now, of those (ids) that are here."""
    for one in delegation.keys:
        if (
            document_pb2.PURPOSE_GRANT in one.purposes
            and one.not_before_time.ToDatetime(tzinfo=UTC) <= now < _ends(one)
            and key_id(one.public_key) in here
        ):
            return key_id(one.public_key)
    return None


def ends(delegation: Delegation, id: str) -> datetime:
    """Until when a key of a delegation may sign grants; the beginning of time when it may not."""
    return max(
        (
            _ends(one)
            for one in delegation.keys
            if key_id(one.public_key) == id and document_pb2.PURPOSE_GRANT in one.purposes
        ),
        default=datetime.min.replace(tzinfo=UTC),
    )


def entries(keys: Iterable[DelegatedKey]) -> list[Entry]:
    """The keys of a delegation, as people compare them."""
    return [
        Entry(
            key_id(one.public_key),
            tuple(
                document_pb2.Purpose.Name(purpose).removeprefix("PURPOSE_").lower()
                for purpose in one.purposes
            ),
            one.not_before_time.ToDatetime(tzinfo=UTC),
            _ends(one),
        )
        for one in keys
    ]


def _ends(key: DelegatedKey) -> datetime:
    return key.not_after_time.ToDatetime(tzinfo=UTC)

"""Slot 0 of a key: delegations, and what the key should carry, signed (docs/bridge.md, "Slot 0").

Promises: bytes in, values out, or SlotMalformed with a sentence; reading is bounded and never raises anything else.
Documents of types that are not known here are kept as they are. Contents say whether they hang together with their delegation
and the root that they name: a bridge pins no root, and believes of each what concerns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from google.protobuf.message import DecodeError

from keypeg import key_contents
from keypeg.envelope import CONTENTS_TYPE, DELEGATION_TYPE
from keypeg.errors import KeypegError
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.key_contents_pb2 import KeyContents
from keypeg_bridge.rack.contents import (
    StoredDelegation,
    delegation_of,
    stored_delegation,
    with_delegation,
)
from keypeg_bridge.rack.ports import SlotMalformed

INDEX_SLOT: Final = 0
PLAIN: Final = b"\x01"
"""The first byte of an index with delegations alone: written where there is nothing else, so that older bridges read it."""
MIXED: Final = b"\x02"
"""The first byte of one with documents of any type; other versions are not read."""
MAX_DOCUMENTS: Final = 64
"""Two for each publisher, and more publishers than fit on a key: a bound for what is foreign."""


@dataclass(frozen=True, slots=True)
class StoredContents:
    """Contents on a key, parsed."""

    envelope: Envelope
    document: KeyContents
    vouched: bool
    """Whether the root that they name stands behind them and their delegation."""


@dataclass(frozen=True, slots=True)
class Index:
    """What slot 0 holds."""

    delegations: tuple[StoredDelegation, ...] = ()
    contents: tuple[StoredContents, ...] = ()
    others: tuple[Envelope, ...] = ()
    """Of types that are not known here."""

    def of(self, publisher: str) -> StoredContents | None:
        """The contents of a publisher, if the key carries them."""
        return next((one for one in self.contents if one.document.publisher == publisher), None)

    def having(self, delegation: StoredDelegation, contents: Envelope | None) -> Index:
        """With these in the place of their publisher's."""
        delegations = with_delegation(self.delegations, delegation)
        if contents is None:
            return replace(self, delegations=delegations)
        under = delegation_of(delegation.document.publisher, delegations)
        new = stored_contents(contents, under)
        kept = (x for x in self.contents if x.document.publisher != new.document.publisher)
        return replace(self, delegations=delegations, contents=(*kept, new))


def stored_contents(envelope: Envelope, delegation: Envelope | None) -> StoredContents:
    """The contents in an envelope."""
    if envelope.payload_type != CONTENTS_TYPE:
        raise SlotMalformed("what a key carries is of another type")
    try:
        document = KeyContents.FromString(envelope.payload)
    except DecodeError:
        raise SlotMalformed("what a key carries cannot be read") from None
    vouched = False
    if delegation is not None:
        try:
            key_contents.vouched(envelope, delegation)
            vouched = True
        except KeypegError:
            pass
    return StoredContents(envelope, document, vouched)


def parse_index(data: bytes) -> Index:
    """A version byte, then each document with its length before it, 2 bytes big endian."""
    if data[:1] not in (PLAIN, MIXED):
        raise SlotMalformed("slot 0 is not of a version that is known here")
    found = _envelopes(data)
    delegations = [stored_delegation(one) for one in found if one.payload_type == DELEGATION_TYPE]
    others = [one for one in found if one.payload_type not in (DELEGATION_TYPE, CONTENTS_TYPE)]
    if others and data[:1] == PLAIN:
        raise SlotMalformed("slot 0 holds something that is no delegation")
    contents = []
    for one in found:
        if one.payload_type == CONTENTS_TYPE:
            plain = stored_contents(one, None)
            under = delegation_of(plain.document.publisher, delegations)
            contents.append(stored_contents(one, under))
    return Index(tuple(delegations), tuple(contents), tuple(others))


def encode_index(index: Index) -> bytes:
    """The bytes of slot 0."""
    envelopes: list[Envelope] = [one.envelope for one in index.delegations]
    envelopes += [one.envelope for one in index.contents]
    envelopes += index.others
    parts = [PLAIN if len(envelopes) == len(index.delegations) else MIXED]
    for envelope in envelopes:
        body = envelope.SerializeToString()
        parts += (len(body).to_bytes(2, "big"), body)
    return b"".join(parts)


def _envelopes(data: bytes) -> Sequence[Envelope]:
    found: list[Envelope] = []
    at = 1
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + 2 + size]
        if at + 2 > len(data) or len(body) != size or len(found) == MAX_DOCUMENTS:
            raise SlotMalformed("slot 0 is cut off or too long")
        try:
            found.append(Envelope.FromString(body))
        except DecodeError:
            raise SlotMalformed("slot 0 holds something that is no document") from None
        at += 2 + size
    return found

"""What this bridge has seen of keys, so that old contents, copies of them and lost keys are refused here (docs/bridge.md).

Promises: numbers only grow, and a lost key stays lost. Each root's word counts for itself alone: what is signed under another
root changes nothing for this one, so nobody can have a key refused who could not sign for it. The oldest is forgotten beyond
the limits, lost keys last.

Leaves to others: the disk (`memory_file`), telling sessions, and the app's own verification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import structlog

from keypeg import key_contents
from keypeg.document import verify_with_key
from keypeg.envelope import DELEGATION_TYPE, ed25519_key, key_id
from keypeg.errors import DocumentSuperseded, KeypegError
from keypeg.v1.document_pb2 import Envelope, PublicKey
from keypeg.v1.key_contents_pb2 import KeyContents, KeyContentsEntry
from keypeg_bridge.rack.contents import StoredLicense, delegation_of
from keypeg_bridge.rack.ports import Identity
from keypeg_bridge.rack.reading import Reading
from keypeg_bridge.rack.shelf import KeyChange

K = TypeVar("K")
V = TypeVar("V")

KEYS: Final = 4_096
"""Remembered: more than pass through one computer."""
ACTIVATIONS: Final = 16_384
_LOG = structlog.get_logger(__name__)

KeyName = tuple[bytes, str, str]
"""A root, the id of a key's public key, a publisher."""
ActivationName = tuple[bytes, bytes]
"""A root, what stands for an activation in contents."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one publisher's licenses on one key."""

    version: int = 0
    """Contents of a lower one are old."""
    lost: bool = False
    location: str = ""


@dataclass(slots=True)
class Seen:
    """All that is remembered."""

    keys: dict[KeyName, Known] = field(default_factory=dict)
    activations: dict[ActivationName, int] = field(default_factory=dict)


class Memory:
    """What this bridge has seen. In the event loop only."""

    def __init__(
        self, seen: Seen | None = None, keep: Callable[[Seen], None] | None = None
    ) -> None:
        """`keep` puts it on the disk after each change."""
        self._seen = seen or Seen()
        self._keep = keep or (lambda _: None)

    def heard(self, change: KeyChange) -> None:
        """Learn from a key that has come, or was written to, and say in the log what is refused of it."""
        reading = change.record.reading
        if reading is None or change.record.place is None:
            return
        self.learn(reading)
        for error in self.objections(reading):
            _LOG.warning(
                "key refused", key=change.record.name, reason=error.reason.name, why=str(error)
            )

    def learn(self, reading: Reading) -> None:
        """What a key carries, it has carried."""
        public_key = public_key_of(reading.identity)
        if public_key is None:
            return
        news = False
        for stored in reading.index.contents:
            document = stored.document
            if not stored.vouched or document.location_key != public_key:
                continue
            news |= self._note(document, max(document.version, document.least_version))
            news |= self._note_generations(document.publisher_root, document.entries)
        if news:
            self._keep(self._seen)

    def fence(self, contents: Envelope, delegation: Envelope) -> KeyContents:
        """Learn what a server says of a key. Raises what is wrong with the documents."""
        document, _ = key_contents.vouched(contents, delegation)
        news = self._note(document, document.least_version)
        news |= self._note_generations(document.publisher_root, document.withdrawn)
        if news:
            self._keep(self._seen)
        return document

    def least(self, contents: KeyContents) -> int:
        """The lowest version that is not old."""
        return self._known(contents).version

    def objections(self, reading: Reading) -> list[KeypegError]:
        """Why licenses of a key that name it are refused, each reason once."""
        own = reading.identity.public_key
        found: dict[str, KeypegError] = {}
        for stored in reading.licenses:
            if stored.document.location_key.key == own:
                error = self.objection(reading, stored)
                if error is not None:
                    found.setdefault(f"{error.reason.name} {error}", error)
        return list(found.values())

    def objection(self, reading: Reading, stored: StoredLicense) -> KeypegError | None:
        """Why a license on a key is refused here; None when it is not."""
        license_ = stored.document
        contents = reading.contents_of(license_.publisher)
        if contents is None or not contents.vouched:
            if self._lost_before(reading, stored):
                return key_contents.lost(license_.location)
            return _error(lambda: key_contents.check_carried(None, license_, 0))
        known = self._known(contents.document)
        if known.lost:
            return key_contents.lost(known.location)
        document = contents.document
        error = _error(lambda: key_contents.check_carried(document, license_, known.version))
        if error is not None:
            return error
        name = (document.publisher_root, key_contents.entry_of(license_.activation))
        newest = self._seen.activations.get(name, 0)
        if license_.generation < newest:
            return DocumentSuperseded(
                f"{license_.activation} opens nothing on this key any more: its document here has generation"
                f" {license_.generation}, and {newest} was seen. It moved to another key, or was suspended, revoked"
                " or taken back; look at it: keypeg license list. If it is to be here: keypeg key refresh.",
                name=license_.activation,
                generation=str(license_.generation),
                seen=str(newest),
            )
        return None

    def _note_generations(self, root: bytes, entries: Iterable[KeyContentsEntry]) -> bool:
        """Documents of a lower generation are old; whether anything is new."""
        news = False
        for entry in list(entries)[: key_contents.ENTRY_COUNT]:
            name = (root, entry.activation)
            if entry.generation > self._seen.activations.get(name, 0):
                _newest_last(self._seen.activations, name, entry.generation, ACTIVATIONS)
                news = True
        return news

    def _known(self, contents: KeyContents) -> Known:
        return self._seen.keys.get(_name(contents), Known())

    def _note(self, contents: KeyContents, version: int) -> bool:
        name, before = _name(contents), self._known(contents)
        after = replace(
            before,
            version=max(before.version, version),
            lost=before.lost or contents.lost,
            location=contents.location,
        )
        if after == before:
            return False
        _newest_last(self._seen.keys, name, after, KEYS, spare=lambda one: one.lost)
        if after.lost and not before.lost:
            _LOG.warning("key reported lost", location=contents.location, key_id=name[1])
        return True

    def _lost_before(self, reading: Reading, stored: StoredLicense) -> bool:
        """Whether a license without contents is on a key that its root has reported lost."""
        key = key_id(stored.document.location_key)
        publisher = stored.document.publisher
        delegation = delegation_of(publisher, reading.delegations)
        roots = [
            root
            for (root, of, whose), known in self._seen.keys.items()
            if (of, whose, known.lost) == (key, publisher, True)
        ]
        return delegation is not None and any(_signed(delegation, root) for root in roots)


def public_key_of(identity: Identity) -> PublicKey | None:
    """A key's public key, as documents have it."""
    if identity.public_key is None:
        return None
    return PublicKey(algorithm=identity.key_algorithm, key=identity.public_key)  # type: ignore[arg-type]


def _name(contents: KeyContents) -> KeyName:
    return contents.publisher_root, key_id(contents.location_key), contents.publisher


def _signed(delegation: Envelope, root: bytes) -> bool:
    return _error(lambda: verify_with_key(delegation, DELEGATION_TYPE, ed25519_key(root))) is None


def _error(check: Callable[[], object]) -> KeypegError | None:
    try:
        check()
    except KeypegError as error:
        return error
    return None


def _newest_last(
    where: dict[K, V], name: K, value: V, most: int, spare: Callable[[V], bool] = lambda _: False
) -> None:
    where.pop(name, None)
    where[name] = value
    if len(where) > most:
        oldest = next((one for one, held in where.items() if not spare(held)), next(iter(where)))
        del where[oldest]

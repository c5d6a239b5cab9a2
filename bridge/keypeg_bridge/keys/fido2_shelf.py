"""What a FIDO2 key cannot hold, on the bridge's disk: for each credential its id, its management key and its slots.

Promises: a record is one file, replaced as a whole and on disk when `save` returns; only this user reads it; a damaged
file is named in the log and hides no other. Nothing in it makes anybody believe anything: a license is signed, names the
credential's public key, and is of no use without the key itself.
"""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import structlog

from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm

VERSION: Final = 1
CARD_ID_BYTES: Final = 16
MAX_RECORDS: Final = 256  # read at most; each is offered to every key that comes
MAX_FILE_BYTES: Final = 4_194_304  # twenty slots of 64 KiB in base64, twice over

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fall:
    """A counter that was lower than one seen before: there may be two of the key."""

    seen: int
    told: int


@dataclass(frozen=True, slots=True)
class CredentialRecord:
    """One enrolled key."""

    card_id: bytes  # 16 bytes, random
    credential: bytes = field(repr=False)
    key_algorithm: int  # a keypeg.v1.KeyAlgorithm
    public_key: bytes
    counts: bool  # its counter moved at enrollment
    counter: int  # the highest seen, or a little less after a crash
    attested: bool = False
    management_algorithm: ManagementAlgorithm = ManagementAlgorithm.AES_192
    management_key: bytes = field(default=DEFAULT_MANAGEMENT_KEY, repr=False)
    fall: Fall | None = None
    slots: Mapping[int, bytes] = field(default_factory=dict, repr=False)

    @property
    def management_is_default(self) -> bool:
        """Whether no server has given it a management key yet."""
        return self.management_key == DEFAULT_MANAGEMENT_KEY

    def with_slot(self, slot: int, data: bytes) -> CredentialRecord:
        """With one slot replaced, or emptied by no data."""
        slots = {number: held for number, held in self.slots.items() if number != slot}
        if data:
            slots[slot] = data
        return replace(self, slots=slots)

    def encode(self) -> bytes:
        """The file's content."""
        return json.dumps(
            {
                "version": VERSION,
                "card_id": self.card_id.hex(),
                "credential": _text(self.credential),
                "key_algorithm": self.key_algorithm,
                "public_key": _text(self.public_key),
                "counts": self.counts,
                "counter": self.counter,
                "attested": self.attested,
                "management_algorithm": int(self.management_algorithm),
                "management_key": _text(self.management_key),
                "fall": None if self.fall is None else [self.fall.seen, self.fall.told],
                "slots": {str(number): _text(data) for number, data in self.slots.items()},
            }
        ).encode()

    @classmethod
    def decode(cls, content: bytes) -> CredentialRecord:
        """From a file's content; `ValueError` for anything that `encode` does not write."""
        try:
            found: dict[str, Any] = json.loads(content)
            if found["version"] != VERSION:
                raise ValueError(f"version {found['version']!r}")
            fall = found["fall"]
            record = cls(
                card_id=bytes.fromhex(found["card_id"]),
                credential=_bytes(found["credential"]),
                key_algorithm=int(found["key_algorithm"]),
                public_key=_bytes(found["public_key"]),
                counts=bool(found["counts"]),
                counter=int(found["counter"]),
                attested=bool(found["attested"]),
                management_algorithm=ManagementAlgorithm(found["management_algorithm"]),
                management_key=_bytes(found["management_key"]),
                fall=None if fall is None else Fall(int(fall[0]), int(fall[1])),
                slots={int(number): _bytes(data) for number, data in found["slots"].items()},
            )
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        if (
            len(record.card_id) != CARD_ID_BYTES
            or not record.credential
            or len(record.management_key) != record.management_algorithm.key_bytes
        ):
            raise ValueError("a field of another length")
        return record


class Shelf:
    """The records of one bridge. Any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def records(self) -> list[CredentialRecord]:
        """All that can be read, those saved last first."""
        with self._lock:
            try:
                files = [(one.stat().st_mtime_ns, one) for one in self._folder.glob("*.json")]
            except FileNotFoundError:
                return []
            found = []
            for _, file in sorted(files, reverse=True)[:MAX_RECORDS]:
                try:
                    with file.open("rb") as handle:
                        content = handle.read(MAX_FILE_BYTES + 1)
                    if len(content) > MAX_FILE_BYTES:
                        raise ValueError("too long")
                    found.append(CredentialRecord.decode(content))
                except (OSError, ValueError) as error:
                    _LOG.error("key record unreadable", file=str(file), reason=str(error))
            return found

    def save(self, record: CredentialRecord) -> None:
        """Replace the record of a card id. OSError when it is not on disk."""
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._folder / f"{record.card_id.hex()}.json"
            partial = file.with_suffix(".partial")
            partial.unlink(missing_ok=True)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as handle:
                handle.write(record.encode())
                handle.flush()
                os.fsync(descriptor)
            partial.replace(file)
            self._sync_folder()

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)

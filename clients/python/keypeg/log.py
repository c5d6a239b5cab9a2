"""The usage and audit log: its hash chain, and the lines of an export (docs/log.md).

Promises: pure; a line that is none is refused, whatever it is.

Leaves to others: verification (log_verification.py), files (cli/audit.py), what records mean (usage.py), what is
logged (the server).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from keypeg.envelope import LOG_TYPE, Signer, seal
from keypeg.errors import DocumentMalformed, FieldInvalid
from keypeg.v1.document_pb2 import Envelope
from keypeg.v1.log_pb2 import LogHead

FIRST_LINE: Final = b"keypeg-log 1"
HASH_BYTES: Final = 32
LINE_BYTES: Final = 262_144  # above any envelope in base64, and any record
_GENESIS: Final = b"keypeg log v1\0"


def genesis(log: str) -> bytes:
    """The hash before the first record of a log."""
    return hashlib.sha256(_GENESIS + log.encode()).digest()


def chained(previous: bytes, record: bytes) -> bytes:
    """The hash of a record, over all before it."""
    return hashlib.sha256(previous + record).digest()


def sign_head(head: LogHead, signer: Signer) -> Envelope:
    """A head in its envelope."""
    return seal(head, LOG_TYPE, signer)


# The lines of an export.


def begin_line(log: str, sequence: int, hash: bytes, delegation: bytes) -> bytes:
    """Opens a log, whose records up to `sequence` are not in the export."""
    return b"log %s %d %s %s" % (
        log.encode(),
        sequence,
        hash.hex().encode(),
        base64.b64encode(delegation) or b"-",
    )


def record_line(sequence: int, hash: bytes, record: bytes) -> bytes:
    """One record."""
    return b"record %d %s %s" % (sequence, hash.hex().encode(), record)


def head_line(envelope: bytes) -> bytes:
    """A signed head."""
    return b"head %s" % base64.b64encode(envelope)


@dataclass(frozen=True, slots=True)
class Begin:
    """A log begins."""

    log: str
    sequence: int
    hash: bytes
    delegation: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A record, as it stands in the file."""

    sequence: int
    hash: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """A head, as it stands in the file."""

    envelope: bytes


Line = Begin | Record | Head


def parse_line(line: bytes) -> Line:
    """What a line of an export says; DocumentMalformed when it is none."""
    kind, _, rest = line.rstrip(b"\r\n").partition(b" ")
    try:
        if kind == b"record":
            sequence, hash, body = rest.split(b" ", 2)
            return Record(_number(sequence), _hash(hash), body)
        if kind == b"head":
            return Head(base64.b64decode(rest, validate=True))
        if kind == b"log":
            name, sequence, hash, delegation = rest.split(b" ")
            keys = b"" if delegation == b"-" else base64.b64decode(delegation, validate=True)
            return Begin(name.decode(), _number(sequence), _hash(hash), keys)
    except (ValueError, binascii.Error):
        pass
    raise DocumentMalformed(
        "The line is no line of an exported log: it was edited, or the file is of another kind."
    )


def records(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of an export, unverified; what is no record is passed over."""
    for line in lines:
        if line.startswith(b"record "):
            parsed = parse_line(line)
            assert isinstance(parsed, Record)
            yield parsed


@dataclass(frozen=True)
class Seen:
    """How far a log went at an earlier time."""

    sequence: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.sequence}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Seen:
        """From `NUMBER:HASH`; FieldInvalid when it is none."""
        number, _, hash = text.partition(":")
        try:
            return cls(_number(number.encode()), _hash(hash.encode()))
        except ValueError as error:
            raise FieldInvalid(
                f"{text!r} is no head of a log; take the NUMBER:HASH that an export or a verification "
                "printed.",
                head="is not NUMBER:HASH",
            ) from error


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19 or (text[:1] == b"0" and text != b"0"):
        raise ValueError(text)
    return int(text)


def _hash(text: bytes) -> bytes:
    if len(text) != 2 * HASH_BYTES or text != text.lower():
        raise ValueError(text)
    return bytes.fromhex(text.decode("ascii"))

"""Verification of an exported log (docs/log.md).

Promises: pure; `verify` reads lines once, whatever they are, and says where a log was cut, edited, reordered
or rolled back, each finding with its line and record. A verdict without findings, under the pinned root,
means that the server wrote exactly these records in this order up to the export.

Leaves to others: what a line says (log.py), the verdict (log_verdict.py), files (cli/audit.py), what records mean (usage.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.message import DecodeError

from keypeg.document import verify_delegation, verify_document
from keypeg.envelope import LOG_TYPE
from keypeg.errors import DocumentMalformed, KeypegError
from keypeg.instants import instant
from keypeg.log import (
    FIRST_LINE,
    HASH_BYTES,
    LINE_BYTES,
    Begin,
    Head,
    Record,
    Seen,
    chained,
    genesis,
    parse_line,
)
from keypeg.log_verdict import Finding as Finding
from keypeg.log_verdict import LogVerdict as LogVerdict
from keypeg.log_verdict import Verdict as Verdict
from keypeg.v1 import document_pb2, log_pb2
from keypeg.v1.document_pb2 import Delegation, Envelope
from keypeg.v1.log_pb2 import LogHead

FINDINGS_LIMIT: Final = 100  # where a file is wrong all over, more say no more
GAP_LIMIT: Final = 100_000  # records of a gap that may be found again elsewhere


def verify(
    lines: Iterable[bytes],
    *,
    root: bytes | None = None,
    seen: Mapping[str, Seen] | None = None,
) -> Verdict:
    """Read an export. `root` is the publisher's public key (32 bytes); `seen` has earlier heads, by log.

    A head in `seen` under the empty name is that of the only log of the file.
    """
    verifier = _Verifier(root, seen or {})
    for number, line in enumerate(lines, 1):
        verifier.take(number, line)
    return verifier.finish()


def head_of(envelope: bytes, delegation: Delegation) -> LogHead:
    """A head whose signature is right under a delegation; the KeypegError that says what is wrong."""
    try:
        parsed = Envelope.FromString(envelope)
        # Which of the delegated keys' periods counts is said by the head itself: whoever could write
        # another time there could sign it, too.
        claimed = LogHead.FromString(parsed.payload)
    except DecodeError as error:
        raise DocumentMalformed("The line holds no signed head.") from error
    now = instant(claimed.issue_time)
    verify_document(parsed, LOG_TYPE, document_pb2.PURPOSE_LOG, delegation, now)
    if claimed.publisher != delegation.publisher or len(claimed.hash) != HASH_BYTES:
        raise DocumentMalformed("The head is not of this publisher's log.")
    return claimed


class _Verifier:
    """One pass over a file."""

    def __init__(self, root: bytes | None, seen: Mapping[str, Seen]) -> None:
        self._root = root
        self._seen = seen
        self._verdict = Verdict(pinned=root is not None)
        self._number = 0
        self._now: LogVerdict | None = None
        self._delegation: Delegation | None = None
        self._removed = 0  # the highest that the log says was removed
        self._compared = False  # the earlier head was met
        self._good = 0  # the last record that a good head covers
        self._names: set[str] = set()
        self._missing: set[int] = set()  # records of the last gap, which may only stand elsewhere
        self._gap: Finding | None = None

    def take(self, number: int, line: bytes) -> None:
        self._number = number
        if number == 1:
            if line.rstrip(b"\r\n") != FIRST_LINE:
                self._find("malformed", "The file does not begin as an exported log does.")
            return
        try:
            if len(line) > LINE_BYTES:
                raise DocumentMalformed("The line is longer than any line of an export.")
            parsed = parse_line(line)
        except KeypegError as error:
            self._find("malformed", error.sentence)
            return
        if isinstance(parsed, Begin):
            self._close()
            self._begin(parsed)
        elif self._now is None:
            self._find("malformed", "The line stands before any log has begun.")
        elif isinstance(parsed, Record):
            self._record(self._now, parsed)
        else:
            self._head(self._now, parsed)

    def finish(self) -> Verdict:
        self._close()
        if not self._verdict.logs:
            self._find("cut", "The file holds no log.", line=0)
        for name in sorted(set(self._seen) - self._names - {""}):
            self._find("rolled_back", f"The log {name} was seen before, and is not here.", line=0)
        return self._verdict

    def _begin(self, begin: Begin) -> None:
        self._now = LogVerdict(begin.log, begin.sequence, Seen(begin.sequence, begin.hash))
        if begin.log in self._names:
            self._find("malformed", f"The log {begin.log} stands here a second time.")
        self._verdict.logs.append(self._now)
        self._names.add(begin.log)
        self._removed, self._compared, self._good = 0, False, begin.sequence
        self._delegation = self._delegated(begin.delegation)
        if begin.sequence == 0 and begin.hash != genesis(begin.log):
            self._find("edited", "The log does not begin with the hash of its name.")
        self._compare(self._now)

    def _delegated(self, payload: bytes) -> Delegation | None:
        try:
            envelope = Envelope.FromString(payload)
            if self._root is None:
                return Delegation.FromString(envelope.payload)
            # A delegation that has ended by now still tells what it let be signed; heads have their times.
            issued = instant(Delegation.FromString(envelope.payload).issue_time)
            return verify_delegation(envelope, publisher=None, root=self._root, now=issued)
        except (DecodeError, KeypegError) as error:
            said = error.sentence if isinstance(error, KeypegError) else "It can not be read."
            self._find("signature", f"The delegation of the log's keys is not right. {said}")
            return None

    def _record(self, log: LogVerdict, record: Record) -> None:
        expected = log.last.sequence + 1
        log.exported = False
        if record.sequence > expected:
            missing = record.sequence - expected
            said = (
                f"records {expected} to {record.sequence - 1} are"
                if missing > 1
                else f"record {expected} is"
            )
            self._find("cut", f"Before record {record.sequence} {said} missing.", record.sequence)
            self._gap = self._verdict.findings[-1]
            self._missing = set(range(expected, min(record.sequence, expected + GAP_LIMIT)))
        elif record.sequence < expected:
            self._find(
                "reordered",
                f"Record {record.sequence} stands where record {expected} belongs.",
                record.sequence,
            )
            self._missing.discard(record.sequence)
            if not self._missing and self._gap in self._verdict.findings:
                self._verdict.findings.remove(self._gap)  # nothing is missing: it is here
            return  # the chain goes on with the one that belongs here
        elif chained(log.last.hash, record.body) != record.hash:
            self._find(
                "edited",
                f"Record {record.sequence} is not what was written after record {expected - 1}: it, its hash, "
                "or that of the one before was changed.",
                record.sequence,
            )
        log.record_count += 1
        log.last = Seen(record.sequence, record.hash)
        if record.body.startswith(b'{"event":"log_'):
            self._about_the_log(record)
        self._compare(log)

    def _about_the_log(self, record: Record) -> None:
        try:
            said = json.loads(record.body)
        except ValueError:
            return  # its hash has told already
        if said.get("event") == "log_removed":
            self._removed = max(self._removed, int(said.get("through", 0)))
        elif said.get("event") == "log_broken":
            self._find(
                "reported",
                f"The server found at its start that its log had been changed: {said.get('why', '')}",
                record.sequence,
            )

    def _head(self, log: LogVerdict, line: Head) -> None:
        log.exported = False
        if self._delegation is None:
            return  # told once
        try:
            head = head_of(line.envelope, self._delegation)
        except KeypegError as error:
            self._find("signature", f"A head is not signed as it must be. {error.sentence}")
            return
        if head.log != log.log:
            self._find("edited", f"The head is of another log, {head.log}.")
            return
        log.head_count += 1
        if head.sequence > log.last.sequence:
            self._find(
                "cut",
                f"The head covers {head.sequence} records, and the last one here is {log.last.sequence}: "
                f"records {log.last.sequence + 1} to {head.sequence} are missing.",
                log.last.sequence,
            )
        elif head.sequence < log.last.sequence:
            self._find(
                "reordered",
                f"The head of record {head.sequence} stands after record {log.last.sequence}.",
                head.sequence,
            )
        elif head.hash != log.last.hash:
            self._find(
                "edited",
                f"The signed head of record {head.sequence} is of other records: something from record "
                f"{self._good + 1} to {head.sequence} was changed, or left out and numbered again.",
                head.sequence,
            )
        else:
            self._good = head.sequence
            log.exported = head.occasion == log_pb2.LOG_OCCASION_EXPORT

    def _compare(self, log: LogVerdict) -> None:
        """Against the head that was seen at an earlier time."""
        seen = self._seen.get(log.log) or self._seen.get("")
        if seen is None or self._compared or log.last.sequence != seen.sequence:
            return
        self._compared = True
        if log.last.hash != seen.hash:
            self._find(
                "rolled_back",
                f"At record {seen.sequence} the log is not the one that was seen before: it was rolled back "
                "to an earlier record and written anew, or rewritten.",
                seen.sequence,
            )

    def _close(self) -> None:
        """The end of a log."""
        log, self._now = self._now, None
        if log is None:
            return
        if not log.exported:
            self._find(
                "cut",
                f"The log does not end with a head that was signed for its export: what came after record "
                f"{log.last.sequence} was cut off.",
                log.last.sequence,
                log=log.log,
            )
        if log.begins_after > self._removed:
            self._find(
                "cut",
                f"The log begins after record {log.begins_after}, and does not say that these were removed.",
                log.begins_after,
                log=log.log,
            )
        seen = self._seen.get(log.log) or self._seen.get("")
        if seen is not None and log.last.sequence < seen.sequence:
            self._find(
                "rolled_back",
                f"The log went to record {seen.sequence} before, and ends at {log.last.sequence} now.",
                log.last.sequence,
                log=log.log,
            )

    def _find(
        self, kind: str, sentence: str, sequence: int = 0, *, line: int | None = None, log: str = ""
    ) -> None:
        if len(self._verdict.findings) < FINDINGS_LIMIT:
            name = log or (self._now.log if self._now else "")
            at = self._number if line is None else line
            self._verdict.findings.append(Finding(kind, at, name, sequence, sentence))

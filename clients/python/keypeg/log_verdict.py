"""What the verification of an exported log has found.

Promises: each finding has its line and record, or says that it is about the whole.

Leaves to others: finding it (log_verification.py), showing it (cli/audit.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keypeg.log import Seen


@dataclass(frozen=True)
class Finding:
    """Something that is wrong."""

    kind: str  # `cut`, `edited`, `reordered`, `rolled_back`, `signature`, `malformed` or `reported`
    line: int  # in the file, from 1; 0 when it is about the whole
    log: str
    sequence: int  # of the record; 0 when it is about the whole
    sentence: str


@dataclass
class LogVerdict:
    """What was found of one log."""

    log: str
    begins_after: int  # records up to here were kept long enough, and are not in the export
    last: Seen
    record_count: int = 0
    head_count: int = 0
    exported: bool = False  # its last line is a head that was signed for this export


@dataclass
class Verdict:
    """What was found in a file."""

    logs: list[LogVerdict] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    pinned: bool = False  # the signatures were checked under the publisher's root

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

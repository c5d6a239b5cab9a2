"""What doctor judges without asking anyone: clocks and certificates.

Promises: pure; the time is an argument. A clock is called wrong only by evidence: a time in an answer of
the server, which the server must have passed, or can not have passed.

Leaves to others: gathering the evidence (doctor.py).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keypeg.cli import when

TOLERANCE: Final = timedelta(minutes=2)  # nobody's clock is exact, and answers take time


class Verdict(enum.Enum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Check:
    """One check: what was looked at, how it is, and what to do."""

    name: str
    verdict: Verdict
    found: str
    to_do: str = ""

    def facts(self) -> dict[str, str]:
        """The same for programs."""
        return {
            "check": self.name,
            "verdict": self.verdict.value,
            "found": self.found,
            "to_do": self.to_do,
        }


@dataclass(frozen=True)
class Evidence:
    """A time of the server: its clock is past `not_before`, and not yet past `not_after`."""

    what: str
    not_before: datetime | None = None
    not_after: datetime | None = None


def clock(now: datetime, evidence: Sequence[Evidence]) -> Check:
    """Whether this computer's date can be right."""
    shown = f"{now.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    for one in evidence:
        if one.not_before is not None and now < one.not_before - TOLERANCE:
            late = when.duration(one.not_before - now)
            return Check(
                "Clock",
                Verdict.FAILED,
                f"{shown} is at least {late} behind: {one.what} lies in the future",
                "Set the computer's clock, best by network time.",
            )
        if one.not_after is not None and now > one.not_after + TOLERANCE:
            early = when.duration(now - one.not_after)
            return Check(
                "Clock",
                Verdict.FAILED,
                f"{shown} is at least {early} ahead: {one.what} has passed, but not for the server",
                "Set the computer's clock, best by network time.",
            )
    if not evidence:
        return Check("Clock", Verdict.SKIPPED, f"{shown}; no answer of a server to compare with")
    return Check("Clock", Verdict.OK, f"{shown} agrees with the server's answers")


def certificates(pem: bytes, path: str, now: datetime) -> Check:
    """Whether the certificates of a file are valid now."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        return Check(
            "Certificates",
            Verdict.FAILED,
            f"{path} holds something that is no certificate",
            "Get the file again from the server's operator.",
        )
    for one in found:
        subject = one.subject.rfc4514_string()
        if now > one.not_valid_after_utc:
            return Check(
                "Certificates",
                Verdict.FAILED,
                f"{subject} in {path} ended {when.local(one.not_valid_after_utc, now)}",
                "Get the new file from the server's operator.",
            )
        if now < one.not_valid_before_utc:
            return Check(
                "Certificates",
                Verdict.FAILED,
                f"{subject} in {path} begins {when.local(one.not_valid_before_utc, now)}",
                "Set the computer's clock; if it is right, ask the server's operator.",
            )
    return Check("Certificates", Verdict.OK, f"{len(found)} in {path}, valid")

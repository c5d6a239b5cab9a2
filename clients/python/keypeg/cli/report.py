"""What a refusal looks like on standard error: the sentence, who holds it, and what to do next.

Promises: no traceback unless asked for; a person can act on what is printed; nothing goes to standard
output. The next steps of an explanation come first, then the command of this program that helps.

Leaves to others: the exit code (exits.py).
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli import short, when
from keypeg.cli.exits import EXITS, Exit
from keypeg.errors import KeypegError, Reason

if TYPE_CHECKING:
    from keypeg.v1 import explanation_pb2

# What this program can do about a refusal, when the server's explanation names no remedy itself.
NEXT: Final[Mapping[Reason, str]] = {
    Reason.SIGN_IN_REQUIRED: "Sign in: keypeg login",
    Reason.TOKEN_INVALID: "Sign in again: keypeg login",
    Reason.TOKEN_EXPIRED: "Sign in again: keypeg login",
    Reason.CREDENTIALS_INVALID: "Check the name and the password, and sign in again: keypeg login",
    Reason.UNREACHABLE: "Find out what is in the way: keypeg doctor",
    Reason.TIMED_OUT: "Find out what is in the way: keypeg doctor",
    Reason.SERVER_DRAINING: "Try again in a moment.",
    Reason.STORAGE_UNAVAILABLE: "Tell the server's operator that its disk can not be written.",
    Reason.CLOUD_SESSION_CLOSED: "Open the cloud session on this computer: keypeg session open",
    Reason.CLOUD_SESSION_ELSEWHERE: "Move the cloud session to this computer: keypeg session open",
    Reason.CLOUD_SESSION_MOVED: "Move the cloud session back: keypeg session open",
    Reason.DEVICES_EXHAUSTED: "See on which devices the account is in use: keypeg credential active",
    Reason.CREDENTIAL_REVOKED: "Ask for the new file, and import it: keypeg credential import",
    Reason.CREDENTIAL_EXPIRED: "Ask for a newer file, and import it: keypeg credential import",
    Reason.MEMBER_SUSPENDED: "Ask an administrator of your account.",
    Reason.POOL_EXHAUSTED: "See who holds the seats: keypeg seat list",
    Reason.QUEUE_FULL: "See who waits: keypeg seat queue",
    Reason.LICENSE_MISSING: "See what the account has: keypeg license list",
    Reason.ACTIVATIONS_EXHAUSTED: "See where the activations are: keypeg activation list",
    Reason.KEY_MISSING: "See which keys are plugged in: keypeg key list",
    Reason.KEY_NOT_ENROLLED: "Enroll the key first: keypeg key enroll",
    Reason.KEY_BUSY: "Try again in a moment.",
    Reason.KEY_ROLLED_BACK: "Compare the key with what its server says: keypeg key check",
    Reason.KEY_UNPLUGGED: "Plug the key in again, and repeat the command.",
    Reason.PERMISSION_DENIED: "See who you are signed in as: keypeg whoami",
}


def lines(error: KeypegError, now: datetime) -> list[str]:
    """The lines of a refusal."""
    from keypeg import status

    explanation = status.explain(error)
    out = [error.sentence]
    if error.fields and set(error.fields.values()) != {error.sentence}:
        out += [f"  {field}: {what}" for field, what in error.fields.items()]
    if explanation.holders:
        out += ["Who holds it:", *(f"  {_holder(one, now)}" for one in explanation.holders)]
    if explanation.HasField("earliest_time"):
        earliest = explanation.earliest_time.ToDatetime(tzinfo=UTC)
        out.append(f"It may work by itself {when.hint(earliest, now)}.")
    steps = _steps(error, explanation)
    if steps:
        out += ["What to do next:", *(f"  - {step}" for step in steps)]
    return out


def _steps(error: KeypegError, explanation: explanation_pb2.Explanation) -> list[str]:
    steps = [remedy.sentence for remedy in explanation.remedies if remedy.sentence]
    if error.retry_after is not None:
        steps.append(f"Try again in {when.duration(error.retry_after)}.")
    if error.reason in NEXT:
        steps.append(NEXT[error.reason])
    return list(dict.fromkeys(steps))


def _holder(holder: explanation_pb2.Holder, now: datetime) -> str:
    who = short.shortened([holder.user])[holder.user] or "someone"
    parts = [who]
    if holder.host_name:
        parts.append(f"on {holder.host_name}")
    if holder.app:
        parts.append(f"with {holder.app}")
    if holder.units > 1:
        parts.append(f"({holder.units} seats)")
    if holder.HasField("acquire_time"):
        since = holder.acquire_time.ToDatetime(tzinfo=UTC)
        parts.append(f"since {when.local(since, now)}")
    return " ".join(parts)


def refuse(error: KeypegError, now: datetime, *, debug: bool) -> Exit:
    """Print a refusal; how to exit."""
    first, *rest = lines(error, now)
    _say(f"{_red('error:')} {first}")
    for line in rest:
        _say(line)
    if debug:
        _say(f"reason: {error.reason.name}")
        traceback.print_exception(error, file=sys.stderr)
    return EXITS[error.reason]


def fail(error: Exception, *, debug: bool) -> Exit:
    """Print what nobody foresaw, an error of the operating system for example; how to exit."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        _say(f"{_red('error:')} {where}{error.strerror}")
    else:
        _say(f"{_red('error:')} keypeg itself failed: {type(error).__name__}: {error}")
        _say("What to do next:\n  - Report it, with the output of the same command and --debug.")
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    return Exit.ERROR


def _red(text: str) -> str:
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        return click.style(text, fg="red", bold=True)
    return text


def _say(text: str) -> None:
    click.echo(text, err=True)

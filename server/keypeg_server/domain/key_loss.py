"""What becomes of the licenses of a lost key: a publisher's policy, applied.

Promises: pure. Activations of one license leave lost keys as often within a period as the policy says, and as
long after the report; the refusal says which rule, and from when it will be allowed (KEY-8).

Leaves to others: staff of the publisher, who may go beyond it (service/key_losses.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from keypeg.errors import KeyLossPolicy as Refused


@dataclass(frozen=True)
class KeyLossPolicy:
    """How a publisher covers lost keys."""

    move_count: int  # of one license within the period; 0: never
    period: timedelta
    wait: timedelta  # from the report


DEFAULT: Final = KeyLossPolicy(2, timedelta(days=365), timedelta(0))


@dataclass(frozen=True)
class Move:
    """An activation that leaves a lost key."""

    id: str
    account: str  # id
    license: str  # id
    activation: str  # id
    from_location: str  # id
    to_location: str  # id; empty when it was taken back
    time: datetime


def free_time(
    policy: KeyLossPolicy, reported: datetime, moves: Sequence[datetime], now: datetime
) -> datetime | None:
    """From when an activation may leave a key that was reported lost at `reported`; None for never by itself.

    `moves` are those of its license, oldest first.
    """
    if not policy.move_count:
        return None
    free = reported + policy.wait
    recent = [moved for moved in moves if moved + policy.period > now]
    if len(recent) >= policy.move_count:
        free = max(free, recent[len(recent) - policy.move_count] + policy.period)
    return free


def check(
    policy: KeyLossPolicy,
    reported: datetime,
    moves: Sequence[datetime],
    now: datetime,
    activation: str,
) -> None:
    """KeyLossPolicy unless the activation may leave its lost key now."""
    free = free_time(policy, reported, moves, now)
    if free is None:
        raise Refused(
            f"{activation} stays with its lost key: its publisher decides about each loss. Ask the publisher.",
            activation=activation,
            rule="move_count",
        )
    if now < free:
        rule = "wait" if free == reported + policy.wait else "move_count"
        often = f"{policy.move_count} times in {policy.period.days} days"
        why = "so long after the report" if rule == "wait" else f"{often}, and that is used up"
        raise Refused(
            f"{activation} may leave its lost key from {free:%Y-%m-%d %H:%M} UTC on: its publisher allows it "
            f"{why}. Wait, or ask the publisher.",
            activation=activation,
            rule=rule,
            free_time=free.isoformat(),
        )

"""Seats that an administrator freed: who may not take them again until when, and what they hear.

Promises: frozen values; `to_json` and `from_json` are each other's inverse. The end of a hold-off is a moment
of the wall clock, for it is told to people and outlives a restart; no safety depends on it.

Leaves to others: keeping them (pool.py), telling the holder and waiting for its release (service/recalls.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from keypeg.errors import LeaseRecalled, PoolRule
from keypeg.v1 import error_pb2, explanation_pb2

RULE: Final = "hold_off"
TRY_LATER: Final = "try_later"


@dataclass(frozen=True, slots=True)
class Freed:
    """A seat that was freed, and for how long its user stays away from the pool."""

    lease: str  # the lease's id
    user: str  # who held it
    by: str  # who freed it: a user
    reason: str  # in the words of who freed it
    time_us: int
    until_us: int  # of the hold-off; not after `time_us` when there is none

    @property
    def holds_off(self) -> bool:
        """Whether its user has to stay away for a time."""
        return self.until_us > self.time_us


def to_json(freed: Iterable[Freed]) -> str:
    """As one text; empty for none."""
    plain = [asdict(one) for one in freed]
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=False) if plain else ""


def from_json(text: str) -> tuple[Freed, ...]:
    """What `to_json` wrote."""
    return tuple(Freed(**one) for one in json.loads(text)) if text else ()


def recalled(pool: str, name: str, freed: Freed) -> LeaseRecalled:
    """What the holder of this lease hears."""
    sentence = f"{freed.by} took back {name}: {_quoted(freed.reason)} Stop using it now."
    if freed.holds_off:
        sentence += f" You can take a seat of {pool} again from {_moment(freed.until_us)} on."
    else:
        sentence += " You may ask for a seat again at once."
    explanation = _explanation(error_pb2.REASON_LEASE_RECALLED, sentence, pool, freed)
    explanation.metadata["lease"] = name
    error = LeaseRecalled(sentence, explanation=explanation)
    error.metadata.update(explanation.metadata)
    return error


def held_off(pool: str, freed: Freed) -> PoolRule:
    """The refusal of a seat to someone whose seat was freed, before the time is over."""
    sentence = (
        f"{freed.by} took back a seat of yours of {pool}: {_quoted(freed.reason)}"
        f" You can take one again from {_moment(freed.until_us)} on; ask again then."
    )
    explanation = _explanation(error_pb2.REASON_POOL_RULE, sentence, pool, freed)
    error = PoolRule(sentence, explanation=explanation)
    error.metadata.update(explanation.metadata)
    return error


def _explanation(
    reason: error_pb2.Reason.ValueType, sentence: str, pool: str, freed: Freed
) -> explanation_pb2.Explanation:
    explanation = explanation_pb2.Explanation(
        reason=reason,
        sentence=sentence,
        metadata={"pool": pool, "rule": RULE, "freed_by": freed.by, "reason": freed.reason},
    )
    if freed.holds_off:
        moment = _moment(freed.until_us)
        explanation.metadata["earliest_time"] = moment
        explanation.earliest_time.FromMicroseconds(freed.until_us)
        explanation.remedies.add(
            action=TRY_LATER, resource=pool, sentence=f"Ask again from {moment} on."
        )
    return explanation


def _quoted(reason: str) -> str:
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."


def _moment(time_us: int) -> str:
    """Rounded up to whole seconds, so that it is true."""
    return datetime.fromtimestamp(-(-time_us // 1_000_000), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

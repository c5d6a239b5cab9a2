"""The steps of a write to a key, as a table, and a write that is under way; what is not in the table may not come.

Promises: docs/bridge.md shows the same table, and a test compares the two. What each step does is `writes`.
"""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from keypeg_bridge.rack.ports import Timer


class Step(enum.Enum):
    """Where a write is."""

    BEGUN = "begun"
    """The key has given its challenge."""
    AUTHORIZED = "authorized"
    """The key has taken the answer."""
    ENDED = "ended"


class Deed(enum.Enum):
    """What a caller does within a write."""

    AUTHORIZE = "authorize"
    CHANGE = "change"
    REFUSED = "refused"
    END = "end"


STEPS: Final = {
    (Step.BEGUN, Deed.AUTHORIZE): Step.AUTHORIZED,
    (Step.BEGUN, Deed.REFUSED): Step.ENDED,
    (Step.BEGUN, Deed.END): Step.ENDED,
    (Step.AUTHORIZED, Deed.CHANGE): Step.AUTHORIZED,
    (Step.AUTHORIZED, Deed.REFUSED): Step.ENDED,
    (Step.AUTHORIZED, Deed.END): Step.ENDED,
}


@dataclass(eq=False, slots=True)
class Write:
    """A write under way. Its id is a secret: repr shows none."""

    id: str
    key: str
    deadline: float
    timer: Timer
    lock: asyncio.Lock
    step: Step = Step.BEGUN

    def __repr__(self) -> str:
        return f"Write(key={self.key}, step={self.step.value})"


@dataclass(frozen=True, slots=True)
class Begun:
    """What a caller needs to get a key's authorization."""

    write: str
    card_id: bytes
    management_algorithm: str
    challenge: bytes
    factory_key: bool
    valid_for: timedelta

"""A seat as the app sees it: what is asked for, where it stands, and what is held.

Promises: values only, frozen; the stages of a seat are a table, and what is not in it is an error.
Imports neither grpc nor the generated code.

Leaves to others: the frames (seat_ledger), the objects with methods (aio, session).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from keypeg.errors import FieldInvalid, KeypegError

UNITS: Final = 10_000  # the most that may be asked for at once, as the contract says
FEATURES: Final = 64
PRIORITY: Final = 100  # from -100 to 100


class SeatStage(enum.Enum):
    """Where a seat stands."""

    ASKED = "asked"  # sent, or to be sent; no answer yet
    QUEUED = "queued"  # waits in the queue of the pool
    HELD = "held"
    LEAVING = "leaving"  # the app wants it no more; the server has not said so yet
    ENDED = "ended"  # given back, refused, recalled or lost


class SeatStep(enum.Enum):
    """What may happen to a seat."""

    QUEUE = "the server says: wait"
    GRANT = "the server gives it"
    REFUSE = "the server says no"
    LEAVE = "the app wants it no more"
    RELEASE = "the server has taken it back from the app's hands"
    RECALL = "an administrator took it back"
    LOSE = "its session has run out"
    ASK_AGAIN = "it is asked for anew in a new session"


STAGES: Final[Mapping[tuple[SeatStage, SeatStep], SeatStage]] = {
    (SeatStage.ASKED, SeatStep.QUEUE): SeatStage.QUEUED,
    (SeatStage.ASKED, SeatStep.GRANT): SeatStage.HELD,
    (SeatStage.ASKED, SeatStep.REFUSE): SeatStage.ENDED,
    (SeatStage.ASKED, SeatStep.LEAVE): SeatStage.LEAVING,
    (SeatStage.ASKED, SeatStep.LOSE): SeatStage.ENDED,
    (SeatStage.ASKED, SeatStep.ASK_AGAIN): SeatStage.ASKED,
    (SeatStage.QUEUED, SeatStep.QUEUE): SeatStage.QUEUED,
    (SeatStage.QUEUED, SeatStep.GRANT): SeatStage.HELD,
    (SeatStage.QUEUED, SeatStep.REFUSE): SeatStage.ENDED,
    (SeatStage.QUEUED, SeatStep.LEAVE): SeatStage.LEAVING,
    (SeatStage.QUEUED, SeatStep.LOSE): SeatStage.ENDED,
    (SeatStage.QUEUED, SeatStep.ASK_AGAIN): SeatStage.ASKED,
    (SeatStage.HELD, SeatStep.GRANT): SeatStage.HELD,  # the same answer again
    (SeatStage.HELD, SeatStep.LEAVE): SeatStage.LEAVING,
    (SeatStage.HELD, SeatStep.RECALL): SeatStage.ENDED,
    (SeatStage.HELD, SeatStep.LOSE): SeatStage.ENDED,
    (SeatStage.LEAVING, SeatStep.QUEUE): SeatStage.LEAVING,  # crossed on the way
    (SeatStage.LEAVING, SeatStep.GRANT): SeatStage.LEAVING,  # crossed on the way
    (SeatStage.LEAVING, SeatStep.LEAVE): SeatStage.LEAVING,
    (SeatStage.LEAVING, SeatStep.REFUSE): SeatStage.ENDED,
    (SeatStage.LEAVING, SeatStep.RELEASE): SeatStage.ENDED,
    (SeatStage.LEAVING, SeatStep.RECALL): SeatStage.ENDED,
    (SeatStage.LEAVING, SeatStep.LOSE): SeatStage.ENDED,
}


@dataclass(frozen=True)
class Lease:
    """A time-limited hold on seats; it holds as long as its session may run."""

    name: str
    units: int
    fencing_number: int  # grows with every lease of the pool; give it to whatever the seat guards
    features: Mapping[str, int] = field(default_factory=dict)

    @property
    def pool(self) -> str:
        """`pools/{pool}`."""
        return "/".join(self.name.split("/")[:2])


@dataclass(frozen=True)
class Place:
    """A place in the queue of a pool."""

    name: str
    position: int  # from 1, the next to be served
    waiting_count: int
    estimated_wait: timedelta | None = None
    explanation: str = ""  # what is in the way, for a person


@dataclass(frozen=True)
class Wish:
    """What is asked for; checked when it is made."""

    pool: str = ""  # empty for the one of the session's product
    units: int = 1
    features: Mapping[str, int] = field(default_factory=dict)
    wait: bool = False
    priority: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.units <= UNITS:
            raise FieldInvalid(f"A seat has 1 to {UNITS} units, not {self.units}.", field="units")
        if len(self.features) > FEATURES or any(
            not 1 <= n <= UNITS for n in self.features.values()
        ):
            raise FieldInvalid(
                f"A seat has at most {FEATURES} features, each with 1 to {UNITS} units.",
                field="features",
            )
        if not -PRIORITY <= self.priority <= PRIORITY:
            raise FieldInvalid(
                f"A priority is from -{PRIORITY} to {PRIORITY}, not {self.priority}.",
                field="priority",
            )


@dataclass(frozen=True)
class SeatRecord:
    """All that the client knows of one seat."""

    request_id: str
    wish: Wish
    stage: SeatStage = SeatStage.ASKED
    lease: Lease | None = None
    place: Place | None = None
    error: KeypegError | None = None  # why it ended, unless the app wanted it to


def next_stage(stage: SeatStage, step: SeatStep) -> SeatStage:
    """The stage after a step; AssertionError for a step that the table does not have."""
    following = STAGES.get((stage, step))
    assert following is not None, f"a seat that is {stage.value} can not go on: {step.value}"
    return following


def features_of(features: Iterable[str] | Mapping[str, int]) -> Mapping[str, int]:
    """Features as a mapping to units; a plain list means one unit of each."""
    if isinstance(features, Mapping):
        return MappingProxyType(dict(features))
    if isinstance(features, str):
        raise FieldInvalid("Features are a list or a mapping, not one text.", field="features")
    return MappingProxyType(dict.fromkeys(features, 1))

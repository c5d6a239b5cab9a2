"""Which server an account or publisher is served by, and when a server may act: pure rules, time as an argument.

Promises: of two servers, never both act for one parent, whatever is paused, cut off or delayed, as long as their
clocks run at rates within 1 % of each other (docs/adr/0013). The argument, in the words of this module: a server
acts until SELF after it *asked* for its last beat that was kept. It is declared dead by a conditional delete of
its row, while its beat is still the one that an observer has seen for DEAD. Beat and delete change the same row,
so one of them comes first: after the delete it never beats again under this id, and the beat before it was asked
for more than SELF ago. Whoever takes its homes does so after the delete.

Leaves to others: the clock, the rows (storage/home_store.py), and carrying it out (service/cluster.py).
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

BEAT: Final = 0.5  # seconds between beats: a few may be late before anything happens
SELF: Final = 2.0  # seconds for which a server acts by one beat
DEAD: Final = (
    3.0  # seconds without a beat, after which a server is dead; more than SELF on any clock
)
GAP: Final = (
    1.0  # seconds: who has not looked for so long knows nothing of what was not there meanwhile
)
CLOCK_RATE: Final = 0.01  # by how much the rates of two computers' clocks differ at most

assert SELF * (1 + CLOCK_RATE) < DEAD * (1 - CLOCK_RATE)


def acts_until(asked: float) -> float:
    """Until when a server acts by a beat that was kept, and that it asked for then."""
    return asked + SELF


@dataclass(frozen=True, slots=True)
class Seen:
    """The beat of another server."""

    beat: int
    since: float  # when the reading that first showed it was back


@dataclass(frozen=True, slots=True)
class Observation:
    """What a server knows of the others by looking at their beats."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    asked: float = 0.0  # when the last reading was asked for
    answered: float = float("-inf")  # when it was back

    def after(self, beats: Mapping[str, int], asked: float, answered: float) -> Observation:
        """With one more reading. After a gap, every count starts anew."""
        fresh = answered - self.answered > GAP
        seen: dict[str, Seen] = {}
        for node, beat in beats.items():
            known = self.seen.get(node)
            same = known is not None and known.beat == beat and not fresh
            seen[node] = known if same and known is not None else Seen(beat, answered)
        return Observation(seen, asked, answered)

    def dead(self) -> dict[str, int]:
        """Servers that have stopped, with the beat that they stopped at."""
        return {
            node: seen.beat for node, seen in self.seen.items() if self.asked - seen.since >= DEAD
        }


def ranked(parent: str, nodes: Iterable[str]) -> list[str]:
    """Who takes a parent that nobody serves: the first of these (rendezvous hashing).

    Every server that sees the same others finds the same order, and one that comes or goes moves no
    more than its own share.
    """

    def weight(node: str) -> bytes:
        return hashlib.blake2b(f"{parent} {node}".encode(), digest_size=8).digest()

    return sorted(nodes, key=weight, reverse=True)


class State(enum.Enum):
    """What a parent is to one server."""

    UNOWNED = "unowned"  # not known to be served by anyone
    TAKING = "taking"  # this server asks to be its home, or loads what it has
    MINE = "mine"  # served here
    LOSING = "losing"  # what is here of it is being dropped; nothing of it is answered any more
    ELSEWHERE = "elsewhere"  # served by another server


class Happens(enum.Enum):
    """What befalls a home."""

    WANTED = "someone asks for it"
    FOUND = "another server turns out to serve it"
    ADOPTED = "its rows are here and it is loaded"
    FAILED = "it can not be asked for or loaded now"
    LOST = "another has it, this server may not act any more, or it gives it back"
    DROPPED = "nothing of it is left here"
    ORPHANED = "the server that had it is gone, or says that it has not"


TABLE: Final[Mapping[tuple[State, Happens], State]] = MappingProxyType(
    {
        (State.UNOWNED, Happens.WANTED): State.TAKING,
        (State.TAKING, Happens.FOUND): State.ELSEWHERE,
        (State.TAKING, Happens.ADOPTED): State.MINE,
        (State.TAKING, Happens.FAILED): State.UNOWNED,
        (State.TAKING, Happens.LOST): State.LOSING,
        (State.MINE, Happens.LOST): State.LOSING,
        (State.LOSING, Happens.DROPPED): State.UNOWNED,
        (State.ELSEWHERE, Happens.ORPHANED): State.UNOWNED,
    }
)


def following(state: State, happens: Happens) -> State:
    """The state after this; anything that is not in the table is an error of the program."""
    try:
        return TABLE[state, happens]
    except KeyError:
        raise AssertionError(
            f"a home that is {state.value} does not see: {happens.value}"
        ) from None

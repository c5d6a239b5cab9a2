"""The rules of order: `fencing` numbers grow as seats are given, and nobody in the `queue` is overtaken.

Promises: pure; two requests are in order only when the later one was sent after the earlier was answered.

Leaves to others: who held what (holding).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any

from seatchecker.beliefs import Beliefs, Hold, Wait
from seatchecker.finding import Finding
from seatchecker.history import History


def fencing(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """Numbers that do not grow, or are given twice."""
    of_number: dict[int, Hold] = {}
    for hold in beliefs.holds:
        other = of_number.setdefault(hold.fence, hold)
        if other.lease != hold.lease:
            yield Finding(
                "fencing",
                other.held.at,
                hold.held.at,
                f"{other.client} and {hold.client} have the same fencing number {hold.fence}.",
                (other.held, hold.held),
            )
    highest = _Highest((hold.held.at, hold.fence, hold) for hold in beliefs.holds)
    for hold in beliefs.holds:
        earlier = highest.before(hold.asked)
        if earlier is not None and earlier.fence > hold.fence:
            yield Finding(
                "fencing",
                earlier.held.at,
                hold.held.at,
                f"{hold.client} asked after {earlier.client} had its seat, and got fencing number "
                f"{hold.fence}, which is below {earlier.fence}.",
                (earlier.held, hold.held),
            )


class _Highest:
    """The item with the highest value up to some time."""

    def __init__(self, items: Iterable[tuple[float, float, Any]]) -> None:
        self._times: list[float] = []
        self._best: list[tuple[float, Any]] = []
        for at, value, item in sorted(items, key=lambda one: (one[0], one[1])):
            best = self._best[-1] if self._best else None
            self._times.append(at)
            self._best.append((value, item) if best is None or value > best[0] else best)

    def before(self, moment: float) -> Any:
        """The item with the highest value of those before that moment."""
        position = bisect_left(self._times, moment)
        return self._best[position - 1][1] if position else None


def queue(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """Waiters who were overtaken."""
    priorities = {
        id(answer): request.priority for request in beliefs.requests for answer in request.answers
    }
    listed = {
        place: snapshot.sent
        for snapshot in sorted(history.snapshots, key=lambda one: one.sent)
        for place in snapshot.places
    }
    for level in sorted({wait.priority for wait in beliefs.waits}):
        waits = [wait for wait in beliefs.waits if wait.priority == level]
        served = _Highest(
            (wait.queued.at, wait.fence, wait) for wait in waits if wait.fence is not None
        )
        unserved = _Highest(
            (wait.queued.at, listed[place], wait)
            for wait in waits
            if (place := str(wait.queued.facts.get("place"))) in listed
        )
        for hold in beliefs.holds:
            if priorities.get(id(hold.held), 0) > level:
                continue
            earlier: Wait | None = served.before(hold.asked)
            if (
                earlier is not None
                and earlier.fence is not None
                and earlier.fence > hold.fence
                and earlier.client != hold.client
            ):
                yield _overtaken(earlier, hold, f"which got {earlier.fence} later")
            earlier = unserved.before(hold.asked)
            if (
                earlier is not None
                and listed[str(earlier.queued.facts["place"])] > hold.held.at
                and earlier.client != hold.client
            ):
                yield _overtaken(earlier, hold, "which the server still lists as waiting")


def _overtaken(wait: Wait, hold: Hold, how: str) -> Finding:
    return Finding(
        "queue",
        wait.queued.at,
        hold.held.at,
        f"{hold.client} asked after {wait.client} was told that it waits (priority {wait.priority}), "
        f"and got a seat (fencing number {hold.fence}) before {wait.client}, {how}.",
        (wait.queued, hold.held),
    )

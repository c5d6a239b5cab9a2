"""When seats may come free: the earliest that is possible, and what is usual.

Promises: `earliest` never says a time before which enough could not have come free (unless somebody gives
back before the deadline, which is why it is no promise); `usual` knows only holds that are over, and says
nothing before there are enough of them. Bounded: a pool with very many leases has no earliest time.

Leaves to others: deadlines, which come in as wall-clock times, and who is told (explain.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate
from statistics import median
from typing import Final

from keypeg_server.domain.borrow import CLOCK_MARGIN_US
from keypeg_server.domain.lease import Lease

EXAMINED: Final = 1_000  # leases: reading more costs a refusal more than the time is worth
KEPT: Final = 128  # holds that are over, of which the middle is usual
ENOUGH: Final = 5  # holds below which nothing is usual

EndsAt = Callable[[Lease], int | None]  # when its holder's time runs out unless renewed, in us


class Outlook:
    """When the seats of a pool that are held now may come free, if nobody renews."""

    def __init__(self, leases: Iterable[Lease], ends_at: EndsAt) -> None:
        """`leases` are all of the pool; the holder that shares a seat longest decides for that seat."""
        seats: dict[str, tuple[int | None, Lease]] = {}
        for lease in leases:
            # A borrowed seat has its own end, and nobody is heard of before it.
            lent_until = lease.borrowed_until_us
            end = lent_until + CLOCK_MARGIN_US if lent_until else ends_at(lease)
            key = lease.subject or lease.id
            before = seats.get(key)
            if before is not None:
                other, kept = before
                end = None if end is None or other is None else max(end, other)
                lease = lease if lease.units > kept.units else kept
            seats[key] = (end, lease)
        self._ends = sorted(
            ((end, lease) for end, lease in seats.values() if end is not None),
            key=lambda one: one[0],
        )
        self._known: dict[str, tuple[list[int], list[int]]] = {}

    def earliest(self, needed: int, feature: str = "") -> int | None:
        """When so many units (of a feature) more may be free than now; None when not known."""
        if needed <= 0:
            return None
        known = self._known.get(feature)
        if known is None:
            freed = [(end, _amount(lease, feature)) for end, lease in self._ends]
            known = [end for end, _ in freed], list(accumulate(units for _, units in freed))
            self._known[feature] = known
        ends, sums = known
        at = bisect_left(sums, needed)
        return ends[at] if at < len(ends) else None


class Usual:
    """How long seats are usually held: the median of the last holds that are over."""

    __slots__ = ("_holds",)

    def __init__(self) -> None:
        self._holds: deque[int] = deque(maxlen=KEPT)

    def over(self, lease: Lease, now_us: int) -> None:
        """A hold is over."""
        self._holds.append(now_us - lease.acquire_time_us)

    def hold_us(self) -> int | None:
        """The usual length of a hold; None when too few are over."""
        # A wall clock that was set back makes lengths that never were; those are left out.
        holds = [hold for hold in self._holds if hold >= 0]
        return int(median(holds)) if len(holds) >= ENOUGH else None

    def wait_us(self, units_ahead: int, capacity: int) -> int | None:
        """How long until so many units have come free, when `capacity` are in use all the time."""
        hold = self.hold_us()
        if hold is None or capacity < 1:
            return None
        return max(1, hold * units_ahead // capacity)


def _amount(lease: Lease, feature: str) -> int:
    if not feature:
        return lease.units
    return next((units for name, units in lease.features if name == feature), 0)

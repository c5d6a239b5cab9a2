"""What happened to seats, as a log tells it: who held how many when, who asked, and who was not served (docs/log.md).

Promises: pure; reads records in their order, once; what began before the first record that is left counts
from when its end says it began. A true denial is a demand that was not served within DENIED_AFTER; tries of
the same user, computer and app for the same seats belong to one demand until then.

Leaves to others: verifying the log (log.py), reports (usage.py), replaying demand (the server).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from keypeg.errors import DocumentMalformed

SECOND: Final = 1_000_000  # microseconds, as all times here
DENIED_AFTER: Final = 5 * 60 * SECOND

Features = tuple[tuple[str, int], ...]
Asker = tuple[str, str, str]  # user, device, app


@dataclass(slots=True)
class Use:
    """Seats that were held."""

    pool: str  # its id
    units: int
    begin_us: int
    end_us: int | None = None  # None while they are held


@dataclass(slots=True)
class Demand:
    """Seats that someone wanted, in one or several tries."""

    pool: str
    asker: Asker
    units: int
    features: Features
    priority: int
    asked_us: int  # the first try
    tried_us: int  # the last one
    host: str = ""
    process: int = 0
    session: str = ""
    address: str = ""
    waits: bool = False  # it was in the queue
    served_us: int | None = None
    left_us: int | None = None  # it gave up its place
    use: Use | None = None  # what it got

    def served_in_time(self) -> bool:
        """Whether it was served before it counts as denied."""
        return self.served_us is not None and self.served_us - self.asked_us <= DENIED_AFTER

    def denied(self, now_us: int) -> bool:
        """Whether it counts as denied, as known at some time."""
        return not self.served_in_time() and now_us - self.asked_us >= DENIED_AFTER


@dataclass(slots=True)
class PoolFacts:
    """What is known of a pool."""

    product: str
    seats: int = 0  # 0 when the log does not say
    features: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class History:
    """What a log tells."""

    begin_us: int = 0
    end_us: int = 0
    pools: dict[str, PoolFacts] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    demands: list[Demand] = field(default_factory=list)
    refusals: list[tuple[str, int, int]] = field(default_factory=list)  # pool, time, how many


def read(bodies: Iterable[bytes]) -> History:
    """The history in the records of a log; DocumentMalformed when one is none."""
    reader = _Reader()
    for body in bodies:
        try:
            reader.take(json.loads(body))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DocumentMalformed(
                f"A record of the log can not be read: {body[:120]!r}; verify the log."
            ) from error
    return reader.history


class _Reader:
    """Reads one log."""

    def __init__(self) -> None:
        self.history = History()
        self._uses: dict[str, Use] = {}  # by lease
        self._places: dict[str, Demand] = {}
        self._tries: dict[Any, Demand] = {}  # refused so far, by who wants what

    def take(self, said: dict[str, Any]) -> None:
        event, time = said["event"], int(said["time"])
        history = self.history
        if not history.begin_us:
            history.begin_us = time
        history.end_us = max(history.end_us, time)
        handler = _HANDLERS.get(event)
        if handler is not None:
            pool = said["pool"]
            if pool not in history.pools:
                history.pools[pool] = PoolFacts(said["product"])
            handler(self, said, pool, time)

    def _created(self, said: dict[str, Any], pool: str, time: int) -> None:
        facts = self.history.pools[pool]
        facts.seats = int(said.get("seats", 0))
        facts.features = dict(said.get("features", {}))

    def _queued(self, said: dict[str, Any], pool: str, time: int) -> None:
        demand = self._demand(said, pool, time)
        self._tries.pop(_key(demand), None)
        demand.waits, demand.priority = True, int(said.get("priority", 0))
        self._places[said["place"]] = demand

    def _left(self, said: dict[str, Any], pool: str, time: int) -> None:
        demand = self._places.pop(said["place"], None)
        if demand is not None:
            demand.left_us = demand.tried_us = time

    def _granted(self, said: dict[str, Any], pool: str, time: int) -> None:
        demand = self._places.pop(said["lease"], None)
        if demand is None:
            demand = self._demand(said, pool, int(said.get("asked", time)))
            demand.waits = "asked" in said
            self._tries.pop(_key(demand), None)
        use = Use(pool, int(said["units"]), time)
        demand.served_us, demand.use = max(time, demand.asked_us), use
        self._uses[said["lease"]] = use
        self.history.uses.append(use)

    def _released(self, said: dict[str, Any], pool: str, time: int) -> None:
        use = self._uses.pop(said["lease"], None)
        if use is None:  # its beginning is no more in the log
            use = Use(pool, int(said["units"]), int(said["since"]))
            self.history.uses.append(use)
        use.end_us = max(use.begin_us, time)

    def _denied(self, said: dict[str, Any], pool: str, time: int) -> None:
        demand = self._demand(said, pool, time)
        demand.tried_us = max(demand.tried_us, int(said.get("last", time)))
        self._tries[_key(demand)] = demand
        self.history.refusals.append((pool, time, int(said.get("count", 1))))

    def _denied_more(self, said: dict[str, Any], pool: str, time: int) -> None:
        self.history.refusals.append((pool, time, int(said["count"])))

    def _demand(self, said: dict[str, Any], pool: str, time: int) -> Demand:
        """What this try belongs to."""
        demand = Demand(
            pool,
            (said["user"], said["device"], said["app"]),
            int(said["units"]),
            tuple(sorted(said.get("features", {}).items())),
            int(said.get("priority", 0)),
            time,
            time,
            said.get("host", ""),
            int(said.get("process", 0)),
            said.get("session", ""),
            said.get("address", ""),
        )
        earlier = self._tries.get(_key(demand))
        if earlier is not None and 0 <= time - earlier.asked_us <= DENIED_AFTER:
            return earlier
        self.history.demands.append(demand)
        return demand


def _key(demand: Demand) -> Any:
    return (demand.pool, demand.asker, demand.units, demand.features)


_HANDLERS: Final = {
    "pool_created": _Reader._created,
    "queued": _Reader._queued,
    "left": _Reader._left,
    "granted": _Reader._granted,
    "released": _Reader._released,
    "denied": _Reader._denied,
    "denied_more": _Reader._denied_more,
}

"""The rule `leaked`: a seat whose holder is gone, or has given it back, is free within the bound.

Promises: pure; the bound counts from the last fault of the server, or of the holder's way to it.

Leaves to others: the bounds themselves (the adapter's limits).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from seatchecker.beliefs import Beliefs, Life
from seatchecker.finding import Finding
from seatchecker.history import Entry, History


def leaked(history: History, beliefs: Beliefs) -> Iterator[Finding]:
    """Seats that stay taken."""
    holds = {hold.lease: hold for hold in beliefs.holds}
    devices = {life.device: life for life in beliefs.lives.values() if life.device}
    calm = _Calm(history.faults)
    first_seen: dict[str, float] = {}
    told: set[str] = set()
    for snapshot in sorted(history.snapshots, key=lambda one: one.sent):
        for listed in snapshot.leases:
            name = listed.lease
            if name in told:
                continue
            seen = first_seen.setdefault(name, snapshot.sent)
            hold, life = holds.get(name), devices.get(listed.device)
            shown = (hold.held, *hold.said) if hold else ()
            back = hold.given_back if hold else None
            if back is not None and back.facts.get("held", True) and snapshot.sent > back.at:
                told.add(name)
                assert hold is not None
                yield Finding(
                    "leaked",
                    back.at,
                    snapshot.answered,
                    f"{hold.client} gave its seat back and was told that it is free, and the server "
                    "still lists it.",
                    shown,
                )
                continue
            if life is None:
                continue  # not of this run
            since = max(hold.end if hold else min(seen, life.gone), calm.since(life, snapshot.sent))
            bound = history.limits.bounds[life.kind] + history.limits.slack
            if hold is None and life.waits and life.kind == "unary":
                bound += history.limits.place  # so long it may still be served
            if snapshot.sent > since + bound:
                told.add(name)
                yield Finding(
                    "leaked",
                    since,
                    snapshot.answered,
                    f"A seat of {life.name} is still taken {snapshot.sent - since:.2f} s after "
                    + ("its holder's last belief" if hold else "anyone could know of it")
                    + f"; the bound is {bound:.2f} s.",
                    shown,
                )


class _Calm:
    """Since when nothing has disturbed the server, or a client's way to it."""

    BEGIN: Final = frozenset(
        {
            *("server_killed", "server_restarted", "server_stopped", "stopped", "slow_disk"),
            *("stall", "mute", "drop", "double", "part", "part_server", "part_database"),
            *("kill_database", "stop_database"),
        }
    )
    END: Final = frozenset(
        {"server_ready", "server_continued", "server_healed", "continued", "healed"}
    )

    def __init__(self, faults: Iterable[Entry]) -> None:
        self._times: dict[str, list[float]] = defaultdict(list)
        self._latest: dict[str, list[float]] = defaultdict(list)  # end; infinite while one goes on
        going_on: Counter[str] = Counter()
        for fault in sorted(faults, key=lambda one: one.at):
            whose = str(fault.facts.get("line") or fault.facts.get("client", ""))
            if fault.what in self.BEGIN:
                going_on[whose] += 1
            elif fault.what in self.END:
                going_on[whose] -= 1
            else:
                continue
            self._times[whose].append(fault.at)
            self._latest[whose].append(math.inf if going_on[whose] > 0 else fault.at)

    def since(self, life: Life, moment: float) -> float:
        """The end of the last disturbance before that moment: infinite during one, 0 for none."""
        latest = 0.0
        for whose in ("", life.name, life.line):
            position = bisect_left(self._times[whose], moment)
            if position:
                latest = max(latest, self._latest[whose][position - 1])
        return latest

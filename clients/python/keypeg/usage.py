"""What a log says of the use of seats, for each period and pool (docs/log.md).

Promises: pure; a period counts what held in it, whatever began before it.

Leaves to others: reading the log (usage_history.py), printing (cli/usage_report.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from keypeg.errors import DocumentMalformed
from keypeg.usage_history import DENIED_AFTER as DENIED_AFTER
from keypeg.usage_history import SECOND as SECOND
from keypeg.usage_history import Asker as Asker
from keypeg.usage_history import Demand as Demand
from keypeg.usage_history import Features as Features
from keypeg.usage_history import History as History
from keypeg.usage_history import PoolFacts as PoolFacts
from keypeg.usage_history import Use as Use
from keypeg.usage_history import read as read

HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR
PERIODS: Final[Mapping[str, int]] = {"hour": HOUR, "day": DAY}
ROWS_LIMIT: Final = 1_000_000  # of one report: a hundred pools by the hour for a year


@dataclass(frozen=True, slots=True)
class Row:
    """A pool or product in one period."""

    begin_us: int
    end_us: int
    pool: str  # its id; empty for all pools of the product
    product: str
    seat_count: int  # 0 when the log does not say
    peak: int  # units held at once
    mean: float  # over the time of the period
    p95: int  # for 95 % of the time, no more were held
    granted_count: int  # times that seats were given
    refused_count: int  # requests that were refused, each try
    denied_count: int  # true denials: demands that were not served within 5 minutes


def usage(
    history: History,
    *,
    period: int,
    begin_us: int | None = None,
    end_us: int | None = None,
    by_product: bool = False,
    pool: str = "",
) -> list[Row]:
    """A row for each period and pool (or product), in time; periods begin at whole hours or days, UTC."""
    begin = history.begin_us if begin_us is None else begin_us
    end = history.end_us if end_us is None else end_us
    if end <= begin:
        return []
    wanted = {id: facts for id, facts in history.pools.items() if pool in ("", id)}
    groups: dict[str, list[str]] = {}
    for id, facts in wanted.items():
        groups.setdefault(facts.product if by_product else id, []).append(id)
    if (end - begin) // period * len(groups) > ROWS_LIMIT:
        raise DocumentMalformed(
            f"The report would have more than {ROWS_LIMIT} rows; name a pool, or a shorter time."
        )
    rows: list[Row] = []
    for ids in groups.values():
        rows += _group(history, set(ids), "" if by_product else ids[0], period, begin, end)
    return sorted(rows, key=lambda row: (row.begin_us, row.product, row.pool))


def _group(
    history: History, pools: set[str], name: str, period: int, begin: int, end: int
) -> Iterator[Row]:
    facts = [history.pools[id] for id in pools]
    changes: list[tuple[int, int]] = []
    granted: dict[int, int] = {}
    for use in history.uses:
        if use.pool in pools:
            changes.append((use.begin_us, use.units))
            if use.end_us is not None:
                changes.append((use.end_us, -use.units))
            _count(granted, use.begin_us // period)
    changes.sort()  # what ends comes before what begins at the same time
    refused: dict[int, int] = {}
    for pool, time, count in history.refusals:
        if pool in pools:
            _count(refused, time // period, count)
    denied: dict[int, int] = {}
    for demand in history.demands:
        if demand.pool in pools and demand.denied(history.end_us):
            _count(denied, demand.asked_us // period)
    level, at = 0, 0
    for number in range(begin // period, (end - 1) // period + 1):
        start, stop = max(begin, number * period), min(end, (number + 1) * period)
        while at < len(changes) and changes[at][0] <= start:
            level += changes[at][1]
            at += 1
        spent = {level: 0}
        moment = start
        while at < len(changes) and changes[at][0] < stop:
            time, delta = changes[at]
            spent[level] = spent.get(level, 0) + time - moment
            level, moment = level + delta, time
            spent.setdefault(level, 0)
            at += 1
        spent[level] = spent.get(level, 0) + stop - moment
        yield Row(
            begin_us=start,
            end_us=stop,
            pool=name,
            product=facts[0].product,
            seat_count=sum(one.seats for one in facts) if all(one.seats for one in facts) else 0,
            peak=max(spent),
            mean=sum(units * time for units, time in spent.items()) / (stop - start),
            p95=percentile(spent, 0.95),
            granted_count=granted.get(number, 0),
            refused_count=refused.get(number, 0),
            denied_count=denied.get(number, 0),
        )


def percentile(weights: Mapping[int, int], part: float) -> int:
    """The least value that is not exceeded for this part of the weight."""
    total = sum(weights.values())
    so_far = 0
    for value in sorted(weights):
        so_far += weights[value]
        if so_far >= part * total:
            return value
    return max(weights, default=0)


def _count(counts: dict[int, int], key: int, more: int = 1) -> None:
    counts[key] = counts.get(key, 0) + more

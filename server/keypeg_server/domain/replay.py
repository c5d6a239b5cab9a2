"""What if: recorded demand on the pool machine that serves, with another number of seats or other rules.

Promises: pure, and the same for the same demand. Who was served holds as long as it did; who was not, as long
as half of the others did. Who waited and gave up waits as long as it did, who tried again as long as it tried;
who waited until it was served waits for ever, and who never had to wait is taken to wait 5 minutes.

Leaves to others: reading the log (keypeg.usage), the rules (pool.py).
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from keypeg.errors import KeypegError
from keypeg.usage import DENIED_AFTER, HOUR, Demand, History, Use
from keypeg_server.domain.decision import Ask, Decision
from keypeg_server.domain.lease import Holder, Lease, Place
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_rules import PLAIN, PoolRules

PLENTY: Final = 1_000_000_000  # units of a feature whose number the log does not say
QUEUE: Final = 1_000_000  # places: who waits is not turned away
_RELEASE, _LINGERED, _ARRIVE, _LEAVE = 0, 1, 2, 3  # at the same moment in this order


@dataclass(frozen=True)
class Outcome:
    """How a demand was served; see SeatOutcome of the contract. Times are microseconds."""

    seat_count: int
    demand_count: int
    served_count: int
    denied_count: int
    wait_mean_us: int
    wait_p95_us: int
    wait_max_us: int
    peak_units: int


def recorded(history: History, pool: str) -> Outcome:
    """What happened, as the log tells."""
    demands = [one for one in history.demands if one.pool == pool]
    waits = [one.served_us - one.asked_us for one in demands if one.served_us is not None]
    facts = history.pools.get(pool)
    return _outcome(
        facts.seats if facts else 0,
        len(demands),
        sum(one.served_in_time() for one in demands),
        sum(one.denied(history.end_us) for one in demands),
        waits,
        _peak([use for use in history.uses if use.pool == pool]),
    )


def replay(history: History, pool: str, seats: int, rules: PoolRules = PLAIN) -> Outcome:
    """What would have happened with this many seats and these rules, at the moment where the log ends."""
    demands = [one for one in history.demands if one.pool == pool]
    facts = history.pools.get(pool)
    counted = dict(facts.features) if facts else {}
    for demand in demands:
        for feature, _ in demand.features:
            counted.setdefault(feature, PLENTY)
    machine = Pool(
        pool or "0",
        account="",
        product=facts.product if facts else "",
        activation="",
        capacity=seats,
        feature_capacity=counted,
        queue_limit=QUEUE,
        rules=rules,
    )
    usual = _usual(demands)
    served: dict[int, int] = {}
    peak = 0
    agenda = [(one.asked_us, _ARRIVE, number) for number, one in enumerate(demands)]
    heapq.heapify(agenda)

    def hold(lease: Lease, now: int) -> None:
        number = int(lease.id)
        served[number] = now
        heapq.heappush(agenda, (now + _held(demands[number], usual), _RELEASE, number))

    def follow(decision: Decision, now: int) -> None:
        for lease in decision.served:
            hold(lease, now)
        for lease in decision.lingering:
            heapq.heappush(agenda, (now + rules.linger_us, _LINGERED, int(lease.id)))

    while agenda and agenda[0][0] <= history.end_us:
        now, what, number = heapq.heappop(agenda)
        if what == _ARRIVE:
            demand = demands[number]
            patience = _patience(demand)
            try:
                decision = machine.acquire(_ask(number, demand, patience != 0), now)
            except KeypegError:
                continue  # it tries no more: its tries are one demand
            follow(decision, now)
            outcome = decision.outcome
            if isinstance(outcome, Lease):
                hold(outcome, now)
            elif isinstance(outcome, Place) and patience is not None:
                heapq.heappush(agenda, (now + patience, _LEAVE, number))
        elif what == _LINGERED:
            follow(machine.lingered(str(number), now), now)
        elif what == _RELEASE or number not in served:
            follow(machine.release(str(number), now, linger=True), now)
        peak = max(peak, machine.held)
    asked = [one.asked_us for one in demands]
    waits = [at - asked[number] for number, at in served.items()]
    in_time = sum(wait <= DENIED_AFTER for wait in waits)
    late = sum(
        history.end_us - at >= DENIED_AFTER
        and (number not in served or served[number] - at > DENIED_AFTER)
        for number, at in enumerate(asked)
    )
    return _outcome(seats, len(demands), in_time, late, waits, peak)


def _ask(number: int, demand: Demand, wait: bool) -> Ask:
    user, device, app = demand.asker
    holder = Holder(demand.session, user, device, demand.host, app, demand.process, demand.address)
    return Ask(
        str(number),
        holder,
        demand.units,
        demand.features,
        wait,
        demand.priority,
        0,
        clock_us=demand.asked_us,
    )


def _patience(demand: Demand) -> int | None:
    """For how long it waits; None for as long as it takes."""
    if demand.left_us is not None:
        return max(1, demand.left_us - demand.asked_us)
    if demand.waits:
        return None
    if demand.served_us == demand.asked_us:
        return DENIED_AFTER
    return demand.tried_us - demand.asked_us if demand.served_us is None else DENIED_AFTER


def _held(demand: Demand, usual: int) -> int:
    use = demand.use
    if use is None or use.end_us is None:
        return usual
    return max(1, use.end_us - use.begin_us)


def _usual(demands: Sequence[Demand]) -> int:
    """For how long seats were held, by the median."""
    known = sorted(
        one.use.end_us - one.use.begin_us
        for one in demands
        if one.use is not None and one.use.end_us is not None
    )
    return max(1, known[len(known) // 2]) if known else HOUR


def _peak(uses: Sequence[Use]) -> int:
    changes = [(use.begin_us, use.units) for use in uses]
    changes += [(use.end_us, -use.units) for use in uses if use.end_us is not None]
    level = most = 0
    for _, delta in sorted(changes):
        level += delta
        most = max(most, level)
    return most


def _outcome(
    seats: int, count: int, served: int, denied: int, waits: Sequence[int], peak: int
) -> Outcome:
    ordered = sorted(waits)
    return Outcome(
        seat_count=seats,
        demand_count=count,
        served_count=served,
        denied_count=denied,
        wait_mean_us=sum(ordered) // len(ordered) if ordered else 0,
        wait_p95_us=ordered[-(-95 * len(ordered) // 100) - 1] if ordered else 0,
        wait_max_us=ordered[-1] if ordered else 0,
        peak_units=peak,
    )

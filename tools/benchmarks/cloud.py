"""What cloud sessions cost: open, move and check in accounts of their own, beside a call that does nothing; and deposits.

Promises: an operation is one call, on disk before its answer where it changes anything; each caller has an account
of its own, with one license, which comes into the cloud and leaves it with each open and close. A deposit counts
from when it is sent until the app, which runs on a stream of its own, hears of its license; a move from when it is
sent until the app that ran there has the status that stops it, and until who watches sees it.

Leaves to others: deposits and moves (depositing.py), renewals of apps, which are what apps cost while they run (presence.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from benchmarks import depositing
from benchmarks.loads import Target
from benchmarks.report import Found, markdown, table
from benchmarks.rounds import Series, measure
from benchmarks.stage import Place, Stage
from benchmarks.suite import Given
from keypeg.v1 import location_pb2
from lab.processes import Event

CONNECTIONS: Final = 4
ACCOUNT: Final = "cloud-"
DEPOSITS: Final = 1_000
QUICK_DEPOSITS: Final = 20
LEAST_SECONDS: Final = 0.6  # of a round: what changes an account takes longer than a renewal

NOTHING: Final = "no-op, unary"
KINDS: Final = {
    NOTHING: "nothing",
    "check": "cloud-check",
    "move": "cloud-move",
    "open, close": "cloud-open",
}


def cloud(given: Given) -> Found:
    """Measure it."""
    given.needs_cpp("Cloud sessions")
    counts = given.callers[:2] if given.quick else given.callers
    plan = replace(given.plan, seconds=max(given.plan.seconds, LEAST_SECONDS))
    with given.stage() as stage:
        publisher = _publisher(stage)
        given.say("accounts")
        _accounts(stage, max(counts))
        series: list[Series] = []
        for count in counts:
            given.say(f"cloud sessions of {count} accounts, beside the floor")
            loads = {
                name: stage.load(
                    kind,
                    count,
                    connections=min(CONNECTIONS, count),
                    place=Place("-", f"accounts/{ACCOUNT}"),
                    target=None if kind == "nothing" else publisher,
                )
                for name, kind in KINDS.items()
            }
            found = measure(loads, plan)
            series += [Series(name, count, found[name].samples) for name in KINDS]
            for load in loads.values():
                load.close()
        given.say("deposits")
        count = QUICK_DEPOSITS if given.quick else DEPOSITS
        deposits = depositing.deposits(given, stage.lab, stage.world, publisher, count)
    return _found(series, deposits)


def _publisher(stage: Stage) -> Target:
    """The server for the publisher's staff, who may act in every account."""
    return replace(stage.server, token=stage.world.publisher_token())


def _accounts(stage: Stage, count: int) -> None:
    world = stage.world
    product = world.product("cloud", locations=(location_pb2.LOCATION_KIND_CLOUD,))
    world.license(stage.account, product)  # the catalog's first use is nobody's operation

    def account(number: int) -> None:
        world.license(world.account(f"{ACCOUNT}{number}"), product)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(account, range(count)))


def _found(series: Sequence[Series], deposits: Event) -> Found:
    callers = sorted({one.callers for one in series})
    rows: list[tuple[str, ...]] = [("ratio", *(f"{count} accounts" for count in callers))]
    ratios: dict[int, dict[str, float]] = {count: {} for count in callers}
    for name in KINDS:
        if name == NOTHING:
            continue
        for field, called in (("rate", "rate"), ("cpu_per_10k", "CPU")):
            cells = []
            for count in callers:
                by_name = {one.name: one for one in series if one.callers == count}
                ratio = by_name[name].over(by_name[NOTHING], field)
                ratios[count][f"{name} {field}"] = ratio
                cells.append(f"{ratio:.2f}")
            rows.append((f"{name} / no-op unary: {called}", *cells))
    lines = (
        *table(series),
        "",
        *markdown(rows),
        "",
        *depositing.lines(deposits),
    )
    data = {
        "series": [one.as_json() for one in series],
        "ratios": {str(count): found for count, found in ratios.items()},
        "deposits": dict(deposits),
    }
    return Found("Cloud sessions", lines, data, depositing.goals(deposits))

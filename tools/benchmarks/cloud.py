"""What cloud sessions cost: open, move and check in accounts of their own, beside a call that does nothing; and deposits.

Promises: an operation is one call, on disk before its answer where it changes anything; each caller has an account
of its own, with one license, which comes into the cloud and leaves it with each open and close. A deposit counts
from when it is sent until the app, which runs on a stream of its own, hears of its license; a move from when it is
sent until the app that ran there has the status that stops it, and until who watches sees it.

Leaves to others: renewals of apps, which are what apps cost while they run (presence.py).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.loads import LoadError, Target
from benchmarks.report import Found, Goal, markdown, table
from benchmarks.rounds import Series, measure
from benchmarks.stage import Place, Stage
from benchmarks.suite import Given
from keypeg.v1 import location_pb2
from lab.processes import Event

CONNECTIONS: Final = 4
ACCOUNT: Final = "cloud-"
DEPOSITS: Final = 1_000
QUICK_DEPOSITS: Final = 20
MOVES: Final = 500  # each needs a stream of a watcher, too
MOVERS: Final = (
    2  # at once: how soon others hear of it, and not how long movers wait for each other
)
DEPOSITORS: Final = 16
SETTLING_SECONDS: Final = 900.0  # 1,000 accounts with their users are made first
LEAST_SECONDS: Final = 0.6  # of a round: what changes an account takes longer than a renewal
DEPOSIT_LOAD: Final = Path(__file__).resolve().parent / "deposit_load.py"

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
        deposits = _deposits(given, stage, publisher)
    return _found(series, deposits)


def _publisher(stage: Stage) -> Target:
    """The server for the publisher's staff, who may act in every account."""
    file = stage.world.data / "secrets" / "publisher-login.json"
    login = json.loads(file.read_text())
    token = stage.world.token(login["login"], login["password"])
    return replace(stage.server, token=token)


def _accounts(stage: Stage, count: int) -> None:
    world = stage.world
    product = world.product("cloud", locations=(location_pb2.LOCATION_KIND_CLOUD,))
    world.license(stage.account, product)  # the catalog's first use is nobody's operation

    def account(number: int) -> None:
        world.license(world.account(f"{ACCOUNT}{number}"), product)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(account, range(count)))


def _deposits(given: Given, stage: Stage, publisher: Target) -> Event:
    """What the program that deposits, and holds the apps, found."""
    count = QUICK_DEPOSITS if given.quick else DEPOSITS
    product = stage.world.product(
        "deposits",
        locations=(location_pb2.LOCATION_KIND_CLOUD,),
        features=("extra",),
        offline_grace=3_600,  # nothing needs renewing while a thousand accounts are made
    )
    arguments: dict[str, Any] = {
        "target": publisher.address,
        "ca": publisher.ca_file,
        "product": product,
        "count": count,
        "moves": min(MOVES, count),
        "movers": MOVERS,
        "callers": min(DEPOSITORS, count),
    }
    pairs = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    with machine.pinned(given.cores.load):
        program = stage.lab.start(
            "deposits",
            [sys.executable, str(DEPOSIT_LOAD), *pairs],
            env={"KEYPEG_TOKEN": publisher.token},
        )
    found = program.expect("result", timeout=SETTLING_SECONDS)
    program.stop()
    if found["missing"]:
        raise LoadError(
            f"{found['missing']} apps or watchers did not hear of what happened: {found['why']}"
        )
    return found


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
    told = [
        ("from when it was sent", "p50 ms", "p99 ms", "longest ms"),
        *(
            (what, *(f"{deposits[key][part]:.0f}" for part in ("p50", "p99", "longest")))
            for what, key in (
                ("a deposit, heard by the app", "sent"),
                ("of it, after the deposit was answered", "answered"),
                (
                    f"{deposits['moves']} moves, {deposits['movers']} at once: the app was stopped",
                    "stopped",
                ),
                ("the same: who watches saw it", "watched"),
            )
        ),
    ]
    lines = (
        *table(series),
        "",
        *markdown(rows),
        "",
        f"{deposits['count']:,} licenses deposited to {deposits['count']:,} open automatic cloud sessions, each with a running app, "
        f"in {deposits['seconds']:.1f} s ({deposits['count'] / deposits['seconds']:.0f} deposits/s, by {deposits['callers']} at once):",
        "",
        *markdown(told),
    )
    data = {
        "series": [one.as_json() for one in series],
        "ratios": {str(count): found for count, found in ratios.items()},
        "deposits": dict(deposits),
    }
    goals = (
        Goal(
            "a deposit to an open automatic cloud session is heard by its app, the longest, ms",
            1_000,
            deposits["sent"]["longest"],
            at_most=True,
        ),
        Goal(
            "an app is stopped by a move of its cloud session, p99, ms",
            200,
            deposits["stopped"]["p99"],
            at_most=True,
        ),
        Goal(
            "who watches a cloud session sees a move, p99, ms",
            200,
            deposits["watched"]["p99"],
            at_most=True,
        ),
    )
    return Found("Cloud sessions", lines, data, goals)

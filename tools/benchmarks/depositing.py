"""Deposits to open automatic cloud sessions, and moves of them: the program that does both, and its table.

Promises: an app or watcher that does not hear of what happened is an error and no number.

Leaves to others: what the program does (deposit_load.py), which server is asked (cloud.py, servers.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.loads import LoadError, Target
from benchmarks.report import Goal, markdown
from benchmarks.suite import Given
from keypeg.v1 import location_pb2
from lab.processes import Event, Lab
from lab.world import World

MOVES: Final = 500  # each needs a stream of a watcher, too
MOVERS: Final = (
    2  # at once: how soon others hear of it, and not how long movers wait for each other
)
DEPOSITORS: Final = 16
SETTLING_SECONDS: Final = 900.0  # a thousand accounts with their users are made first
DEPOSIT_LOAD: Final = Path(__file__).resolve().parent / "deposit_load.py"


def deposits(
    given: Given, lab: Lab, world: World, publisher: Target, count: int, other: str = ""
) -> Event:
    """What was found in so many accounts.

    `other`: address of one more server; then what happens to one half of the accounts happens there and is heard here, and the
    other way round for the other half.
    """
    product = world.product(
        "deposits",
        locations=(location_pb2.LOCATION_KIND_CLOUD,),
        features=("extra",),
        offline_grace=3_600,  # nothing needs renewing while a thousand accounts are made
    )
    arguments: dict[str, Any] = {
        "target": publisher.address,
        "other": other or publisher.address,
        "ca": publisher.ca_file,
        "product": product,
        "count": count,
        "moves": min(MOVES, count),
        "movers": MOVERS,
        "callers": min(DEPOSITORS, count),
    }
    pairs = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    with machine.pinned(given.cores.load):
        program = lab.start(
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


def lines(found: Event) -> tuple[str, ...]:
    """Of a report."""
    told = [
        ("from when it was sent", "p50 ms", "p99 ms", "longest ms"),
        *(
            (what, *(f"{found[key][part]:.0f}" for part in ("p50", "p99", "longest")))
            for what, key in (
                ("a deposit, heard by the app", "sent"),
                ("of it, after the deposit was answered", "answered"),
                (
                    f"{found['moves']} moves, {found['movers']} at once: the app was stopped",
                    "stopped",
                ),
                ("the same: who watches saw it", "watched"),
            )
        ),
    ]
    return (
        f"{found['count']:,} licenses deposited to {found['count']:,} open automatic cloud sessions, each with a running app, "
        f"in {found['seconds']:.1f} s ({found['count'] / found['seconds']:.0f} deposits/s, by {found['callers']} at once):",
        "",
        *markdown(told),
    )


def goals(found: Event, where: str = "") -> tuple[Goal, ...]:
    """The same wherever it is heard."""
    return (
        Goal(
            f"a deposit to an open automatic cloud session is heard by its app{where}, the longest, ms",
            1_000,
            found["sent"]["longest"],
            at_most=True,
        ),
        Goal(
            f"an app is stopped by a move of its cloud session{where}, p99, ms",
            200,
            found["stopped"]["p99"],
            at_most=True,
        ),
        Goal(
            f"who watches a cloud session sees a move{where}, p99, ms",
            200,
            found["watched"]["p99"],
            at_most=True,
        ),
    )

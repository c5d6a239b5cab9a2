"""A server that has a million licenses in a hundred thousand accounts: its start, its memory, its pages.

Promises: filled through the server's own rules and storage (owning.py), then started several times; a page is one call
on one connection, timed by who called, read through to its last item. Lists are walked from their beginning to their
end, by the tokens that the server gives.

Leaves to others: what seats and logs cost by how many there are (growth.py).
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.owning import LARGE, ONE_IN
from benchmarks.report import Found, Goal, markdown
from benchmarks.suite import Given
from keypeg.v1 import account_service_pb2 as accounts_pb
from keypeg.v1 import activation_service_pb2 as activations_pb
from keypeg.v1 import license_service_pb2 as licenses_pb
from lab.processes import Lab
from lab.world import CLOUD, SITE, Api, World

ACCOUNTS: Final = 100_000
LICENSES: Final = 1_000_000
QUICK_ACCOUNTS: Final = 200
QUICK_LICENSES: Final = 2_400
STARTS: Final = 3
PAGES: Final = 500  # of each kind in a round
QUICK_PAGES: Final = 20
PAGE: Final = 100
FILL_SECONDS: Final = 1_800.0
OWNING: Final = Path(__file__).resolve().parent / "owning.py"

Call = Callable[[], None]


def sizes(given: Given) -> Found:
    """Measure it."""
    accounts, licenses = (QUICK_ACCOUNTS, QUICK_LICENSES) if given.quick else (ACCOUNTS, LICENSES)
    with given.lab("sizes") as lab:
        with machine.pinned(given.cores.server):
            world = World(lab, settings='[logs]\nlevel = "warning"\n')
        cloud = world.product("cad", locations=[CLOUD])
        site = world.product("solver", locations=[SITE])
        _stop(world)
        given.say(f"filling: {accounts:,} accounts with {licenses:,} licenses")
        counts = ["--accounts", str(accounts), "--licenses", str(licenses)]
        products = ["--cloud", cloud, "--site", site]
        filling = [sys.executable, str(OWNING), "--data", str(world.data), *products, *counts]
        lab.run(filling, timeout=FILL_SECONDS)
        starts, begun_mib = _starts(given, world)
        assert world.server is not None
        given.say("pages")
        times = _pages(given, lab, world, accounts)
        mib = machine.memory_kib(world.server.pid) / 1024
        _stop(world)
        disk = sum(file.stat().st_size for file in world.data.glob("keypegd.sqlite3*")) / 2**20
    return _found(accounts, licenses, starts, begun_mib, times, mib, disk)


def _stop(world: World) -> None:
    assert world.server is not None
    world.server.stop()


def _starts(given: Given, world: World) -> tuple[list[float], float]:
    """Seconds from the command to serving, of each start; MiB after the last."""
    found: list[float] = []
    for number in range(1 if given.quick else STARTS):
        if number:
            _stop(world)
        given.say(f"start {number + 1}")
        begun = time.monotonic()
        with machine.pinned(given.cores.server):
            program = world.serve()
        found.append(time.monotonic() - begun)
    return found, machine.memory_kib(program.pid) / 1024


def _pages(given: Given, lab: Lab, world: World, accounts: int) -> dict[str, list[list[float]]]:
    """Milliseconds of each page, by kind and round."""
    api = Api(world.address, world.ca_file.read_bytes(), world.publisher.token)
    rng = random.Random(7)
    kinds: dict[str, Iterator[Call]] = {
        "accounts, all of them": _walk(
            lambda token: api.accounts.ListAccounts(
                accounts_pb.ListAccountsRequest(page_size=PAGE, page_token=token)
            )
        ),
        "licenses of an account": _of_any(
            rng,
            accounts,
            lambda name: licenses_pb.ListLicensesRequest(parent=name),
            api.licenses.ListLicenses,
        ),
        "licenses of the largest account": _walk(
            lambda token: api.licenses.ListLicenses(
                licenses_pb.ListLicensesRequest(
                    parent=f"accounts/{LARGE}", page_size=PAGE, page_token=token
                )
            )
        ),
        "activations of an account": _of_any(
            rng,
            accounts,
            lambda name: activations_pb.ListActivationsRequest(parent=name),
            api.activations.ListActivations,
        ),
    }
    times: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    pages = QUICK_PAGES if given.quick else PAGES
    with machine.pinned(given.cores.load):
        for _ in range(given.plan.rounds):
            for kind, calls in kinds.items():
                times[kind].append([_timed(next(calls)) for _ in range(pages)])
    api.close()
    return times


def _timed(call: Call) -> float:
    begun = time.monotonic()
    call()
    return (time.monotonic() - begun) * 1e3


def _walk(ask: Callable[[str], Any]) -> Iterator[Call]:
    """Page after page, and from the beginning again."""
    token = ""

    def page() -> None:
        nonlocal token
        token = ask(token).next_page_token

    while True:
        yield page


def _of_any(
    rng: random.Random,
    accounts: int,
    request: Callable[[str], Any],
    ask: Callable[[Any], Any],
) -> Iterator[Call]:
    """The first page of accounts here and there; of those with an open cloud session, where all is activated."""
    while True:
        number = rng.randrange(accounts // ONE_IN) * ONE_IN + 2
        wanted = request(f"accounts/size-{number}")
        yield lambda wanted=wanted: ask(wanted)  # type: ignore[misc]


def _found(
    accounts: int,
    licenses: int,
    starts: list[float],
    begun_mib: float,
    times: dict[str, list[list[float]]],
    mib: float,
    disk: float,
) -> Found:
    p50 = {
        kind: statistics.median(map(statistics.median, rounds)) for kind, rounds in times.items()
    }
    p99 = {
        kind: statistics.median(statistics.quantiles(one, n=100)[98] for one in rounds)
        for kind, rounds in times.items()
    }
    start = statistics.median(starts)
    rows = [
        ("a page of", "p50 ms", "p99 ms"),
        *((kind, f"{p50[kind]:.1f}", f"{p99[kind]:.1f}") for kind in times),
    ]
    lines = (
        *markdown(rows),
        "",
        f"From the command to serving: {start:.1f} s. Memory: {begun_mib:,.0f} MiB then, {mib:,.0f} MiB after all "
        f"pages; the database {disk:,.0f} MiB.",
    )
    goals = (
        Goal("s to start", 10, round(start, 2), at_most=True),
        Goal(
            "ms for a page at p99, the slowest kind", 20, round(max(p99.values()), 2), at_most=True
        ),
        Goal("MiB of the server", 400, round(mib, 1), at_most=True),
    )
    data = {
        "accounts": accounts,
        "licenses": licenses,
        "starts_seconds": [round(one, 2) for one in starts],
        "memory_mib": {"started": round(begun_mib, 1), "worked": round(mib, 1)},
        "database_mib": round(disk, 1),
        "pages": {kind: {"p50_ms": p50[kind], "p99_ms": p99[kind]} for kind in times},
    }
    title = f"{licenses:,} licenses in {accounts:,} accounts"
    return Found(title, lines, data, goals)

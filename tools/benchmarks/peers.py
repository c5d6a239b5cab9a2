"""keypegd side by side with etcd: the same load program, one core each, TLS, on disk before the answer.

Promises: both servers stand on the server's core, and only one of them has work at a time. An operation is one
acquire or one release. etcd does less for it: a guarded transaction compares and puts one key; nothing counts
seats, follows rules, makes a request repeatable, or writes a log that can be checked.

Leaves to others: etcd itself (etcd.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from benchmarks import etcd
from benchmarks.report import Found, Goal, markdown, table
from benchmarks.rounds import Series, measure
from benchmarks.suite import Given

CALLERS: Final = 128
CONNECTIONS: Final = 4

STREAM: Final = "keypegd: seat, stream"
UNARY: Final = "keypegd: seat, unary"
RENEWAL: Final = "keypegd: renewal"
TXN: Final = "etcd: guarded transaction"
LEASE: Final = "etcd: lease grant + transaction / revoke"
KEEP_ALIVE: Final = "etcd: keep-alive"
ECHO: Final = "bare echo"
KINDS: Final = {
    STREAM: "seat-stream",
    UNARY: "seat-unary",
    TXN: "etcd-seat",
    LEASE: "etcd-lease",
    RENEWAL: "renew",
    KEEP_ALIVE: "etcd-keepalive",
    ECHO: "echo-renew",
}
PAIRS: Final = {
    "stream_to_txn": ("seat on a stream / etcd's guarded transaction", STREAM, TXN),
    "unary_to_txn": ("seat by unary calls / etcd's guarded transaction", UNARY, TXN),
    "stream_to_lease": ("seat on a stream / etcd's lease and transaction", STREAM, LEASE),
    "unary_to_lease": ("seat by unary calls / etcd's lease and transaction", UNARY, LEASE),
    "renewal_to_keepalive": ("renewal / etcd's keep-alive", RENEWAL, KEEP_ALIVE),
    "echo_to_keepalive": ("bare echo / etcd's keep-alive", ECHO, KEEP_ALIVE),
}


def peers(given: Given) -> Found:
    """Measure it."""
    given.needs_cpp("The comparison with etcd")
    version = etcd.version()
    with given.stage() as stage:
        target = etcd.start(stage.lab, stage.cores)
        loads = {
            name: stage.load(
                kind,
                CALLERS,
                connections=CONNECTIONS,
                target=target if kind.startswith("etcd") else None,
            )
            for name, kind in KINDS.items()
        }
        given.say(f"keypegd beside etcd {version}, {CALLERS} callers")
        found = measure(loads, given.plan)
        for load in loads.values():
            load.close()
    ratios = {key: _over(found, of, to) for key, (_, of, to) in PAIRS.items()}
    rows = [
        (title, f"{ratios[key]['rate']:.2f}", f"{ratios[key]['cpu']:.2f}")
        for key, (title, _, _) in PAIRS.items()
    ]
    goal = Goal(
        f"seat on a stream / etcd's guarded transaction, rate, {CALLERS} callers",
        1.6,
        ratios["stream_to_txn"]["rate"],
    )
    return Found(
        f"Beside etcd {version}",
        (*table(found.values()), "", *markdown([("ratio", "rate", "CPU"), *rows])),
        {
            "etcd": version,
            "series": [one.as_json() for one in found.values()],
            "ratios": ratios,
        },
        (goal,),
    )


def _over(found: Mapping[str, Series], of: str, to: str) -> dict[str, float]:
    return {
        "rate": found[of].over(found[to]),
        "cpu": found[of].over(found[to], "cpu_per_10k"),
    }

"""Loads that work at the same time, as if they were one.

Promises: the sample counts the servers of all of them, and their database once.

Leaves to others: one load alone (loads.py).
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.loads import Load, LoadError, Sample
from benchmarks.rounds import Plan


def together(loads: Sequence[Load], plan: Plan) -> Sample:
    """One sample of loads that work at the same time, as if they were one."""
    found: list[Sample | BaseException] = [LoadError("it did not run")] * len(loads)

    def run(index: int) -> None:
        try:
            found[index] = loads[index].run(plan.seconds, plan.warm)
        except BaseException as error:  # handed to who waits
            found[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(loads))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    samples: list[Sample] = []
    for one in found:
        if isinstance(one, BaseException):
            raise one
        samples.append(one)
    return combined(samples)


def combined(samples: Sequence[Sample]) -> Sample:
    """Loads of the same time as one: each counts its own server, and all count the same database."""
    operations = sum(one.operations for one in samples)
    servers = sum((one.cpu_per_10k - one.database_per_10k) * one.operations for one in samples)
    # Each sample has all of the database's CPU, per its own operations.
    database = statistics.fmean(one.database_per_10k * one.operations for one in samples)
    return replace(
        samples[0],
        operations=operations,
        rate=round(sum(one.rate for one in samples), 1),
        p50_ms=max(one.p50_ms for one in samples),
        p99_ms=max(one.p99_ms for one in samples),
        cpu_per_10k=round((servers + database) / operations, 3),
        database_per_10k=round(database / operations, 3),
        server_cores=round(sum(one.server_cores for one in samples), 2),
        load_cores=round(sum(one.load_cores for one in samples), 2),
        other_cores=round(
            max(
                0.0,
                samples[0].other_cores
                - sum(one.server_cores + one.load_cores for one in samples[1:]),
            ),
            2,
        ),
    )

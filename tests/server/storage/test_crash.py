"""A process that is killed while it writes: what it acknowledged is there afterwards."""

from __future__ import annotations

import random
import signal
import subprocess
import sys

import pytest

from keypeg_server.storage.pool_store import SqlPoolStore
from tests.server.databases import Place, open_at

# Acquires and releases for ever; says "+id" and "-id" once the answer is there.
WRITER = """
import asyncio, sys
from tests.server.databases import open_at
from tests.server.storage.test_committer import Bench

async def one(bench, worker):
    for n in range(1_000_000):
        id = f"{worker}-{n}"
        await bench.take(id).ended
        print(f"+{id}", flush=True)
        if n % 2:
            print(f"?{id}", flush=True)
            await bench.drop(id).ended
            print(f"-{id}", flush=True)

async def main():
    bench = Bench(open_at(sys.argv[1]))
    bench.pool.capacity = 10**9
    print("ready", flush=True)
    await asyncio.gather(*(one(bench, worker) for worker in range(8)))

asyncio.run(main())
"""


def run_and_kill(where: str, after: int) -> list[str]:
    """What a writer said before it was killed, after so many lines."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, where], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if len(lines) > after:
            break
    process.send_signal(signal.SIGKILL)
    lines += [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    return lines


@pytest.mark.behaviour("SEAT-1")
@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.long)])
async def test_nothing_acknowledged_is_lost_when_the_process_is_killed(place: Place, seed: int):
    place.make().close()
    lines = run_and_kill(place.where, random.Random(seed).randint(20, 400))
    held = {line[1:] for line in lines if line.startswith("+")}
    releasing = {line[1:] for line in lines if line.startswith("?")}
    released = {line[1:] for line in lines if line.startswith("-")}
    database = open_at(place.where)  # the killed process's lock went with it
    (stored,) = await SqlPoolStore(database).load()
    on_disk = {lease.id for lease in stored.leases}
    database.close()
    assert held - releasing <= on_disk
    assert not released & on_disk
    numbers = [lease.fencing_number for lease in stored.leases]
    assert stored.fencing_number >= max(numbers)
    assert len(set(numbers)) == len(numbers)

"""A disk that is really full: the system itself refuses to let the file grow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The limit of a file's size is the process's own, so this runs in one of its own.
PROGRAM = """
import asyncio, resource, signal, sys
from pathlib import Path
from keypeg.errors import StorageUnavailable
from tests.server.databases import SqlitePlace
from tests.server.storage.test_committer import Bench

async def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = Path(sys.argv[1])
    bench = Bench(SqlitePlace(path.parent).make())
    await bench.take("kept").ended
    wal = path.with_name(path.name + "-wal")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size + 2_000, hard))
    refused = 0
    for n in range(3):
        try:
            await bench.take(f"{n}", text="x" * 3_000).ended
        except StorageUnavailable:
            refused += 1
    assert refused == 3, refused
    assert [lease.id for lease in bench.pool.leases()] == ["kept"]
    assert (await bench.on_disk())[0] == ["kept"]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    await bench.take("later").ended
    assert (await bench.on_disk())[0] == ["kept", "later"]
    await bench.committer.close()
    bench.database.close()
    print("served again")

asyncio.run(main())
"""


@pytest.mark.behaviour("SEAT-1")
def test_a_full_disk_refuses_loses_nothing_and_serves_when_there_is_room(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "a.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "served again\n", done.stderr

"""The machine under measurement: cores, CPU seconds, memory, disk, versions; all from /proc and the kernel.

Promises: only reads, but for a small file that it syncs and removes; Linux only.

Leaves to others: when to look, and what it means (loads.py, report.py).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

TICK: Final = os.sysconf("SC_CLK_TCK")
SYNCS: Final = 200
SYNC_BYTES: Final = 8_192  # two pages of SQLite, what a small commit appends to its log


@dataclass(frozen=True)
class Cores:
    """Which cores the servers may use, and which the load; the same when there is one."""

    server: tuple[int, ...]
    load: tuple[int, ...]

    @property
    def apart(self) -> bool:
        """Whether server and load do not share a core."""
        return not set(self.server) & set(self.load)


def cores() -> Cores:
    """The first core for the server, all others for the load."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(tuple(usable[:1]), tuple(usable[1:] or usable[:1]))


@contextlib.contextmanager
def pinned(to: Sequence[int]) -> Iterator[None]:
    """Whoever is started meanwhile runs on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, to)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Reading:
    """CPU seconds used until a moment."""

    moment: float  # seconds, monotonic
    server: float  # by the servers, but for a database of their own
    database: float
    load: float
    all: float  # by everyone on the machine
    own: float  # by this process


def read(servers: Iterable[int], load: Sequence[int], database: float = 0.0) -> Reading:
    """The CPU seconds of servers, of the programs of a load, and of everyone; and those of a database."""
    own = os.times()
    return Reading(
        moment=time.monotonic(),
        server=sum(map(process_seconds, servers)),
        database=database,
        load=sum(map(process_seconds, load)),
        all=_machine_seconds(),
        own=own.user + own.system,
    )


def process_seconds(pid: int) -> float:
    """CPU seconds of all threads of a process, those of the kernel for it included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_kib(pid: int) -> int:
    """The proportional set size of a process: its own pages, and its part of shared ones."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise LookupError(f"/proc/{pid}/smaps_rollup has no Pss")


def _machine_seconds() -> float:
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _wait, irq, soft, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + soft + steal) / TICK


def describe(folder: Path, chosen: Cores) -> dict[str, Any]:
    """What the numbers depend on, besides keypeg: for the report."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "used": asdict(chosen),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("grpcio", "protobuf", "uvloop", "sqlalchemy", "sqlmodel", "cryptography")
        },
        "sqlite": _sqlite(),
        "disk": _sync_times(folder),
        "time": time.strftime("%Y-%m-%d %H:%M %Z"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _sqlite() -> str:
    try:
        from pysqlite3 import dbapi2
    except ImportError:
        from sqlite3 import dbapi2  # the server's own order
    return str(dbapi2.sqlite_version)


def _sync_times(folder: Path) -> dict[str, float]:
    """How long fdatasync takes on the disk of the database, in milliseconds."""
    path = folder / "sync"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, bytes(SYNC_BYTES * SYNCS), 0)
        os.fsync(descriptor)
        took = []
        for number in range(SYNCS):
            os.pwrite(descriptor, b"x" * SYNC_BYTES, SYNC_BYTES * number)
            begun = time.perf_counter()
            os.fdatasync(descriptor)
            took.append((time.perf_counter() - begun) * 1e3)
    finally:
        os.close(descriptor)
        path.unlink()
    quantiles = statistics.quantiles(took, n=100)
    return {
        "fdatasync_p50_ms": round(quantiles[49], 3),
        "fdatasync_p99_ms": round(quantiles[98], 3),
    }

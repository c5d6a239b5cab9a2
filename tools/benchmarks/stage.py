"""What is measured: keypegd as an operator starts it, and the floor, both on the server's core.

Promises: everything in the database was made through the server's own API; the pool has a seat for
everyone, so that no answer is a denial; nothing needs renewing while a measurement takes its time.

Leaves to others: the work (loads.py) and the rounds (rounds.py).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.loads import Generator, Load, Target, Work
from keypeg.v1 import location_pb2
from lab.processes import Lab
from lab.world import MEMBER, World

SEATS: Final = 10_000  # more than any load holds
# The longest grant: sessions that are held while others are measured stay without renewals of their own.
SETTINGS: Final = '[sessions]\nseat_grant = "3600s"\n[logs]\nlevel = "warning"\n'
FLOOR: Final = Path(__file__).resolve().parent / "floor.py"
FLOOR_WORK: Final = frozenset({"echo-renew", "echo-acquire", "nothing"})


class Stage:
    """Two servers, and the means to load them."""

    def __init__(self, lab: Lab, generator: Generator, cores: machine.Cores) -> None:
        self.lab = lab
        self.generator = generator
        self.cores = cores
        with machine.pinned(cores.server):
            world = World(lab, settings=SETTINGS)
            self.floor = self._start_floor()
        self.product = world.product("bench", locations=(location_pb2.LOCATION_KIND_SITE,))
        account = world.account("bench", {"load@bench.example": MEMBER})
        self.pool = world.seats(account, self.product, SEATS)
        assert world.server
        self.server = Target(
            "keypegd",
            world.address,
            world.ca_file,
            world.server.pid,
            world.token("load@bench.example"),
        )

    def _start_floor(self) -> Target:
        ready = self.lab.folder / "floor.ready"
        program = self.lab.start(
            "floor",
            [
                sys.executable,
                str(FLOOR),
                "--folder",
                str(self.lab.folder / "floor-tls"),
                "--ready-file",
                str(ready),
            ],
        )
        found = self.lab.ready(program, ready)
        return Target("floor", found["address"], Path(found["ca_file"]), program.pid)

    def load(
        self, kind: str, workers: int, *, connections: int, outstanding: int | None = None
    ) -> Load:
        """A load of this kind on the server that it is for, with its workers open."""
        target = self.floor if kind in FLOOR_WORK else self.server
        work = Work(kind, workers, outstanding or workers, connections, self.product, self.pool)
        return Load(self.lab, self.generator, self.cores.load, target, work)

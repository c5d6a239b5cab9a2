"""What is measured: keypegd as an operator starts it, and the floor, both on the server's core.

Promises: everything in the database was made through the server's own API; a pool has a seat for everyone, so
that no answer is a denial; nothing needs renewing while a measurement takes its time. A pool with rules has all
of them at work: counting, an allow list, a denial, limits, a reservation, ageing; requests have priorities.

Leaves to others: the work (loads.py) and the rounds (rounds.py).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.loads import Generator, Load, Target, Work
from keypeg.v1 import location_pb2, pool_rules_pb2, seat_service_pb2
from lab.postgres import Postgres
from lab.processes import Lab
from lab.world import MEMBER, World

SEATS: Final = 10_000  # more than any load holds
RESERVED: Final = 100
USER_LIMIT: Final = 100_000  # one user is all of a load
HOST_LIMIT: Final = 64  # every load leaves a seat behind on each of its hosts
LOGIN: Final = "load@bench.example"
# The longest grant: sessions that are held while others are measured stay without renewals of their own.
# One user is all of a load.
SETTINGS: Final = """
[sessions]
seat_grant = "3600s"
[logs]
level = "warning"
[tokens]
access = "7d"
[limits]
user_calls = 1_000_000
user_frames = 10_000_000
user_openings = 1_000_000
user_queue_places = 1_000_000
user_streams = 1_000_000
"""
FLOOR: Final = Path(__file__).resolve().parent / "floor.py"
FLOOR_WORK: Final = frozenset({"echo-renew", "echo-acquire", "nothing"})


@dataclass(frozen=True)
class Place:
    """Where seats are: a product of its own and its pool."""

    product: str
    pool: str


class Stage:
    """Two servers, and the means to load them."""

    def __init__(
        self,
        lab: Lab,
        generator: Generator,
        cores: machine.Cores,
        postgres: Postgres | None = None,
        settings: str | None = None,
    ) -> None:
        """`settings` instead of those for loads; passwords then cost what they do by default."""
        self.lab = lab
        self.generator = generator
        self.cores = cores
        with machine.pinned(cores.server):
            if settings is None:
                self.world = World(lab, settings=SETTINGS + storage(postgres))
            else:
                self.world = World(lab, settings=settings + storage(postgres), passwords="")
            self.floor = self._start_floor()
        self.account = self.world.account("bench", {LOGIN: MEMBER})
        self.place = self.pool("bench", SEATS)
        assert self.world.server
        self.server = Target(
            "keypegd",
            self.world.address,
            self.world.ca_file,
            (self.world.server.pid,),
            self.world.token(LOGIN),
        )
        if postgres is not None:
            self.server = replace(self.server, database=lambda: postgres.cpu_seconds)

    def pool(
        self, product_id: str, seats: int, *, ruled: bool = True, reserved: int = RESERVED
    ) -> Place:
        """A new product with a pool for everyone."""
        product = self.world.product(product_id, locations=(location_pb2.LOCATION_KIND_SITE,))
        pool = self.world.seats(self.account, product, seats)
        if ruled:
            self.world.publisher.seats.UpdatePoolRules(
                seat_service_pb2.UpdatePoolRulesRequest(name=pool, rules=full_rules(reserved))
            )
        return Place(product, pool)

    def load(
        self,
        kind: str,
        workers: int,
        *,
        connections: int,
        outstanding: int | None = None,
        opened: int = 0,
        place: Place | None = None,
        target: Target | None = None,
    ) -> Load:
        """A load of this kind on the server that it is for, with its workers open."""
        target = target or (self.floor if kind in FLOOR_WORK else self.server)
        at = place or self.place
        work = Work(kind, workers, outstanding or workers, connections, at.product, at.pool, opened)
        return Load(self.lab, self.generator, self.cores.load, target, work)

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
        return Target("floor", found["address"], Path(found["ca_file"]), (program.pid,))


def storage(postgres: Postgres | None) -> str:
    """The settings for a new database of PostgreSQL; nothing for SQLite."""
    return f'[storage]\ndatabase = "{postgres.create("bench")}"\n' if postgres else ""


def full_rules(reserved: int) -> pool_rules_pb2.PoolRules:
    """Every rule that a request is held against; those of the load are let through."""

    def host(name: str) -> pool_rules_pb2.PoolSubject:
        return pool_rules_pb2.PoolSubject(host=name)

    rules = pool_rules_pb2.PoolRules(
        counting=pool_rules_pb2.SEAT_COUNTING_PROCESS,
        groups=[
            pool_rules_pb2.PoolGroup(name="cad", members=[host(f"cad-{n}") for n in range(20)])
        ],
        reservations=[
            pool_rules_pb2.PoolReservation(
                subject=pool_rules_pb2.PoolSubject(group="cad"), units=reserved
            )
        ],
        limits=[
            pool_rules_pb2.PoolLimit(
                subject=pool_rules_pb2.PoolSubject(user="*"), units=USER_LIMIT
            ),
            pool_rules_pb2.PoolLimit(subject=host("*"), units=HOST_LIMIT),
        ],
        allowed=[pool_rules_pb2.PoolSubject(network="127.0.0.0/8"), host("atlas")],
        denied=[pool_rules_pb2.PoolDenial(subject=host("kiosk"))],
    )
    rules.ageing.FromTimedelta(timedelta(minutes=30))
    return rules

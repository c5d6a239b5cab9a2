"""Two servers on one PostgreSQL: what an operation costs beside one, how soon others hear of it at the other, and a takeover.

Promises: both servers run all the time, on the server's core; each has an account of its own as its home, under
the same load as the one server has. The CPU of both, and of PostgreSQL, is counted. A takeover is from the
SIGKILL of a server to the first seat that the other one gives in an account whose home the killed one was.

Leaves to others: that nothing is lost or given twice meanwhile (tools/seatcheck).
"""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import grpc

from benchmarks import depositing, machine
from benchmarks.loads import Load, LoadError, Sample, Target, Work
from benchmarks.report import Found, Goal, markdown, table
from benchmarks.rounds import Series
from benchmarks.stage import SEATS, SETTINGS, Place, full_rules, storage
from benchmarks.suite import Given
from benchmarks.together import together
from keypeg.v1 import location_pb2, seat_service_pb2, session_pb2
from lab.postgres import Postgres
from lab.processes import BIN, Event, Lab, Program
from lab.world import MEMBER, Api, World, request_id

CALLERS: Final = 128  # of each server
CONNECTIONS: Final = 4
ACCOUNTS: Final = 6  # so that each server becomes the home of one, whatever the choice goes by
ONE: Final = "one server"
TWO: Final = "two servers"
SETTLED_SECONDS: Final = 30.0
TRY_EVERY: Final = 0.02  # seconds between two attempts at a seat during a takeover
TRY_SECONDS: Final = 1.0  # an attempt may take so long
RESERVED: Final = 100
TOLD: Final = 200  # accounts in which something is done at one server and heard at the other
QUICK_TOLD: Final = 20


@dataclass
class Server:
    """One of the two."""

    name: str
    program: Program
    address: str
    ca_file: Path


class Pair:
    """Two servers, and accounts that are at home on them."""

    def __init__(self, given: Given, lab: Lab, postgres: Postgres) -> None:
        self._given = given
        self._lab = lab
        self._postgres = postgres
        self._starts = 0
        with machine.pinned(given.cores.server):
            self.world = World(lab, settings=SETTINGS + storage(postgres))
        assert self.world.server
        self.first = Server("a", self.world.server, self.world.address, self.world.ca_file)
        self.second = self.start()
        self._publishers = [self._publisher(server) for server in self.servers]
        self.places: dict[str, Place] = {}  # by account
        for number in range(ACCOUNTS):
            self._account(f"bench{number}", self._publishers[number % 2])

    @property
    def servers(self) -> tuple[Server, Server]:
        """Both."""
        return self.first, self.second

    def start(self) -> Server:
        """One more server on the same data directory and database."""
        self._starts += 1
        name = f"more-{self._starts}"
        ready = self._lab.folder / f"{name}.ready"
        serve = ["serve", "--data", str(self.world.data), "--listen", "127.0.0.1:0"]
        with machine.pinned(self._given.cores.server):
            program = self._lab.start(
                name, [str(BIN / "keypegd"), *serve, "--ready-file", str(ready)]
            )
        found = self._lab.ready(program, ready)
        return Server(name, program, found["address"], Path(found["ca_file"]))

    def target(self, server: Server, account: str) -> Target:
        """A server for a load in an account."""
        return Target(
            server.name,
            server.address,
            server.ca_file,
            (server.program.pid,),
            self.world.token(login_of(account)),
            lambda: self._postgres.cpu_seconds,
        )

    def homes(self) -> dict[str, str]:
        """The node that is home, by account."""
        rows = self._postgres.run("SELECT parent, node FROM home", "bench")
        return {parent: node for parent, node in rows if parent in self.places and node}

    def node_of(self, server: Server) -> str:
        """What a server is called among the others."""
        rows = self._postgres.run("SELECT id, address FROM node", "bench")
        return next((id for id, address in rows if address == server.address), "")

    def account_of(self, server: Server) -> str:
        """An account that is at home on this server."""
        deadline = time.monotonic() + SETTLED_SECONDS
        tick = threading.Event()
        while time.monotonic() < deadline:
            node = self.node_of(server)
            for account, home in self.homes().items():
                if node and home == node:
                    return account
            tick.wait(0.1)
        raise LoadError(f"Within {SETTLED_SECONDS:.0f} s {server.name} was the home of no account.")

    def _publisher(self, server: Server) -> Api:
        return Api(server.address, server.ca_file.read_bytes(), self.world.publisher_token())

    def _account(self, account_id: str, publisher: Api) -> None:
        """An account with a pool, made through one server."""
        world = self.world
        world.publisher = publisher
        account = world.account(account_id, {login_of(account_id): MEMBER})
        site = (location_pb2.LOCATION_KIND_SITE,)
        product = world.product(account_id, locations=site)
        pool = world.seats(account, product, SEATS)
        rules = full_rules(RESERVED)
        publisher.seats.UpdatePoolRules(
            seat_service_pb2.UpdatePoolRulesRequest(name=pool, rules=rules)
        )
        self.places[account] = Place(product, pool)


def servers(given: Given) -> Found:
    """Measure it."""
    given.needs_cpp("Two servers")
    with Postgres.start() as postgres, given.lab("pair") as lab:
        pair = Pair(given, lab, postgres)
        given.say("one server, and two")
        one, two = _cost(given, lab, pair)
        given.say("what is done at one is heard at the other")
        told = _told(given, lab, pair)
        takeovers = []
        for number in range(1 if given.quick else given.plan.rounds):
            given.say(f"takeover {number + 1}")
            takeovers.append(_takeover(given, pair))
        version = postgres.version
    ratio = two.over(one, "cpu_per_10k")
    median = round(statistics.median(takeovers), 2)
    rows = [
        ("takeover of a killed server's accounts", "s"),
        ("median", f"{median:.2f}"),
        ("each", ", ".join(f"{one:.2f}" for one in takeovers)),
    ]
    lines = (
        *table((one, two)),
        "",
        f"Two servers / one: CPU per operation {ratio:.2f}.",
        "",
        *markdown(rows),
        "",
        "Done at one server and heard at the other:",
        *depositing.lines(told),
    )
    data: dict[str, Any] = {
        "postgresql": version,
        "series": [one.as_json(), two.as_json()],
        "ratios": {"two_to_one_cpu": ratio},
        "takeover_seconds": takeovers,
        "told": dict(told),
    }
    goals = (
        Goal("two servers / one, CPU per operation, PostgreSQL", 1.1, ratio, at_most=True),
        Goal("takeover of a killed server's accounts, s", 5, max(takeovers), at_most=True),
        *depositing.goals(told, " at the other server"),
    )
    return Found(f"Two servers on PostgreSQL {version}, {CALLERS} callers each", lines, data, goals)


def _told(given: Given, lab: Lab, pair: Pair) -> Event:
    """How soon apps and watchers at one server hear of what is done at the other."""
    here, there = pair.servers
    account = next(iter(pair.places))
    target = replace(pair.target(here, account), token=pair.world.publisher_token())
    count = QUICK_TOLD if given.quick else TOLD
    return depositing.deposits(given, lab, pair.world, target, count, other=there.address)


def _cost(given: Given, lab: Lab, pair: Pair) -> tuple[Series, Series]:
    """One server under load, and both, in the same rounds."""
    loads = [_load(given, lab, pair, server) for server in pair.servers]
    samples: dict[str, list[Sample]] = {ONE: [], TWO: []}
    for number in range(given.plan.rounds):
        for name in (ONE, TWO) if number % 2 else (TWO, ONE):
            busy = loads if name == TWO else loads[:1]
            samples[name].append(together(busy, given.plan))
    for load in loads:
        load.close()
    one, two = (Series(name, CALLERS, tuple(samples[name])) for name in (ONE, TWO))
    return one, two


def _load(given: Given, lab: Lab, pair: Pair, server: Server) -> Load:
    account = pair.account_of(server)
    place = pair.places[account]
    work = Work("seat-stream", CALLERS, CALLERS, CONNECTIONS, place.product, place.pool)
    return Load(lab, given.generator, given.cores.load, pair.target(server, account), work)


def _takeover(given: Given, pair: Pair) -> float:
    """Kill a server, and wait for a seat of its account at the other; seconds."""
    killed, other = pair.first, pair.second
    account = pair.account_of(killed)
    pool = pair.places[account].pool
    api = Api(other.address, other.ca_file.read_bytes(), pair.world.token(login_of(account)))
    pair.first, pair.second = other, killed
    try:
        _take(api, pool)  # by way of the one that is killed next
        begun = time.monotonic()
        killed.program.kill()
        tick = threading.Event()
        while True:
            try:
                _take(api, pool)
                return round(time.monotonic() - begun, 3)
            except grpc.RpcError as error:
                if time.monotonic() > begun + SETTLED_SECONDS:
                    raise LoadError(
                        f"No seat {SETTLED_SECONDS:.0f} s after a kill: {error}"
                    ) from error
            tick.wait(TRY_EVERY)
    finally:
        api.close()
        pair.world.address, pair.world.ca_file = other.address, other.ca_file
        pair.second = pair.start()


def _take(api: Api, pool: str) -> None:
    app = session_pb2.App(name="takeover", version="1.0", sdk="keypeg-bench/1", process_id=1)
    device = session_pb2.Device(id="device-takeover", host_name="takeover")
    request = seat_service_pb2.AcquireSeatRequest(
        request_id=request_id(), pool=pool, units=1, device=device, app=app
    )
    lease = api.seats.AcquireSeat(request, timeout=TRY_SECONDS).lease
    api.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number),
        timeout=TRY_SECONDS,
    )


def login_of(account: str) -> str:
    """The login of the one user of an account (name or id)."""
    return f"load@{account.rpartition('/')[2]}.example"

"""keypegd from this repository, on SQLite, as a server to be checked.

Promises: the real program, with real TLS and tokens, started by the name that operators use; its disk can be slowed
where there is a C compiler.

Leaves to others: several servers on PostgreSQL (cluster).
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from keypeg.v1 import seat_service_pb2, seat_service_pb2_grpc
from lab.processes import Lab, Program
from lab.world import ADMIN, MEMBER, SITE, World
from seatchecker.adapter import Unavailable, step_file, stepped
from seatchecker.disk import Disk, NoCompiler
from seatchecker.history import Limits, Listed
from seatchecker.lines import Address, Line, joined
from seatchecker.namespaces import HUB, Namespaces
from seatchecker.relay import Relay

UNARY_TTL: Final = 10  # seconds; the least that keypegd takes
# Seconds that a place without a stream is kept for who does not ask, and then once more the seat that came of it.
PLACE_KEPT: Final = 60.0 + 60.0 * 1.01 + 1
LOOK_TIME: Final = 2.0  # seconds for the server to list what is held
SERVER: Final = "keypegd"


class KeypegAdapter:
    """One keypegd."""

    kinds = ("stream", "unary")
    servers: tuple[str, ...] = (SERVER,)

    def __init__(self, grant: float = 4.0) -> None:
        self.grant = grant
        self._step_file = Path()
        self._disk: Disk | None = None
        self._looking: list[grpc.Channel] = []

    @property
    def limits(self) -> Limits:
        bounds = {"stream": self.grant * 1.01 + 1, "unary": UNARY_TTL * 1.01 + 1}
        return Limits(self._seats, bounds, place=PLACE_KEPT)

    def server_env(self) -> dict[str, str]:
        """The server's environment."""
        disk = self._disk.env if self._disk is not None else {}
        return {**stepped(self._step_file), **disk}

    def set_up(self, lab: Lab, seats: int, networks: Namespaces | None) -> None:
        self._lab = lab
        self._seats = seats
        self._step_file = lab.folder / "server.step"
        self._disk = make_disk(lab)
        host = "127.0.0.1" if networks is None else HUB
        settings = server_settings(self.grant, [host])
        self._world = World(
            lab, settings=settings, server_env=self.server_env(), listen=f"{host}:0"
        )
        self._pool_of(self._world)

    def _pool_of(self, world: World) -> None:
        """The pool, and those who use it and look at it."""
        account = world.account("checked", {"admin": ADMIN, "member": MEMBER})
        self._token = world.token("member")
        self._product = world.product("checked", locations=[SITE])
        self._pool = world.seats(account, self._product, self._seats)
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(world.ca_file.read_bytes()),
            grpc.access_token_call_credentials(world.token("admin")),
        )
        self._looking = [
            grpc.secure_channel(joined([address]), credentials, options=quick_channel())
            for address in self.addresses()
        ]

    def addresses(self) -> tuple[Address, ...]:
        return (split(self._world.address),)

    @property
    def _server(self) -> Program:
        assert self._world.server is not None
        return self._world.server

    def start(self, server: str) -> None:
        self._world.serve()

    def kill(self, server: str) -> None:
        self._server.kill()

    def stop(self, server: str) -> None:
        self._server.stop()

    def pause(self, server: str) -> None:
        self._server.signal(signal.SIGSTOP)

    def go_on(self, server: str) -> None:
        self._server.signal(signal.SIGCONT)

    def step(self, server: str, seconds: int) -> None:
        self._step_file.write_text(str(seconds))

    def targets(self) -> dict[str, Sequence[str]]:
        return {"disk": ("disk",)} if self._disk is not None else {}

    def fail(self, kind: str, target: str, amount: int) -> None:
        assert kind == "slow_disk", kind
        assert self._disk is not None
        self._disk.slow(amount)

    def heal(self, kind: str, target: str) -> None:
        assert self._disk is not None
        self._disk.slow(0)

    def relay(self, seed: int) -> Relay | None:
        tls = self._world.data / "tls"
        servers = [joined([address]) for address in self.addresses()]
        trust = self._world.ca_file
        return Relay(self._lab, str(seed), servers, tls / "server.pem", tls / "server.key", trust)

    def client(self, name: str, kind: str, seed: str, journal: Path, line: Line) -> Program:
        computer = self._world.computer(name, token=self._token)
        env = {**computer.env, "KEYPEG_SERVER": line.address, **stepped(step_file(journal))}
        argv = [
            *(*line.under, sys.executable, "-m", "seatchecker.client"),
            *("--kind", kind, "--name", name, "--journal", str(journal), "--seed", seed),
            *("--product", self._product, "--root", self._world.root.hex()),
            *("--pool", self._pool, "--grant", str(self.grant), "--ttl", str(UNARY_TTL)),
        ]
        return self._lab.start(name, argv, env=env)

    def listed(self) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
        seats = seat_service_pb2_grpc.SeatServiceStub(self._looking[0])
        return look(seats, self._pool)

    def close(self) -> None:
        for channel in self._looking:
            channel.close()


def make_disk(lab: Lab) -> Disk | None:
    """The disk of a server in this lab; None where it can not be slowed."""
    try:
        return Disk(lab.folder / "disk.delay")
    except NoCompiler:
        return None


def server_settings(grant: float, hosts: Sequence[str]) -> str:
    """What keypegd is configured with, beside what every world has; its clients do not refresh their tokens."""
    names = ", ".join(f'"{host}"' for host in hosts)
    return (
        f'[sessions]\nseat_grant = "{grant:g}s"\n'
        f'[server]\ndrain_time = "2s"\nhost_names = [{names}]\n'
        '[tokens]\naccess = "7d"\n'
    )


def split(address: str) -> Address:
    """`host:port` in two."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def quick_channel() -> list[tuple[str, int]]:
    """Options of a channel that tells at once when a server is not there, and finds it again soon."""
    return [
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 300),
    ]


def look(
    seats: seat_service_pb2_grpc.SeatServiceStub, pool: str
) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
    """What a keypegd says of a pool."""
    held = seat_service_pb2.ListLeasesRequest(parent=pool, page_size=1000)
    waiting = seat_service_pb2.ListQueuePlacesRequest(parent=pool, page_size=1000)
    try:
        leases = seats.ListLeases(held, timeout=LOOK_TIME).leases
        places = seats.ListQueuePlaces(waiting, timeout=LOOK_TIME).places
    except grpc.RpcError as error:
        raise Unavailable from error
    listed = (Listed(one.name, one.fencing_number, one.device) for one in leases)
    return tuple(listed), tuple(place.name for place in places)

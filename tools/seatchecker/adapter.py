"""What the checker needs of a server, and how keypegd gives it.

Promises: a server that is to be checked takes one small class with the methods of `Adapter`; nothing else of the
checker knows any server.

Leaves to others: when the methods are called (run), processes (lab.processes).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final, Protocol

import grpc

from keypeg.v1 import seat_service_pb2, seat_service_pb2_grpc
from lab.processes import ROOT, Lab, Program
from lab.world import ADMIN, MEMBER, SITE, World
from seatchecker.history import Limits, Listed

UNARY_TTL: Final = 10  # seconds; the least that keypegd takes
CLOCKSTEP: Final = Path(__file__).parent / "clockstep"
LOOK_TIME: Final = 2.0  # seconds for the server to list what is held


class Unavailable(Exception):
    """The server cannot be asked now."""


class Adapter(Protocol):
    """A server that can be checked."""

    @property
    def grant(self) -> float:
        """For how many seconds an answer lets a client on a stream go on."""
        ...

    @property
    def limits(self) -> Limits:
        """What the server promises."""
        ...

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of client that there are: of stream and unary."""
        ...

    def set_up(self, lab: Lab, seats: int) -> None:
        """Make a server with one pool of so many seats, and start it."""
        ...

    def address(self) -> tuple[str, int]:
        """Where clients reach it; stays the same over restarts."""
        ...

    def start(self) -> None:
        """Start it again, after `kill` or `stop`; returns when it serves."""
        ...

    def kill(self) -> None:
        """End it by SIGKILL."""
        ...

    def stop(self) -> None:
        """End it in good order."""
        ...

    def pause(self) -> None:
        """Stop its process (SIGSTOP)."""
        ...

    def go_on(self) -> None:
        """Let its process go on."""
        ...

    def step(self, seconds: int) -> None:
        """Set its wall clock to so many seconds from the true time."""
        ...

    def client(self, name: str, kind: str, seed: str, journal: Path, address: str) -> Program:
        """Start a client program, which reaches the server at this address."""
        ...

    def listed(self) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
        """The leases that the server says are held, and the names of the places of those who wait.

        Unavailable when it does not answer.
        """
        ...

    def close(self) -> None:
        """Ask it no more; the lab ends its processes."""
        ...


class KeypegAdapter:
    """keypegd from this repository."""

    kinds = ("stream", "unary")

    def __init__(self, grant: float = 4.0) -> None:
        self.grant = grant
        self._step_file = Path()
        self._starts = 0

    @property
    def limits(self) -> Limits:
        bounds = {"stream": self.grant * 1.01 + 1, "unary": UNARY_TTL * 1.01 + 1}
        return Limits(self._seats, bounds)

    def server_env(self) -> dict[str, str]:
        """The server's environment."""
        return stepped(self._step_file)

    def set_up(self, lab: Lab, seats: int) -> None:
        self._lab = lab
        self._seats = seats
        self._step_file = lab.folder / "server.step"
        settings = f'[sessions]\nseat_grant = "{self.grant:g}s"\n[server]\ndrain_time = "2s"\n'
        self._world = World(lab, settings=settings, server_env=self.server_env())
        account = self._world.account("checked", {"admin": ADMIN, "member": MEMBER})
        self._token = self._world.token("member")
        credentials = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(self._world.ca_file.read_bytes()),
            grpc.access_token_call_credentials(self._world.token("admin")),
        )
        quick = [
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 300),
        ]
        self._looking = grpc.secure_channel(self._world.address, credentials, options=quick)
        self._product = self._world.product("checked", locations=[SITE])
        self._pool = self._world.seats(account, self._product, seats)

    def address(self) -> tuple[str, int]:
        host, _, port = self._world.address.rpartition(":")
        return host, int(port)

    @property
    def _server(self) -> Program:
        assert self._world.server is not None
        return self._world.server

    def start(self) -> None:
        self._world.serve()

    def kill(self) -> None:
        self._server.kill()

    def stop(self) -> None:
        self._server.stop()

    def pause(self) -> None:
        self._server.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._server.signal(signal.SIGCONT)

    def step(self, seconds: int) -> None:
        self._step_file.write_text(str(seconds))

    def client(self, name: str, kind: str, seed: str, journal: Path, address: str) -> Program:
        computer = self._world.computer(name, token=self._token)
        env = {**computer.env, "KEYPEG_SERVER": address, **stepped(step_file(journal))}
        argv = [
            *(sys.executable, "-m", "seatchecker.client"),
            *("--kind", kind, "--name", name, "--journal", str(journal), "--seed", seed),
            *("--product", self._product, "--root", self._world.root.hex()),
            *("--pool", self._pool, "--grant", str(self.grant), "--ttl", str(UNARY_TTL)),
        ]
        return self._lab.start(name, argv, env=env)

    def listed(self) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
        seats = seat_service_pb2_grpc.SeatServiceStub(self._looking)
        held = seat_service_pb2.ListLeasesRequest(parent=self._pool, page_size=1000)
        waiting = seat_service_pb2.ListQueuePlacesRequest(parent=self._pool, page_size=1000)
        try:
            leases = seats.ListLeases(held, timeout=LOOK_TIME).leases
            places = seats.ListQueuePlaces(waiting, timeout=LOOK_TIME).places
        except grpc.RpcError as error:
            raise Unavailable from error
        listed = (Listed(one.name, one.fencing_number, one.device) for one in leases)
        return tuple(listed), tuple(place.name for place in places)

    def close(self) -> None:
        self._looking.close()


def step_file(journal: Path) -> Path:
    """How far the wall clock of the client with this journal is stepped."""
    return journal.with_suffix(".step")


def stepped(file: Path) -> dict[str, str]:
    """The environment of a Python program whose wall clock is stepped by a file."""
    paths = [str(CLOCKSTEP), str(ROOT / "tools"), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "SEATCHECK_CLOCK_STEP": str(file),
    }

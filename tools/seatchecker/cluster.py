"""Several keypegd on one PostgreSQL, as one server to be checked.

Promises: real programs, each server with its own data directory and, where the run has a network of its own, in its
own network namespace; PostgreSQL is killed, stopped and, for one server, deaf or silent, like everything else.

Leaves to others: what servers promise each other; one keypegd on SQLite (keypeg).
"""

from __future__ import annotations

import itertools
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from keypeg.v1 import seat_service_pb2_grpc
from lab.postgres import LOOPBACK, Postgres, PostgresError
from lab.processes import BIN, Lab, LabError, Program
from lab.world import FAST_PASSWORDS, World
from seatchecker.adapter import stepped
from seatchecker.history import Limits, Listed
from seatchecker.keypeg import KeypegAdapter, look, server_settings, split
from seatchecker.lines import Address
from seatchecker.namespaces import Namespaces

TAKEOVER: Final = 5.0  # seconds until another server has taken what a dead one had
DATABASE: Final = "postgresql"
URL: Final = "KEYPEGD_STORAGE__DATABASE"


@dataclass
class Server:
    """One keypegd of several."""

    name: str
    lab: Lab
    data: Path
    listen: str
    env: dict[str, str]
    under: tuple[str, ...]
    address: str = ""
    program: Program | None = None
    starts: int = 0
    step_file: Path = field(default_factory=Path)

    def serve(self) -> None:
        """Start it; the second time at the address of the first."""
        self.starts += 1
        ready = self.lab.folder / f"{self.name}-{self.starts}.ready"
        argv = [*self.under, str(BIN / "keypegd"), "serve", "--data", str(self.data)]
        argv += ["--listen", self.address or self.listen, "--ready-file", str(ready)]
        name = f"{self.name}-{self.starts}"
        self.program = self.lab.start(name, argv, env=self.env)
        self.address = self.lab.ready(self.program, ready)["address"]

    @property
    def running(self) -> Program:
        """Its process."""
        assert self.program is not None
        return self.program


class ClusterAdapter(KeypegAdapter):
    """So many keypegd on one PostgreSQL."""

    def __init__(self, count: int = 2, grant: float = 4.0) -> None:
        super().__init__(grant)
        self.servers = tuple(f"s{number + 1}" for number in range(count))
        self._running: dict[str, Server] = {}
        self._networks: Namespaces | None = None
        self._postgres: Postgres | None = None
        self._turn = itertools.cycle(range(count))

    @property
    def limits(self) -> Limits:
        plain = super().limits
        bounds = {kind: one + TAKEOVER for kind, one in plain.bounds.items()}
        return replace(plain, bounds=bounds)

    def set_up(self, lab: Lab, seats: int, networks: Namespaces | None) -> None:
        self._lab = lab
        self._seats = seats
        self._networks = networks
        self._database_host = networks.address() if networks is not None else LOOPBACK
        self._postgres = postgres = Postgres.start(durable=False, host=self._database_host)
        url = postgres.create("checked")
        hosts = {
            name: networks.add(name) if networks is not None else LOOPBACK for name in self.servers
        }
        settings = server_settings(self.grant, sorted(set(hosts.values())))
        self._steps = {name: lab.folder / f"{name}.step" for name in self.servers}
        first, *others = self.servers
        self._world = World(
            lab,
            settings=settings,
            server_env={**self.env_of(first), URL: url},
            init_env={URL: url},
            listen=f"{hosts[first]}:0",
            under=self._under(first),
        )
        for name in self.servers:
            data = self._world.data
            if name in others:
                data = lab.folder / f"data-{name}"
                shutil.copytree(self._world.data, data)
                (data / "keypegd.toml").write_text(FAST_PASSWORDS + settings)
            env = {**self.env_of(name), URL: url}
            server = Server(name, lab, data, f"{hosts[name]}:0", env, self._under(name))
            if name == first:
                server.address, server.program = self._world.address, self._world.server
            else:
                server.serve()
            self._running[name] = server
        self._pool_of(self._world)

    def env_of(self, server: str) -> dict[str, str]:
        """The environment of one server."""
        return stepped(self._steps[server])

    def _under(self, name: str) -> tuple[str, ...]:
        return self._networks.under(name) if self._networks is not None else ()

    def addresses(self) -> tuple[Address, ...]:
        return tuple(split(self._running[name].address) for name in self.servers)

    def start(self, server: str) -> None:
        self._running[server].serve()

    def kill(self, server: str) -> None:
        self._running[server].running.kill()

    def stop(self, server: str) -> None:
        self._running[server].running.stop()

    def pause(self, server: str) -> None:
        self._running[server].running.signal(signal.SIGSTOP)

    def go_on(self, server: str) -> None:
        self._running[server].running.signal(signal.SIGCONT)

    def step(self, server: str, seconds: int) -> None:
        self._steps[server].write_text(str(seconds))

    def targets(self) -> dict[str, Sequence[str]]:
        networked = self.servers if self._networks is not None else ()
        return {"database": (DATABASE,), "networked_server": networked}

    def fail(self, kind: str, target: str, amount: int) -> None:
        assert self._postgres is not None
        match kind:
            case "kill_database":
                self._postgres.kill()
            case "stop_database":
                self._postgres.pause()
            case "part_server":
                assert self._networks is not None
                self._networks.cut(target)
            case "part_database":
                assert self._networks is not None
                self._networks.mute(self._database_host, target)
            case _:
                raise ValueError(f"several keypegd have no {kind}")

    def heal(self, kind: str, target: str) -> None:
        assert self._postgres is not None
        match kind:
            case "kill_database":
                try:
                    self._postgres.restart()
                except PostgresError as error:
                    raise LabError(str(error)) from error
            case "stop_database":
                self._postgres.resume()
            case "part_server":
                assert self._networks is not None
                self._networks.heal(target)
            case _:
                assert self._networks is not None
                self._networks.hear(self._database_host, target)

    def listed(self) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
        """As one of them says, each in turn."""
        channel = self._looking[next(self._turn)]
        return look(seat_service_pb2_grpc.SeatServiceStub(channel), self._pool)

    def close(self) -> None:
        super().close()
        for server in self._running.values():
            if server.running.running:
                server.running.stop()  # before its database
        if self._postgres is not None:
            self._postgres.close()

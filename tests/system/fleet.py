"""Several keypegd on one PostgreSQL, and those who use them: a world in which each server can be named.

Promises: servers are real processes with one data directory; `kill`, `pause` and `end` are of one of them.

Leaves to others: what is shown by that (test_servers.py, test_cloud_servers.py).
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from keypeg.v1 import seat_service_pb2, session_pb2
from lab.postgres import Postgres
from lab.processes import BIN, Lab, Program
from lab.world import Api, Computer, World, request_id
from tests.system.people import BRIDGES

GRANT: Final = 10.0
"""Seconds that one answer lets an app use its seat: more than a takeover takes."""

SETTINGS: Final = f"""
[sessions]
seat_grant = "{GRANT:g}s"
"""


_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL, for a module that imports this."""
    with Postgres.start(durable=False) as made:
        yield made


@pytest.fixture(scope="module")
def fleet(lab: Lab, postgres: Postgres) -> Fleet:
    """Two servers on it."""
    return Fleet(lab, postgres, 2)


class Fleet:
    """Some servers; `world` talks to the first."""

    def __init__(self, lab: Lab, postgres: Postgres, count: int) -> None:
        self.lab = lab
        self.postgres = postgres
        self.database = f"fleet{next(_numbers)}"
        url = postgres.create(self.database)
        self.settings = SETTINGS + BRIDGES + f'[storage]\ndatabase = "{url}"\n'
        self.world = World(lab, settings=self.settings)
        assert self.world.server is not None
        self.programs: list[Program] = [self.world.server]
        self.addresses: list[str] = [self.world.address]
        self.bridge_addresses: list[str] = [self.world.bridge_address]
        self._starts = 0
        for _ in range(count - 1):
            self.add()

    def add(self, at: str = "127.0.0.1:0", data: Path | None = None) -> int:
        """One more server, on the same directory or another; its number."""
        self._starts += 1
        ready = self.lab.folder / f"more-{self._starts}.ready"
        program = self.lab.start(
            f"more-{self._starts}",
            [
                *(str(BIN / "keypegd"), "serve", "--data", str(data or self.world.data)),
                *("--listen", at, "--ready-file", str(ready)),
            ],
        )
        found = self.lab.ready(program, ready)
        self.programs.append(program)
        self.addresses.append(found["address"])
        self.bridge_addresses.append(found["bridge_address"])
        return len(self.programs) - 1

    def again(self, number: int) -> None:
        """Start a server that has ended once more, where it was."""
        new = self.add(self.addresses[number])
        self.programs[number] = self.programs.pop(new)
        self.addresses.pop(new)
        self.bridge_addresses[number] = self.bridge_addresses.pop(new)

    def kill(self, number: int) -> None:
        """SIGKILL."""
        self.programs[number].kill()

    def pause(self, number: int) -> None:
        """SIGSTOP."""
        self.programs[number].signal(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT."""
        self.programs[number].signal(signal.SIGCONT)

    def api(self, number: int, token: str) -> Api:
        """One server for one caller."""
        return Api(self.addresses[number], self.world.ca_file.read_bytes(), token)

    def by(self, number: int, identity: tuple[bytes, bytes] | tuple[None, None]) -> Api:
        """One server for who shows this certificate."""
        return Api(
            self.bridge_addresses[number], self.world.ca_file.read_bytes(), identity=identity
        )

    def computer(self, name: str, token: str, servers: Sequence[int]) -> Computer:
        """A computer that knows these servers, in this order."""
        made = self.world.computer(name, token=token)
        made.env["KEYPEG_SERVER"] = ",".join(self.addresses[number] for number in servers)
        return made

    def homes(self) -> dict[str, str | None]:
        """The address of the home of each account and publisher; None when it has none."""
        rows: list[Any] = self.postgres.run(
            "SELECT h.parent, n.address FROM home h LEFT JOIN node n ON n.id = h.node",
            self.database,
        )
        return dict(rows)

    def home_of(self, account: str) -> int:
        """The number of the server that is the home of an account."""
        address = self.homes()[account]
        assert address is not None
        return self.addresses.index(address)


def acquire(api: Api, pool: str, identifier: str = "", name: str = "unary") -> Any:
    """A seat without a stream."""
    return api.seats.AcquireSeat(
        seat_service_pb2.AcquireSeatRequest(
            pool=pool,
            request_id=identifier or request_id(),
            units=1,
            device=session_pb2.Device(id=f"device-{name}", host_name=name),
            app=session_pb2.App(name=name),
        ),
        timeout=20,
    )

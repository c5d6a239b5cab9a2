"""What the checker needs of a server, or of several that are one to their clients.

Promises: a server that is to be checked takes one small class with the methods of `Adapter`; nothing else of the
checker knows any server.

Leaves to others: when the methods are called (run, playing), how keypegd gives them (keypeg, cluster).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from lab.processes import ROOT, Lab, Program
from seatchecker.history import Limits, Listed
from seatchecker.lines import Address, Line
from seatchecker.namespaces import Namespaces
from seatchecker.relay import Relay

CLOCKSTEP: Final = Path(__file__).parent / "clockstep"


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

    @property
    def servers(self) -> tuple[str, ...]:
        """The names of its processes: one, or several that serve the same pool."""
        ...

    def set_up(self, lab: Lab, seats: int, networks: Namespaces | None) -> None:
        """Make servers with one pool of so many seats, and start them.

        With networks, they are reachable at addresses that are no loopback ones.
        """
        ...

    def addresses(self) -> tuple[Address, ...]:
        """Where clients reach each server; stays the same over restarts."""
        ...

    def start(self, server: str) -> None:
        """Start it again, after `kill` or `stop`; returns when it serves."""
        ...

    def kill(self, server: str) -> None:
        """End it by SIGKILL."""
        ...

    def stop(self, server: str) -> None:
        """End it in good order."""
        ...

    def pause(self, server: str) -> None:
        """Stop its process (SIGSTOP)."""
        ...

    def go_on(self, server: str) -> None:
        """Let its process go on."""
        ...

    def step(self, server: str, seconds: int) -> None:
        """Set its wall clock to so many seconds from the true time."""
        ...

    def targets(self) -> dict[str, Sequence[str]]:
        """What else can be struck, by group: `disk`, `database`, `networked_server`; may be empty."""
        ...

    def fail(self, kind: str, target: str, amount: int) -> None:
        """Begin a fault of one of these."""
        ...

    def heal(self, kind: str, target: str) -> None:
        """End it; returns when all is as before."""
        ...

    def relay(self, seed: int) -> Relay | None:
        """A relay for the calls of its clients, if there is one."""
        ...

    def client(self, name: str, kind: str, seed: str, journal: Path, line: Line) -> Program:
        """Start a client program, which reaches the servers by this line."""
        ...

    def listed(self) -> tuple[tuple[Listed, ...], tuple[str, ...]]:
        """The leases that the server says are held, and the names of the places of those who wait.

        Unavailable when it does not answer.
        """
        ...

    def close(self) -> None:
        """Ask it no more; the lab ends its processes."""
        ...


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

"""What every suite is given, and how it says how far it is.

Leaves to others: what is measured (presence.py, seats.py, peers.py, held.py, waiting.py, growth.py, servers.py, cloud.py,
alike.py, hostile.py).
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import loads, machine
from benchmarks.report import Found
from benchmarks.rounds import Plan
from benchmarks.stage import Stage
from lab.postgres import Postgres
from lab.processes import Lab


class Missing(Exception):
    """This machine lacks something that a suite measures: one sentence that says what to install."""


@dataclass(frozen=True)
class Given:
    """What a suite works with."""

    generator: loads.Generator
    cores: machine.Cores
    plan: Plan
    folder: Path  # of its own
    quick: bool  # only to see that all of it works
    sessions: int
    callers: tuple[int, ...]

    def say(self, text: str) -> None:
        """How far it is, for who waits."""
        sys.stderr.write(f"bench: {time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def lab(self, name: str) -> Iterator[Lab]:
        """A lab below the suite's folder; its programs end with it."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        with Lab(folder) as lab:
            yield lab

    @contextlib.contextmanager
    def stage(
        self, name: str = "stage", postgres: Postgres | None = None, settings: str | None = None
    ) -> Iterator[Stage]:
        """keypegd and the floor."""
        with self.lab(name) as lab:
            yield Stage(lab, self.generator, self.cores, postgres, settings)

    def needs_cpp(self, what: str) -> None:
        """Missing when the load is not the C++ one."""
        if self.generator.name != "C++":
            raise Missing(f"{what} needs the C++ load. {self.generator.why}")


Suite = Callable[[Given], Found]

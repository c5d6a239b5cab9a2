"""Killing apps that hold seats, and taking the time until somebody else has each seat.

Promises: real programs all the way: keypegd as it is operated, the protected app of examples/, `keypeg run` or a
bridge beside it where the way says so. Every app is killed by SIGKILL, and holds its seat at that moment; who waits for
it waits already. A time runs from just before the signal is sent to when the SDK of the one who waits says that the
seat is held.

Leaves to others: what the times mean (report).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keypeg import clock
from lab.keys import KeyLab
from lab.processes import BIN, ROOT, Lab, LabError, Program
from lab.world import ADMIN, MEMBER, SITE, Computer, World

WATCHED: Final = 2.0  # seconds within which a seat is free whose app was watched
GRANT: Final = 60.0  # seconds that an answer lets an app go on, where it is watched
STARTING: Final = 4  # apps that start at once
SHORT_GRANT: Final = 6.0  # where it is not, so that it can be waited for


@dataclass(frozen=True)
class Way:
    """Who watches the apps, and what is promised then."""

    name: str
    grant: float
    bound: float  # seconds from the kill to the next holder
    slack: float = 0.0  # of the bound, for the measurement itself
    together: bool = False  # a whole batch is killed at once


def unwatched(grant: float) -> float:
    """When the server frees the seat of a session that nobody speaks for."""
    return grant * 1.01 + 1


WAYS: Final = {
    way.name: way
    for way in (
        Way("run", GRANT, WATCHED),
        Way("bridge", GRANT, WATCHED),
        Way("none", SHORT_GRANT, unwatched(SHORT_GRANT), slack=0.5, together=True),
    )
}


@dataclass(frozen=True)
class Options:
    """How many are killed, and how."""

    way: Way
    kills: int
    batch: int  # apps that are alive at once
    together: bool = False  # whole batches at once, in every way
    progress: Callable[[str], None] = field(default=lambda _: None, repr=False)


def measure(options: Options, folder: Path) -> list[float]:
    """The time of each kill, in seconds."""
    with Lab(folder) as lab:
        scene = _Scene(lab, options)
        try:
            return list(scene.times())
        finally:
            scene.close()


class _Scene:
    def __init__(self, lab: Lab, options: Options) -> None:
        self._options = options
        way = options.way
        settings = f'[sessions]\nseat_grant = "{way.grant:g}s"\n'
        self._world = World(lab, settings=settings)
        account = self._world.account("crashing", {"admin": ADMIN, "member": MEMBER})
        self._product = self._world.product("crashing", locations=[SITE])
        self._world.seats(account, self._product, options.batch)
        self._token = self._world.token("member")
        self._bridge: KeyLab | None = None
        if way.name == "bridge":
            self._bridge = KeyLab(lab, "crashing")
            self._bridge.start_bridge("libusb")
        self._waiter = self._start_waiter(lab)

    def close(self) -> None:
        """Remove what the lab does not know of."""
        if self._bridge is not None:
            self._bridge.close()

    def _computer(self, name: str) -> Computer:
        bridge = self._bridge.target if self._bridge is not None else ""
        found = self._world.computer(name, token=self._token, bridge=bridge)
        if self._options.way.name == "none":
            found.env["KEYPEG_AGENT"] = "off"
        return found

    def _start_waiter(self, lab: Lab) -> Program:
        argv = [sys.executable, "-m", "crashing.waiter"]
        argv += ["--product", self._product, "--root", self._world.root.hex()]
        env = {**self._computer("waiter").env, "PYTHONPATH": _paths()}
        program = lab.start("waiter", argv, env=env)
        program.expect("ready")
        return program

    def times(self) -> Iterator[float]:
        """Batch by batch."""
        left = self._options.kills
        while left:
            count = min(left, self._options.batch)
            self._options.progress(f"{self._options.kills - left} of {self._options.kills} killed")
            yield from self._batch(count)
            left -= count

    def _batch(self, count: int) -> Iterator[float]:
        # Every seat is held: what is not killed in this batch is held as well.
        apps: list[Program] = []
        for first in range(0, self._options.batch, STARTING):
            several = range(first, min(first + STARTING, self._options.batch))
            started = [self._app(number) for number in several]
            for app in started:
                app.expect("seat", timeout=120)
            apps += started
        self._tell(f"wait {count}", "queued")
        if self._options.together or self._options.way.together:
            seen = len(self._waiter.events)
            killed = [self._kill(app) for app in apps[:count]]
            served = self._seats(seen, count)
            yield from (at - begun for begun, at in zip(killed, served, strict=True))
        else:
            for app in apps[:count]:
                seen = len(self._waiter.events)
                begun = self._kill(app)
                yield self._seats(seen, 1)[0] - begun
        for app in apps[count:]:
            app.stop()
        for app in apps[:count]:
            app.wait(30)
        self._tell("free", "freed")

    def _app(self, number: int) -> Program:
        under = (str(BIN / "keypeg"), "run", "--") if self._options.way.name == "run" else ()
        name = f"app-{number}"
        return self._world.app(name, self._computer(name), self._product, "--seat", under=under)

    def _kill(self, app: Program) -> float:
        process = int(app.expect("started")["pid"])
        begun = clock.monotonic()
        os.kill(process, signal.SIGKILL)
        return begun

    def _seats(self, first: int, count: int) -> list[float]:
        """When the waiter got its next seats, in order."""
        times: list[float] = []
        for _ in range(count):
            event = self._waiter.expect("seat", timeout=self._patience, after=first)
            first = self._waiter.events.index(event, first) + 1
            times.append(float(event["at"]))
        return times

    @property
    def _patience(self) -> float:
        return max(30.0, 3 * self._options.way.bound)

    def _tell(self, command: str, answer: str) -> None:
        seen = len(self._waiter.events)
        stdin = self._waiter.popen.stdin
        if stdin is None or not self._waiter.running:
            raise LabError(f"the one who waits has ended.{self._waiter.tail()}")
        stdin.write(f"{command}\n".encode())
        stdin.flush()
        self._waiter.expect(answer, timeout=60, after=seen)


def _paths() -> str:
    """So that the waiter finds its own module."""
    given = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, (str(ROOT / "tools"), given)))

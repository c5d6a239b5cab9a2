"""The clients of a run: each with its way to the servers, over all its lives.

Promises: whoever dies, by the checker or by itself, is followed by another until the end; every life has a journal;
what the checker does to a client is recorded before it can show.

Leaves to others: what to do to whom (playing), the programs (adapter, client).
"""

from __future__ import annotations

import random
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keypeg import clock
from lab.processes import Program
from seatchecker.adapter import Adapter
from seatchecker.history import Entry, read_journal
from seatchecker.record import Faults
from seatchecker.schedule import Schedule
from seatchecker.ways import Way

RESPAWN: Final = (0.1, 1.0)  # seconds from a client's death to the next start


@dataclass
class Client:
    """One client, over all its lives."""

    name: str
    kind: str
    way: str
    lives: int = 0
    program: Program | None = None
    life: str = ""
    journal: Path = field(default_factory=Path)
    stopped: bool = False
    failing: str = ""  # the fault of its line


class Cast:
    """All clients."""

    def __init__(
        self,
        adapter: Adapter,
        folder: Path,
        seed: int,
        ways: Mapping[str, Way],
        schedule: Schedule,
        faults: Faults,
    ) -> None:
        self._adapter = adapter
        self._folder = folder
        self._seed = seed
        self._rng = random.Random(f"run {seed}")
        self._ways = ways
        self._schedule = schedule
        self._faults = faults
        self._clients: dict[str, Client] = {}
        self._journals: list[tuple[str, Path]] = []
        self.ending = False

    def add(self, name: str, kind: str, way: str) -> None:
        """A further client; it starts."""
        self._clients[name] = Client(name, kind, way)
        self._start(self._clients[name])

    def get(self, name: str) -> Client:
        """The client of that name."""
        return self._clients[name]

    def on(self, *ways: str) -> tuple[str, ...]:
        """The names of those who come by one of these ways."""
        return tuple(one.name for one in self._clients.values() if one.way in ways)

    @property
    def ready(self) -> bool:
        """Whether each has begun."""
        return all(
            one.journal.exists() and one.journal.stat().st_size for one in self._clients.values()
        )

    def entries(self, until: float) -> tuple[Entry, ...]:
        """Everything that was journaled up to that moment."""
        entries: list[Entry] = []
        for life, path in self._journals:
            if path.exists():
                entries += read_journal(life, path.read_text().splitlines())
        return tuple(entry for entry in entries if entry.at <= until)

    def _start(self, client: Client) -> None:
        if self.ending:
            return
        client.lives += 1
        client.life = f"{client.name}-{client.lives}"
        client.journal = self._folder / f"{client.life}.jsonl"
        self._journals.append((client.life, client.journal))
        client.program = self._adapter.client(
            client.life,
            client.kind,
            f"{self._seed} {client.life}",
            client.journal,
            self._ways[client.way].line(client.name),
        )

    def _start_later(self, client: Client) -> None:
        self._schedule.later(self._rng.uniform(*RESPAWN), lambda: self._start(client))

    def kill(self, client: Client) -> None:
        """SIGKILL; another takes its place."""
        if client.program is None:
            return
        at = clock.monotonic()
        client.program.kill()
        self._ways[client.way].bury(client.name)
        self._faults.record("killed", at, client=client.life, gone=clock.monotonic())
        client.program = None
        self._start_later(client)

    def stop(self, client: Client, lasting: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        program, life = client.program, client.life
        assert program is not None
        self._faults.record("stopped", client=life, lasting=lasting)
        program.signal(signal.SIGSTOP)
        client.stopped = True

        def go_on() -> None:
            program.signal(signal.SIGCONT)
            client.stopped = False
            self._faults.record("continued", client=life)

        self._schedule.later(lasting, go_on)

    def fail(self, client: Client, kind: str, lasting: float) -> None:
        """Let its line fail, and heal later."""
        if client.failing:
            return
        way = self._ways[client.way]
        client.failing = kind
        self._faults.record(kind, line=client.name, lasting=lasting)
        way.fail(client.name, kind)

        def heal() -> None:
            way.heal(client.name)
            client.failing = ""
            self._faults.record("healed", line=client.name)

        self._schedule.later(lasting, heal)

    def watch(self) -> None:
        """A client that ended by itself is a finding; another takes its place."""
        for client in self._clients.values():
            if client.program is not None and not client.program.running:
                why = f"status {client.program.popen.returncode}.{client.program.tail(5)}"
                self._faults.record("died", client=client.life, why=why)
                client.program = None
                self._start_later(client)

    def end(self) -> None:
        """End all: half of those on streams by force, the others in good order."""
        self.ending = True
        for client in [one for one in self._clients.values() if one.kind == "stream"][::2]:
            self.kill(client)
        for client in self._clients.values():
            if client.program is not None:
                client.program.signal(signal.SIGTERM)
        for client in self._clients.values():
            if client.program is not None:
                self._end(client, client.program)

    def _end(self, client: Client, program: Program) -> None:
        at = clock.monotonic()
        status = program.stop(timeout=10)
        if status == -signal.SIGTERM:  # before or after it listened
            self._faults.record("killed", at, client=client.life, gone=clock.monotonic())
        elif status:
            why = f"status {status}.{program.tail(5)}"
            self._faults.record("died", client=client.life, why=why)
        client.program = None

    def close(self) -> None:
        """Let nobody stay stopped; the lab ends the programs."""
        self.ending = True
        for client in self._clients.values():
            if client.stopped and client.program is not None:
                client.program.signal(signal.SIGCONT)

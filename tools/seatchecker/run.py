"""A run: a server, its clients, the faults of a seed, and what all of them recorded.

Promises: everything that it does to anybody is in its own journal; every process that it starts ends with it; it
takes little longer than the faults last plus the longest bound of the server.

Leaves to others: which faults (plan), the server (adapter), the verdict (judge).
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keypeg import clock
from lab.processes import Lab, LabError, Program
from seatchecker.adapter import Adapter, Unavailable, step_file
from seatchecker.history import CHECKER, Entry, History, Snapshot, read_journal, write_entry
from seatchecker.judge import judge
from seatchecker.plan import KINDS, Fault, plan
from seatchecker.proxy import Proxy

LOOK_PAUSE: Final = 0.25  # seconds between two looks at what the server says is held
JUDGE_PAUSE: Final = 1.0  # seconds between two verdicts while the run goes on
READY_TIME: Final = 30.0  # seconds for all clients to have started
RESPAWN: Final = (0.1, 1.0)  # seconds from a client's death to the next start


@dataclass(frozen=True)
class Options:
    """What a run is like."""

    seed: int
    seconds: float
    clients: int = 12
    unary: int = 3  # of the clients
    seats: int = 3
    kinds: tuple[str, ...] = tuple(KINDS)
    stop_at_first: bool = False  # end the run as soon as a rule is broken
    progress: Callable[[str], None] = field(default=lambda _: None, repr=False)


@dataclass
class _Client:
    """One client, over all its lives."""

    name: str
    kind: str
    address: str
    proxied: bool
    lives: int = 0
    program: Program | None = None
    life: str = ""
    journal: Path = field(default_factory=Path)
    stopped: bool = False


def run(adapter: Adapter, options: Options, folder: Path) -> History:
    """Everything that was recorded; journals and logs are left in the folder."""
    with Lab(folder) as lab:
        checked = _Run(adapter, options, lab)
        try:
            checked.begin()
            if checked.disturb():
                checked.settle()
        finally:
            checked.close()
        return checked.history()


class _Run:
    def __init__(self, adapter: Adapter, options: Options, lab: Lab) -> None:
        self._adapter = adapter
        self._options = options
        self._lab = lab
        self._rng = random.Random(f"run {options.seed}")
        self._journal = (lab.folder / f"{CHECKER}.jsonl").open("a", buffering=1)
        self._faults: list[Entry] = []
        self._snapshots: list[Snapshot] = []
        self._looked = threading.Event()
        self._over = threading.Event()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._clients: dict[str, _Client] = {}
        self._journals: list[tuple[str, Path]] = []
        self._server_paused = False
        self._restart = threading.Thread()
        self._failure: LabError | None = None
        self._ending = False
        adapter.set_up(lab, options.seats)
        self._proxy = Proxy(adapter.address)
        self._observer = threading.Thread(target=self._observe, name="observer", daemon=True)

    # the run

    def begin(self) -> None:
        """Start the clients and wait until each has begun."""
        host, port = self._adapter.address()
        unary = self._options.unary if "unary" in self._adapter.kinds else 0
        for number in range(self._options.clients):
            name = f"c{number + 1}"
            proxied = number % 2 == 1
            address = self._proxy.line(name) if proxied else f"{host}:{port}"
            kind = "unary" if number < unary else "stream"
            self._clients[name] = _Client(name, kind, address, proxied)
            self._start(self._clients[name])
        until = clock.monotonic() + READY_TIME
        while clock.monotonic() < until and not all(
            client.journal.exists() and client.journal.stat().st_size
            for client in self._clients.values()
        ):
            self._over.wait(0.05)
        self._observer.start()

    def disturb(self) -> bool:
        """Play the faults; False when a rule was broken and that was to be the end."""
        names = tuple(self._clients)
        proxied = tuple(name for name in names if self._clients[name].proxied)
        options = self._options
        faults = plan(
            options.seed, options.seconds, names, proxied, self._adapter.grant, options.kinds
        )
        begun = clock.monotonic()
        for fault in faults:
            self._at(begun + fault.at, lambda fault=fault: self._play(fault))  # type: ignore[misc]
        tell_at = judge_at = begun
        while (now := clock.monotonic()) < begun + options.seconds:
            if now >= tell_at:
                self._progress(now - begun)
                tell_at += 5.0
            if options.stop_at_first and now >= judge_at:
                if not judge(self.history(now)).passed:
                    return False
                judge_at = clock.monotonic() + JUDGE_PAUSE
            self._watch()
            if self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            else:
                self._over.wait(0.02)
        return True

    def settle(self) -> None:
        """Let everything go on, end the clients, half of them by force, and wait for every seat to be free."""
        self._ending = True
        for _, _, work in sorted(self._due):
            work()  # what was stopped goes on; nothing new begins
        self._due.clear()
        if self._restart.is_alive():
            self._restart.join()
        if self._failure is not None:
            raise self._failure
        self._options.progress("the faults are over; ending the clients")
        self._over.wait(min(2.0, self._adapter.grant / 2))
        streams = [one for one in self._clients.values() if one.kind == "stream"]
        for client in streams[::2]:
            self._kill(client)
        for client in self._clients.values():
            if client.program is not None:
                client.program.signal(signal.SIGTERM)
        for client in self._clients.values():
            if client.program is not None:
                self._end(client)
        limits = self._adapter.limits
        ended = clock.monotonic()
        until = ended + max(limits.bounds.values()) + limits.slack + 1.0
        self._await_look()
        while clock.monotonic() < until and (not self._snapshots or self._snapshots[-1].leases):
            self._await_look()
        self._options.progress(f"all seats free {clock.monotonic() - ended:.1f} s later")

    def close(self) -> None:
        """Stop looking; the lab ends the processes."""
        self._ending = True
        self._over.set()
        if self._restart.is_alive():
            self._restart.join()
        if self._observer.is_alive():
            self._observer.join(10)
        for client in self._clients.values():
            if client.stopped and client.program is not None:
                client.program.signal(signal.SIGCONT)
        if self._server_paused:
            self._adapter.go_on()
        self._proxy.close()
        self._adapter.close()
        with (self._lab.folder / "snapshots.jsonl").open("w") as file:
            for one in self._snapshots:
                leases = [[lease.lease, lease.fence, lease.device] for lease in one.leases]
                file.write(json.dumps([one.sent, one.answered, leases, one.places]) + "\n")
        self._journal.close()

    def history(self, until: float = math.inf) -> History:
        """What was recorded; up to a moment that has passed, when the run still goes on.

        What a client does that frees a seat, it writes down before it does it; so whatever followed from that
        before `until` is there together with it.
        """
        entries: list[Entry] = []
        for life, path in self._journals:
            if path.exists():
                entries += read_journal(life, path.read_text().splitlines())
        known = [entry for entry in entries if entry.at <= until]
        faults, snapshots = tuple(self._faults), tuple(self._snapshots)
        return History(self._adapter.limits, tuple(known), faults, snapshots, until)

    # faults

    def _play(self, fault: Fault) -> None:
        if self._ending:
            return
        client = self._clients.get(fault.target)
        if client is None:
            self._play_server(fault)
        elif client.program is None or client.stopped:
            return
        elif fault.kind == "kill_client":
            self._kill(client)
            self._later(self._rng.uniform(*RESPAWN), lambda: self._start(client))
        elif fault.kind == "stop_client":
            self._stop_client(client, fault.lasting)
        elif fault.kind == "step_client":
            step_file(client.journal).write_text(str(fault.step))
            self._record("stepped", client=client.life, seconds=fault.step)
        elif fault.kind == "cut":
            self._record("cut", client=client.life)
            self._proxy.cut(client.name)
        else:
            self._record(
                {"stall": "stalled", "mute": "muted"}[fault.kind],
                client=client.life,
                lasting=fault.lasting,
            )
            {"stall": self._proxy.stall, "mute": self._proxy.mute}[fault.kind](client.name)
            self._later(fault.lasting, lambda: self._heal(client))

    def _play_server(self, fault: Fault) -> None:
        if fault.kind == "step_server":
            self._adapter.step(fault.step)
            self._record("server_stepped", seconds=fault.step)
            return
        if self._server_paused or self._restart.is_alive():
            return
        if fault.kind == "stop_server":
            self._record("server_stopped", lasting=fault.lasting)
            self._adapter.pause()
            self._server_paused = True
            self._later(fault.lasting, self._server_goes_on)
            return
        self._restart = threading.Thread(target=self._restarts, args=(fault,), name="restart")
        self._restart.start()

    def _restarts(self, fault: Fault) -> None:
        try:
            if fault.kind == "kill_server":
                self._record("server_killed")
                self._adapter.kill()
            else:
                self._record("server_restarted")
                self._adapter.stop()
            self._over.wait(fault.lasting)
            self._adapter.start()
        except LabError as error:
            self._failure = error
        else:
            self._record("server_ready")

    def _server_goes_on(self) -> None:
        self._adapter.go_on()
        self._server_paused = False
        self._record("server_continued")

    def _heal(self, client: _Client) -> None:
        self._proxy.heal(client.name)
        self._record("healed", client=client.life)

    def _stop_client(self, client: _Client, lasting: float) -> None:
        program, life = client.program, client.life
        assert program is not None
        self._record("stopped", client=life, lasting=lasting)
        program.signal(signal.SIGSTOP)
        client.stopped = True

        def go_on() -> None:
            program.signal(signal.SIGCONT)
            client.stopped = False
            self._record("continued", client=life)

        self._later(lasting, go_on)

    # clients

    def _start(self, client: _Client) -> None:
        if self._ending:
            return
        client.lives += 1
        client.life = f"{client.name}-{client.lives}"
        client.journal = self._lab.folder / f"{client.life}.jsonl"
        self._journals.append((client.life, client.journal))
        client.program = self._adapter.client(
            client.life,
            client.kind,
            f"{self._options.seed} {client.life}",
            client.journal,
            client.address,
        )

    def _kill(self, client: _Client) -> None:
        if client.program is None:
            return
        at = clock.monotonic()
        client.program.kill()
        if client.proxied:
            self._proxy.cut(client.name)  # nothing that it sent is delivered later
        self._record("killed", at, client=client.life, gone=clock.monotonic())
        client.program = None

    def _end(self, client: _Client) -> None:
        assert client.program is not None
        at = clock.monotonic()
        status = client.program.stop(timeout=10)
        if status == -signal.SIGTERM:  # before or after it listened
            self._record("killed", at, client=client.life, gone=clock.monotonic())
        elif status:
            why = f"status {status}.{client.program.tail(5)}"
            self._record("died", client=client.life, why=why)
        client.program = None

    def _watch(self) -> None:
        """A client that ended by itself is a finding; another takes its place."""
        for client in self._clients.values():
            if client.program is not None and not client.program.running:
                why = f"status {client.program.popen.returncode}.{client.program.tail(5)}"
                self._record("died", client=client.life, why=why)
                client.program = None
                self._later(self._rng.uniform(*RESPAWN), lambda client=client: self._start(client))  # type: ignore[misc]

    # the rest

    def _record(self, what: str, at: float | None = None, **facts: Any) -> None:
        entry = Entry(clock.monotonic() if at is None else at, CHECKER, what, facts)
        self._faults.append(entry)
        self._journal.write(write_entry(entry) + "\n")

    def _at(self, when: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, next(self._numbers), work))

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        self._at(clock.monotonic() + seconds, work)

    def _observe(self) -> None:
        while not self._over.is_set():
            sent = clock.monotonic()
            try:
                leases, places = self._adapter.listed()
            except Unavailable:
                pass
            else:
                self._snapshots.append(Snapshot(sent, clock.monotonic(), leases, places))
                self._looked.set()
            self._over.wait(LOOK_PAUSE)

    def _await_look(self) -> None:
        """Return after a look that began after this call, or a second later."""
        for _ in range(2):
            self._looked.clear()
            self._looked.wait(1.0)

    def _progress(self, seconds: float) -> None:
        held = len(self._snapshots[-1].leases) if self._snapshots else 0
        self._options.progress(
            f"{seconds:5.0f} s: {len(self._faults)} faults so far, {held} of {self._options.seats} seats held"
        )

"""Playing faults: what each kind of them does to whom, and its end.

Promises: everything that is done is recorded; who is down or dead already is left alone; a server is started again
beside everything else, on a thread.

Leaves to others: which faults (plan), clients (cast), servers (adapter).
"""

from __future__ import annotations

import threading

from lab.processes import LabError
from seatchecker.adapter import Adapter, step_file
from seatchecker.cast import Cast
from seatchecker.plan import KINDS, Fault
from seatchecker.record import Faults
from seatchecker.schedule import Schedule


class Player:
    """Plays faults on one run."""

    def __init__(self, adapter: Adapter, cast: Cast, schedule: Schedule, faults: Faults) -> None:
        self._adapter = adapter
        self._cast = cast
        self._schedule = schedule
        self._faults = faults
        self._failing: set[str] = set()  # servers and the like that are not as they were
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._failure: LabError | None = None

    def play(self, fault: Fault) -> None:
        """Begin one fault; its end is scheduled."""
        if self._cast.ending:
            return
        if KINDS[fault.kind].whom in ("client", "proxied", "relayed", "networked"):
            self._play_client(fault)
        elif fault.kind == "step_server":
            self._adapter.step(fault.target, fault.amount)
            self._faults.record("server_stepped", server=fault.target, seconds=fault.amount)
        elif fault.target in self._failing:
            return
        elif fault.kind in ("kill_server", "restart_server"):
            self._failing.add(fault.target)
            thread = threading.Thread(target=self._restart, args=(fault,), name="restart")
            self._threads.append(thread)
            thread.start()
        elif fault.kind == "stop_server":
            self._stop_server(fault)
        else:
            self._fail(fault)

    def settle(self) -> None:
        """Wait until everything goes on; LabError when something did not come back."""
        for thread in self._threads:
            thread.join()
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """Leave nobody stopped."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._schedule.hurry()

    def _play_client(self, fault: Fault) -> None:
        client = self._cast.get(fault.target)
        if client.program is None or client.stopped:
            return
        match fault.kind:
            case "kill_client":
                self._cast.kill(client)
            case "stop_client":
                self._cast.stop(client, fault.lasting)
            case "step_client":
                step_file(client.journal).write_text(str(fault.amount))
                self._faults.record("stepped", client=client.life, seconds=fault.amount)
            case _:
                self._cast.fail(client, fault.kind, fault.lasting)

    def _restart(self, fault: Fault) -> None:
        server = fault.target
        try:
            if fault.kind == "kill_server":
                self._faults.record("server_killed", server=server)
                self._adapter.kill(server)
            else:
                self._faults.record("server_restarted", server=server)
                self._adapter.stop(server)
            self._over.wait(fault.lasting)
            self._adapter.start(server)
        except LabError as error:
            self._failure = error
        else:
            self._faults.record("server_ready", server=server)
            self._failing.discard(server)

    def _stop_server(self, fault: Fault) -> None:
        server = fault.target
        self._failing.add(server)
        self._faults.record("server_stopped", server=server, lasting=fault.lasting)
        self._adapter.pause(server)

        def go_on() -> None:
            self._adapter.go_on(server)
            self._faults.record("server_continued", server=server)
            self._failing.discard(server)

        self._schedule.later(fault.lasting, go_on)

    def _fail(self, fault: Fault) -> None:
        kind, target = fault.kind, fault.target
        self._failing.add(target)
        self._faults.record(kind, server=target, lasting=fault.lasting, amount=fault.amount)
        self._adapter.fail(kind, target, fault.amount)

        def heal() -> None:
            try:
                self._adapter.heal(kind, target)
            except LabError as error:
                self._failure = error
            self._faults.record("server_healed", server=target, of=kind)
            self._failing.discard(target)

        self._schedule.later(fault.lasting, heal)

"""Real programs, started, watched, killed: each with its own log and its events as they come.

Promises: every wait has an end and says what was waited for, with the tail of the program's log; nothing
started here outlives its `Lab`; only processes started here are ever signalled.

Leaves to others: which programs, and what they should say (lab.world, the tests).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PATIENCE = float(os.environ.get("KEYPEG_LAB_PATIENCE", "1"))
"""How many times longer than elsewhere things may take on this computer: more than 1 where it is emulated itself."""
START_TIMEOUT = 30.0 * PATIENCE
"""Seconds a program may take until it is ready; generous, since test machines are slow and shared."""

Event = dict[str, Any]


class LabError(AssertionError):
    """A program did not do what was waited for."""


def _surroundings() -> dict[str, str]:
    """The environment, without what the command line sets for itself where a test runs it in its own process."""
    return {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}


class Program:
    """One running program. Its standard output is read as JSON lines, its standard error goes to a log."""

    def __init__(
        self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path, *, cwd: Path = ROOT
    ) -> None:
        self.name = name
        self.log = log
        self.events: list[Event] = []
        self._arrivals: list[float] = []
        self._changed = threading.Condition()
        self._ended = False
        with log.open("ab") as errors:
            self.popen = subprocess.Popen(
                list(argv),
                env={**_surroundings(), **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=cwd,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, name=f"read-{name}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.popen.poll() is None

    def expect(
        self,
        what: str | Callable[[Event], bool],
        *,
        timeout: float = START_TIMEOUT,
        after: int = 0,
    ) -> Event:
        """The first event from position `after` on whose `event` is `what`, or that `what` accepts."""
        wanted = (lambda e: e.get("event") == what) if isinstance(what, str) else what
        deadline = time.monotonic() + timeout
        position = after
        with self._changed:
            while True:
                while position < len(self.events):
                    if wanted(self.events[position]):
                        return self.events[position]
                    position += 1
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    label = what if isinstance(what, str) else getattr(what, "__name__", "that")
                    why = "ended" if self._ended else f"did not within {timeout:.1f} s"
                    raise LabError(f"{self.name}: waited for {label!r}, but it {why}.{self.tail()}")
                self._changed.wait(left)

    def stays_without(self, *events: str, seconds: float, after: int = 0) -> None:
        """None of these events comes for so long."""
        try:
            found = self.expect(
                lambda event: event.get("event") in events, timeout=seconds, after=after
            )
        except LabError:
            if self._ended:
                raise
            return
        raise LabError(f"{self.name} said {found}.{self.tail()}")

    def said(self) -> set[str]:
        """The names of all its events."""
        return {str(event.get("event")) for event in list(self.events)}

    def arrival(self, event: Event) -> float:
        """When that event came, on this process's monotonic clock, in seconds."""
        for seen, when in zip(self.events, self._arrivals, strict=False):
            if seen is event:
                return when
        raise LookupError(f"{self.name} has said no such thing: {event}")

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        with contextlib.suppress(ProcessLookupError):
            self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait(10)

    def wait(self, timeout: float) -> int:
        """The exit status, once it has ended."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(
                f"{self.name} did not end within {timeout:.1f} s.{self.tail()}"
            ) from None

    def stop(self, timeout: float = 15) -> int:
        """SIGTERM and its exit status; SIGKILL when it does not obey."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            status = self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self.popen.returncode
        if self.popen.stdin:
            with contextlib.suppress(OSError):
                self.popen.stdin.close()
        self._reader.join(5)
        return status

    def tail(self, lines: int = 15) -> str:
        """The end of its log and its last events, for an error."""
        text = (
            self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        )
        said = [json.dumps(event) for event in self.events[-5:]]
        return "".join(f"\n  {self.name}| {line}" for line in [*said, *text])

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "text", "text": line.decode(errors="replace").rstrip()}
            if not isinstance(event, dict):
                event = {"event": "text", "text": line.decode(errors="replace").rstrip()}
            with self._changed:
                self.events.append(event)
                self._arrivals.append(time.monotonic())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Lab:
    """Starts programs below one folder and ends them all at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []

    def start(
        self, name: str, argv: Sequence[str], *, env: Mapping[str, str] | None = None
    ) -> Program:
        """Start a program; its log is `<folder>/<name>.log`."""
        program = Program(name, argv, env or {}, self.folder / f"{name}.log")
        self.programs.append(program)
        return program

    def ready(self, program: Program, file: Path, timeout: float = START_TIMEOUT) -> dict[str, Any]:
        """What the program wrote to its ready file, once it has."""
        deadline = time.monotonic() + timeout
        tick = threading.Event()
        while not file.exists():
            if not program.running:
                raise LabError(f"{program.name} ended before it was ready.{program.tail()}")
            if time.monotonic() > deadline:
                raise LabError(f"{program.name} was not ready in {timeout:.0f} s.{program.tail()}")
            tick.wait(0.01)
        found = json.loads(file.read_text())
        assert isinstance(found, dict)
        return found

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        check: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; a failure is an error with what it said."""
        done = subprocess.run(
            list(argv),
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=ROOT,
            check=False,
        )
        if check and done.returncode:
            raise LabError(
                f"{' '.join(argv)} ended with {done.returncode}: {done.stderr or done.stdout}"
            )
        return done

    def close(self) -> None:
        """End everything: all are told first, and then waited for, the youngest first."""
        for program in reversed(self.programs):
            program.signal(signal.SIGTERM)
        for program in reversed(self.programs):
            program.stop(timeout=8)
        self.programs.clear()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

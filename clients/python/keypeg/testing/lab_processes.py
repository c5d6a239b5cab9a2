"""The programs of a laboratory: started, awaited by what they write when they serve, and ended by their id.

Promises: a program that does not get ready is an error with the end of its log; one that lacks a part of keypeg says how to
install it. Only processes that were started here are ever signalled, also when another program of the same id has come.

Leaves to others: which programs.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keypeg.clock import Clock, SystemClock
from keypeg.testing.lab_errors import LabError

READY_SECONDS: Final = 30.0  # starting Python on a busy computer
END_SECONDS: Final = 15.0  # a bridge gives its apps two
LOOK_SECONDS: Final = 0.02  # between looks at a file or a process
TAIL_LINES: Final = 15

PROGRAMS: Final[Mapping[str, str]] = {  # by name: where its `main` is
    "keypeg-emukey": "keypeg_bridge.emulator.main",
    "keypeg-bridge": "keypeg_bridge.main",
    "keypegd": "keypeg_server.main",
}
# What each extra brings, by one module of each package.
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "bridge": ("keypeg_bridge", "click", "fido2", "grpc_health", "grpc_reflection", "structlog", "usb"),
    "server": ("keypeg_server", "alembic", "click", "grpc_health", "sqlmodel", "structlog"),
}  # fmt: skip


def need(extra: str) -> None:
    """`LabError` when a part of keypeg is not installed here."""
    missing = [name for name in _PARTS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        raise LabError(
            f"The laboratory needs keypeg's {extra}, and there is no module {missing[0]}. Install it:"
            f" pip install 'keypeg[{extra}]'"
        )


@dataclass(frozen=True)
class Process:
    """One program that runs. `began` tells it from another one that has its id later."""

    pid: int
    began: str

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.pid > 0 and _began(self.pid) == self.began

    def end(self, clock: Clock | None = None) -> None:
        """SIGTERM, and SIGKILL when it does not obey; returns when it is gone."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running:
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            if wait_until(lambda: not self.running, END_SECONDS, clock):
                return
        raise LabError(f"The process {self.pid} does not end.")


def start(
    program: str,
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
) -> tuple[Process, dict[str, Any]]:
    """Start a program of keypeg and wait until it serves: the process, and what it wrote to its ready file."""
    ready = folder / f"{program}.ready"
    ready.unlink(missing_ok=True)
    log = folder / f"{program}.log"
    with log.open("wb") as output:
        popen = subprocess.Popen(  # noqa: S603 - our own program, with our own arguments
            [*command(program), *arguments, "--ready-file", str(ready)],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    wait_until(lambda: ready.exists() or popen.poll() is not None, READY_SECONDS, clock)
    if popen.poll() is None and ready.exists():
        facts: dict[str, Any] = json.loads(ready.read_text())
        threading.Thread(target=popen.wait, name=f"wait-{program}", daemon=True).start()
        return Process(popen.pid, _began(popen.pid)), facts
    if popen.poll() is None:
        popen.kill()
        popen.wait()
        why = f"did not get ready within {READY_SECONDS:.0f} s"
    else:
        why = f"ended with {popen.returncode}"
    raise LabError(f"{program} {why}.{tail(log)}")


def command(program: str) -> list[str]:
    """How a program of keypeg is started, whatever is on the PATH."""
    code = f"import sys; sys.argv[0] = {program!r}; from {PROGRAMS[program]} import main; main()"
    return [sys.executable, "-c", code]


def tail(log: Path) -> str:
    """The end of a log, for an error."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "".join(f"\n  {line}" for line in lines[-TAIL_LINES:])


def wait_until(holds: Callable[[], bool], seconds: float, clock: Clock | None = None) -> bool:
    """Look until `holds()` is true; False when it was not in time."""
    clock = clock or SystemClock()
    deadline = clock.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        if clock.monotonic() >= deadline:
            return False
        pause.wait(LOOK_SECONDS)
    return True


def _began(pid: int) -> str:
    """When a process began, as the system counts; empty when it has ended, `?` where that cannot be known."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
        return "?" if _is_there(pid) else ""
    except OSError:
        return ""
    state, *fields = line.rpartition(")")[2].split()
    return "" if state in ("Z", "X") else fields[18]


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

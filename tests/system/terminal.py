"""A person at a terminal: a program on a terminal of its own, what it shows there, and what is typed.

Promises: every wait has an end and says what was waited for; the terminal echoes as real ones do, so that what is
shown is all that a person would see; the program ends with the block.

Leaves to others: the program.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from lab.processes import ROOT, START_TIMEOUT
from lab.world import APP, Computer, World


class Terminal:
    """Standard input and standard error are the terminal; standard output is kept apart, as in `app > file`."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.shown = ""
        self._main, side = pty.openpty()
        variables = {**os.environ, **env, "KEYPEG_ASK": "auto", "TERM": "dumb"}
        variables.pop("DISPLAY", None)
        self.popen = subprocess.Popen(
            list(argv),
            env=variables,
            stdin=side,
            stdout=subprocess.PIPE,
            stderr=side,
            cwd=ROOT,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            text=True,
        )
        os.close(side)

    def until(self, text: str, *, after: int = 0, timeout: float = START_TIMEOUT) -> None:
        """Waits until it is shown."""
        deadline = time.monotonic() + timeout
        while text not in self.shown[after:]:
            ready, _, _ = select.select([self._main], [], [], max(0, deadline - time.monotonic()))
            try:
                data = os.read(self._main, 4096) if ready else b""
            except OSError:  # the other side has ended
                data = b""
            assert data, f"waited for {text!r}; shown: {self.shown!r}"
            self.shown += data.decode().replace("\r\n", "\n")

    def answer(self, prompt: str, line: str) -> None:
        """Waits for a prompt that was not answered yet, and types a line."""
        after = getattr(self, "_answered", 0)
        self.until(prompt, after=after)
        self._answered = len(self.shown)
        os.write(self._main, line.encode() + b"\n")

    def event(self, name: str) -> dict[str, Any]:
        """The next event of this name on standard output, which the app ends should it not come."""
        assert self.popen.stdout
        for line in self.popen.stdout:
            said: dict[str, Any] = json.loads(line)
            if said["event"] == name:
                return said
        raise AssertionError(f"the app ended without {name}; shown: {self.shown!r}")

    def end(self) -> int:
        """Types the end of the input, and waits for the program's end."""
        os.write(self._main, b"\x04")
        return self.popen.wait(START_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(START_TIMEOUT)
        if self.popen.stdout:
            self.popen.stdout.close()
        os.close(self._main)


def at_terminal(world: World, computer: Computer, product: str) -> Terminal:
    """The example app, started by a person."""
    argv = [sys.executable, str(APP), "--product", product, "--root", world.root.hex()]
    return Terminal(argv, computer.env)

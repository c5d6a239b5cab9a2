"""The way through a relay of calls, which loses and doubles answers: the side of the run.

Promises: when a method returns, the relay has obeyed.

Leaves to others: the calls (relaying, a process of its own).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lab.processes import ROOT, Lab


class Relay:
    """A relay process, and the lines through it."""

    def __init__(
        self, lab: Lab, seed: str, servers: Sequence[str], chain: Path, key: Path, trust: Path
    ) -> None:
        argv = [sys.executable, "-m", "seatchecker.relaying", "--seed", seed]
        argv += ["--chain", str(chain), "--key", str(key), "--trust", str(trust), *servers]
        paths = str(ROOT / "tools")
        self._program = lab.start("relay", argv, env={"PYTHONPATH": paths})

    def line(self, name: str) -> str:
        """A new line; the addresses to use instead of the servers'."""
        ports = self._tell("add", name)["ports"]
        return ",".join(f"127.0.0.1:{port}" for port in ports)

    def fail(self, name: str, kind: str) -> None:
        """Lose (`drop`) or `double` some answers of a line from now on."""
        self._tell(kind, name)

    def heal(self, name: str) -> None:
        """Let everything through again, once."""
        self._tell("heal", name)

    def close(self) -> None:
        """End it."""
        self._program.stop()

    def _tell(self, what: str, name: str) -> dict[str, list[int]]:
        after = len(self._program.events)
        stdin = self._program.popen.stdin
        assert stdin is not None
        stdin.write(f"{what} {name}\n".encode())
        stdin.flush()
        return self._program.expect(what, after=after)

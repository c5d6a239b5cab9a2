"""Commands of the command line that go on only when somebody has done something elsewhere.

Promises: none outlives its test.

Leaves to others: commands that end by themselves (World.keypeg), and those that ask on a terminal (terminal.py).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lab.processes import BIN
from lab.world import Computer

TIME = 60.0  # seconds for a command to end


class Command:
    """A command that waits."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._said: list[str] = []

    def says(self, pattern: str) -> re.Match[str]:
        """What it said that matches."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"it ended without saying {pattern}: {self._said}")

    def ends(self, stdin: str = "") -> tuple[int, Any, str]:
        """Its exit code, its answer and all that it said, when it was told the rest."""
        answer, said = self._process.communicate(stdin, timeout=TIME)
        found = json.loads(answer) if answer.strip() else None
        return self._process.returncode, found, "".join([*self._said, said])


@contextmanager
def begun(computer: Computer, *args: str, stdin: str = "") -> Iterator[Command]:
    """The command, which is ended with this."""
    argv = [str(BIN / "keypeg"), "-o", "json", *args]
    process = subprocess.Popen(
        argv,
        env={**os.environ, **computer.env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.flush()
        yield Command(process)
    finally:
        process.kill()
        process.wait(TIME)

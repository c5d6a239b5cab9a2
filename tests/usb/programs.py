"""Other people's programs, run to their end: what they said, with an answer for each question that they ask on a terminal.

Promises: every run ends by `SECONDS`; a program that fails where it should not is an error with all that it said.
"""

from __future__ import annotations

import os
import pty
import selectors
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lab.processes import LabError

SECONDS = 60.0
PAUSE = 0.1  # between two looks at something that takes its time


class Tools:
    """Programs of the distribution, started in one room and folder."""

    def __init__(self, folder: Path, under: Sequence[str] = ()) -> None:
        self.folder = folder
        # Whoever enters another room stands in its root first.
        self._under = (*under, "env", f"--chdir={folder}")

    def run(
        self,
        *words: str,
        fails: bool = False,
        data: bytes = b"",
        seconds: float = SECONDS,
        env: dict[str, str] | None = None,
    ) -> str:
        """What it said on both streams; it must fail where `fails` says so, and succeed elsewhere."""
        done = subprocess.run(
            [*self._under, *words],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
            env=os.environ | (env or {}),
        )
        text = done.stdout.decode(errors="replace")
        if (done.returncode != 0) is not fails:
            raise LabError(f"{' '.join(words)} ended with {done.returncode}:\n{text}")
        return text

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin it; the caller waits for its end."""
        return subprocess.Popen(
            [*self._under, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def until(self, text: str, *words: str, there: bool = True) -> str:
        """Run it again and again until it says `text`, or until it no longer does; what it said then."""
        deadline = time.monotonic() + SECONDS
        while (text in (said := self.run(*words))) is not there:
            if time.monotonic() > deadline:
                raise LabError(f"{' '.join(words)}: {text!r}, still {not there}:\n{said}")
            time.sleep(PAUSE)
        return said

    def asked(self, *words: str, answers: Sequence[str], fails: bool = False) -> str:
        """The same for a program that asks on its terminal; each answer follows what ends in a colon."""
        main, other = pty.openpty()
        program = subprocess.Popen(
            [*self._under, "setsid", "--ctty", "--wait", *words],
            stdin=other,
            stdout=other,
            stderr=other,
        )
        os.close(other)
        said = b""
        question = b""
        waiting = list(answers)
        deadline = time.monotonic() + SECONDS
        try:
            while piece := _read(main, deadline):
                said += piece
                question += piece
                if waiting and question.rstrip(b" ").endswith(b":"):
                    question = b""
                    os.write(main, waiting.pop(0).encode() + b"\n")
            status = program.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise LabError(f"{' '.join(words)} did not end: {said.decode()}") from None
        finally:
            if program.poll() is None:
                program.kill()
                program.wait()
            os.close(main)
        text = said.decode(errors="replace")
        if (status != 0) is not fails or waiting:
            raise LabError(
                f"{' '.join(words)} ended with {status}, {len(waiting)} unasked:\n{text}"
            )
        return text


def _read(terminal: int, deadline: float) -> bytes:
    """More of what was said; nothing at the end, or when the time is over."""
    with selectors.DefaultSelector() as selector:
        selector.register(terminal, selectors.EVENT_READ)
        left = deadline - time.monotonic()
        if left <= 0 or not selector.select(left):
            return b""
        try:
            return os.read(terminal, 65_536)
        except OSError:  # what a terminal says whose last program has ended
            return b""


def missing(programs: dict[str, str]) -> list[str]:
    """The packages of those programs (name: package) that are not installed."""
    return sorted({package for name, package in programs.items() if shutil.which(name) is None})

"""A virtual screen: an X server without a monitor, for windows that are really made.

Promises: it takes a free display by itself, is ready when it is given, and ends with the test; without the program a
skip says what to install.

Leaves to others: what is shown on it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import pytest

Run = Callable[[Sequence[str]], str]
"""Runs a program on the screen; what it printed, also when it has failed."""

INSTALL = "apt-get install xvfb xdotool python3-tk"


def virtual_screen(folder: Path) -> Generator[str, None, None]:
    """The display, for DISPLAY."""
    if shutil.which("Xvfb") is None or importlib.util.find_spec("_tkinter") is None:
        pytest.skip(f"windows are tried on a virtual screen: {INSTALL}")
    readable, writable = os.pipe()
    argv = ["Xvfb", "-displayfd", str(writable), "-screen", "0", "800x600x24", "-nolisten", "tcp"]
    server = subprocess.Popen(
        [*argv, "-fbdir", str(folder)], pass_fds=(writable,), stderr=subprocess.DEVNULL
    )
    os.close(writable)
    try:
        with os.fdopen(readable) as told:
            number = told.readline().strip()  # empty when it has ended instead
        assert number, "the virtual screen did not start"
        yield f":{number}"
    finally:
        server.terminate()
        server.wait(10)


def press(run: Run, title: str, *words: str, seconds: float = 40) -> None:
    """Types words of xdotool as a keyboard does: to what has the focus, once that is the window of this title."""
    deadline = time.monotonic() + seconds
    while run(["xdotool", "getwindowfocus", "getwindowname"]).strip() != title:
        assert time.monotonic() < deadline, f"no window {title!r}"
    run(["xdotool", *words])

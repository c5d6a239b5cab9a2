"""Loaded by every Python program that has this folder on its PYTHONPATH: a wall clock that can be stepped.

The seconds in the file that KEYPEG_TEST_CLOCK_STEP names are added to the wall clock at each reading.
The monotonic clocks stay as they are, as when an administrator or NTP steps a real computer's clock.
"""

import os
import time

_FILE = os.environ.get("KEYPEG_TEST_CLOCK_STEP", "")
_time, _time_ns = time.time, time.time_ns


def _step() -> int:
    try:
        with open(_FILE) as file:
            return int(file.read() or 0)
    except (OSError, ValueError):
        return 0


if _FILE:
    time.time = lambda: _time() + _step()
    time.time_ns = lambda: _time_ns() + _step() * 1_000_000_000

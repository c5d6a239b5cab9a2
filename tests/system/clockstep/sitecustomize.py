"""Loaded by every Python program that has this folder on its PYTHONPATH: a wall clock that can be stepped.

The seconds in the file that KEYPEG_TEST_CLOCK_STEP names are added to the wall clock at each reading, as the
checker of seats does it: also where it is read through `datetime`, which does not ask `time`.
"""

import os
import runpy
from pathlib import Path

if _file := os.environ.get("KEYPEG_TEST_CLOCK_STEP"):
    os.environ["SEATCHECK_CLOCK_STEP"] = _file
    _tools = Path(__file__).resolve().parents[3] / "tools"
    runpy.run_path(str(_tools / "seatchecker" / "clockstep" / "sitecustomize.py"))

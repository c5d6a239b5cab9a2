"""Which process of which computer this one is, and whether another one of the same computer has ended.

Promises: `has_ended` is true only when that is certain: the process was of this computer since it last started, in
the same space of process ids, and no process has its id and time of start. Where the system does not tell
(it is not Linux), nothing is ever certain.

Leaves to others: processes of other computers (domain/home.py).
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """A text for this process that no other has, on any computer; empty when the system does not tell."""
    place, began = _place(), _began(os.getpid())
    return f"{place}/{os.getpid()}/{began}" if place and began else ""


def has_ended(process: str) -> bool:
    """Whether the process of such a text has certainly ended."""
    place, _, rest = process.rpartition("/")[0].rpartition("/")
    began = process.rpartition("/")[2]
    if not place or place != _place() or not rest.isdecimal() or not began.isdecimal():
        return False
    now = _began(int(rest))
    return now is not None and now != began


def _place() -> str:
    """The computer since it last started, and the space of process ids."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return ""


def _lives(pid: int) -> bool:
    """Whether there is such a process: `hidepid` leaves those of others out of /proc."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _began(pid: int) -> str | None:
    """When a process started, in ticks since the computer did; empty when there is none; None when unknown."""
    try:
        status = (_PROC / str(pid) / "stat").read_text("ascii", "replace")
    except FileNotFoundError:
        return "" if (_PROC / "self").exists() and not _lives(pid) else None
    except OSError:
        return None
    return status.rpartition(")")[2].split()[19]

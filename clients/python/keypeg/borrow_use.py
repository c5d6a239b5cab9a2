"""Which programs of this computer use how much of a borrowed seat, by locks on files.

Promises: a lock ends with the process that has it, however that ends; so units are never used twice, and never
lost. Who has the lock of `in-use` for itself knows that no program uses the borrow.

Leaves to others: whether the borrow may be used at all (borrow_shelf, proof).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keypeg.errors import DocumentOtherDevice, FieldInvalid, PoolExhausted
from keypeg.v1.document_pb2 import GrantedLease

if sys.platform != "win32":
    import fcntl
HAS_LOCKS: Final = sys.platform != "win32"  # that end with their process, and may be shared

IN_USE: Final = "in-use"


@dataclass
class Use:
    """Units of a borrow that this process uses, until `end`."""

    files: list[int] = field(default_factory=list)

    def end(self) -> None:
        """Gives the units back to the other programs of this computer."""
        files, self.files = self.files, []
        for file in files:
            os.close(file)  # and with it its lock


def use_of(
    directory: Path, name: str, lease: GrantedLease, units: int, features: Mapping[str, int]
) -> Use:
    """Takes units of a borrow for this process; PoolExhausted when other programs have them."""
    there = {"unit": lease.units, **{f"feature-{f.feature}": f.units for f in lease.features}}
    wanted = {"unit": units, **{f"feature-{feature}": n for feature, n in features.items()}}
    use = Use()
    try:
        file = lock(directory / IN_USE, exclusive=False)
        if file is None:
            raise DocumentOtherDevice(
                f"{name} is being given back; borrow another seat.", borrow=name
            )
        use.files.append(file)
        for what, count in wanted.items():
            _take(directory, name, what, count, there.get(what, 0), use)
    except BaseException:
        use.end()
        raise
    return use


def _take(directory: Path, name: str, what: str, count: int, there: int, use: Use) -> None:
    taken = 0
    for number in range(there):
        if taken == count:
            return
        file = lock(directory / f"{what}-{number}", exclusive=True)
        if file is not None:
            use.files.append(file)
            taken += 1
    if taken < count:
        named = "units" if what == "unit" else f"units of {what.removeprefix('feature-')}"
        raise PoolExhausted(
            f"{name} has {there} {named}, and other programs of this computer use {there - taken} of them; "
            "close one of them, or borrow another seat.",
            pool=name.partition("/borrows/")[0],
            borrow=name,
        )


def lock(path: Path, *, exclusive: bool) -> int | None:
    """The open file that holds a lock; None when another process has it."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # its borrow was handed in
    except OSError as error:
        raise _not_locked(path, error) from error
    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        os.close(file)
        raise _not_locked(path, error) from error
    return file


def _not_locked(path: Path, error: OSError) -> FieldInvalid:
    return FieldInvalid(
        f"{path} can not be locked: {error.strerror}; set KEYPEG_CONFIG_DIR to a local directory of your own, "
        "or let this program open more files.",
        field="config",
    )


def wait_for(path: Path) -> int:
    """The open file that holds a lock for this process alone, once others have let go."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file

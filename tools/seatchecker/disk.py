"""A disk that is slow on command, below a server that knows nothing of it.

Promises: while `slow` is on, every fsync and fdatasync of the programs that were started with `env` takes so much
longer, in the process that calls it. The library is compiled where it is needed, from slowdisk/slowdisk.c.

Leaves to others: when (playing), and which programs (adapters).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from lab.processes import ROOT

SOURCE: Final = Path(__file__).parent / "slowdisk" / "slowdisk.c"
FOLDER: Final = ROOT / "build" / "seatcheck"
FLAGS: Final = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


class NoCompiler(Exception):
    """The library can not be made here: one sentence, for people."""


def library() -> Path:
    """The compiled library; made once for each version of its source."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise NoCompiler(f"there is no C compiler `{compiler}` here (Debian: gcc, libc6-dev)")
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:16]
    made = FOLDER / f"slowdisk-{digest}.so"
    if not made.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        partial = made.with_suffix(f".{os.getpid()}")
        done = subprocess.run(
            [compiler, *FLAGS, str(SOURCE), "-o", str(partial), "-ldl"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NoCompiler(f"`{compiler}` refused the library: {done.stderr.strip()[-300:]}")
        partial.replace(made)
    return made


class Disk:
    """What a server writes to."""

    def __init__(self, delay_file: Path) -> None:
        self._file = delay_file
        self._library = library()

    @property
    def env(self) -> dict[str, str]:
        """The environment of a program whose disk this is."""
        before = os.environ.get("LD_PRELOAD", "")
        return {
            "LD_PRELOAD": " ".join(filter(None, (str(self._library), before))),
            "SEATCHECK_DISK_DELAY": str(self._file),
        }

    def slow(self, milliseconds: int) -> None:
        """Let every write to the disk itself take so much longer; 0 for no longer."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(str(milliseconds))
        partial.replace(self._file)

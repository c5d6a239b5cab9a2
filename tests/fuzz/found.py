"""What fuzzing found interesting: inputs that reach code which the seeds do not, kept so that each run begins there.

Promises: one text file a target (found/TARGET.txt), one input a line in base64, the shortest first, so that a change can be read;
what `save` writes, `load` gives. `tools/fuzz --keep` chooses the inputs.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "found"


def load(name: str) -> list[bytes]:
    """The inputs of a target; none where nothing was found yet."""
    path = FOLDER / f"{name}.txt"
    lines = path.read_text().split() if path.exists() else []
    return [base64.b64decode(line, validate=True) for line in lines]


def save(name: str, inputs: Iterable[bytes]) -> int:
    """Replace a target's inputs; how many there are now."""
    ordered = sorted(set(inputs) - {b""}, key=lambda data: (len(data), data))
    FOLDER.mkdir(exist_ok=True)
    lines = "".join(f"{base64.b64encode(data).decode()}\n" for data in ordered)
    (FOLDER / f"{name}.txt").write_text(lines)
    return len(ordered)

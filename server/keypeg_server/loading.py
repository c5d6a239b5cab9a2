"""How a program is loaded, when much of what it needs is large.

Promises: what is loaded within `loading` costs no look for garbage, and nothing that is not used.

Leaves to others: loading late what only some commands need (main.py, keeping_commands.py), and garbage afterwards
(garbage.py).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """While large modules are loaded: nobody looks for garbage among them, neither now nor later.

    There is hardly any, and looking again and again would take a fifth of the start.
    """
    # Where the command line is installed, too, structlog would load rich, for tracebacks that are not written.
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # to the import system: not there
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        if hidden:
            del sys.modules["rich"]

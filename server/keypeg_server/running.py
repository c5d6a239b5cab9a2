"""Running a program of `keypegd` to its end, on its event loop.

Promises: what is foreseen to go wrong ends it with one sentence and exit code 1, never a traceback.

Leaves to others: the programs (main.py, init_command.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from keypeg_server.command_line import EXIT_ERROR, fail
from keypeg_server.loading import loading

T = TypeVar("T")


def run(work: Callable[[], Coroutine[Any, Any, T]], level: str, settings: Any) -> T:
    """Run a program to its end; what is foreseen to go wrong ends it with a sentence."""
    with loading():
        import uvloop

        from keypeg.errors import KeypegError
        from keypeg_server.logs import configure
        from keypeg_server.opened import StartError
        from keypeg_server.secret_files import SecretError

    configure(level, settings.logs.format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work())
    except (StartError, SecretError, KeypegError) as error:
        fail(str(error), EXIT_ERROR)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}.", EXIT_ERROR)

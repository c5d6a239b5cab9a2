"""What a launch is doing while a person waits at a desktop: told on any thread, shown on one.

Promises: a window comes with the first thing that is told, and goes when the work is over; where nothing is told,
nothing of windows is even loaded.

Leaves to others: the window (launch_progress), questions (launch_dialog). The thread that calls `until` makes the window.
"""

from __future__ import annotations

import concurrent.futures
import queue
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keypeg.launch_steps import Progress

if TYPE_CHECKING:
    import tkinter as tk


class Waiting:
    """What is told from any thread, and the window on one."""

    def __init__(self) -> None:
        self._said: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        self.shown: tk.Tk | None = None  # the window, while there is one

    def tell(self, progress: Progress) -> None:
        """To be shown; returns at once."""
        self._said.put(progress)

    def until(
        self,
        future: concurrent.futures.Future[Any],
        drawn: Callable[[tk.Tk], None] | None = None,
    ) -> None:
        """Shows what is told until the work is over; without a window while nothing is.

        `drawn` is called once, with the window, when that is on the screen.
        """
        future.add_done_callback(lambda _: self._said.put(None))
        first = self._said.get()
        if first is None:
            return
        from keypeg.launch_progress import Window, WindowFailed

        try:
            window = Window(first, self._said)
        except WindowFailed:  # the screen has gone: the work goes on without one
            while self._said.get() is not None:
                pass
            return
        self.shown = window.window
        try:
            window.run(drawn)
        finally:
            self.shown = None

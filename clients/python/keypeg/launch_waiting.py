"""At a desktop, what a launch is doing while a person waits: one small window, where there is something to say.

Promises: the window comes with the first thing that is told, and goes when the work is over. It has no button: what
is written to a key is not to be interrupted half way, and ends by its own time.

Leaves to others: questions (launch_dialog). The thread that calls `until` makes the window.
"""

from __future__ import annotations

import concurrent.futures
import queue
import tkinter as tk
from collections.abc import Callable
from tkinter import ttk
from typing import Any, Final

from keypeg.launch_steps import Progress

WIDTH: Final = 420  # pixels of a line of text, at 96 to the inch
LOOK_MS: Final = 50  # between two looks at what was told
_PADDING: Final = 14  # pixels


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
        window = _Window(first, self._said)
        self.shown = window.window
        try:
            window.run(drawn)
        finally:
            self.shown = None


class _Window:
    def __init__(self, first: Progress, said: queue.SimpleQueue[Progress | None]) -> None:
        self._said = said
        self.window = tk.Tk(className="Keypeg")
        self.window.resizable(False, False)
        self.window.protocol("WM_DELETE_WINDOW", lambda: None)
        frame = ttk.Frame(self.window, padding=_PADDING)
        frame.grid()
        wide = round(WIDTH * self.window.winfo_fpixels("1i") / 96)
        self._title = ttk.Label(frame, font="TkHeadingFont", wraplength=wide)
        self._title.grid(sticky="w", pady=(0, 8))
        self._sentence = ttk.Label(frame, wraplength=wide, justify="left")
        self._sentence.grid(sticky="w", pady=(0, 8))
        bar = ttk.Progressbar(frame, mode="indeterminate", length=wide)
        bar.grid(sticky="we")
        bar.start(LOOK_MS)
        self._show(first)
        self.window.update_idletasks()
        left = (self.window.winfo_screenwidth() - self.window.winfo_reqwidth()) // 2
        top = (self.window.winfo_screenheight() - self.window.winfo_reqheight()) // 3
        self.window.geometry(f"+{max(left, 0)}+{max(top, 0)}")

    def run(self, drawn: Callable[[tk.Tk], None] | None) -> None:
        self.window.update()
        if drawn is not None:
            drawn(self.window)
        self.window.after(LOOK_MS, self._look)
        try:
            self.window.mainloop()
        finally:
            self.window.destroy()

    def _look(self) -> None:
        while not self._said.empty():
            told = self._said.get()
            if told is None:
                self.window.quit()
                return
            self._show(told)
        self.window.after(LOOK_MS, self._look)

    def _show(self, progress: Progress) -> None:
        self.window.title(progress.title)
        self._title.configure(text=progress.title)
        self._sentence.configure(text=progress.sentence)

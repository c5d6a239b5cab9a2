"""The small window that says what a launch is doing.

Promises: it has no button: what is written to a key is not to be interrupted half way, and ends by its own time.

Leaves to others: when it comes and goes (launch_waiting).
"""

from __future__ import annotations

import queue
import tkinter as tk
from collections.abc import Callable
from tkinter import ttk
from typing import Final

from keypeg.launch_steps import Progress

WIDTH: Final = 420  # pixels of a line of text, at 96 to the inch
LOOK_MS: Final = 50  # between two looks at what was told
WindowFailed: Final = tk.TclError
_PADDING: Final = 14  # pixels


class Window:
    """Shows what is told until None is."""

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
        """Until it is over; `drawn` is called once with the window on the screen."""
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

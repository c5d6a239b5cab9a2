"""A launch at a desktop: each step as one small window of the standard library's toolkit.

Promises: everything can be reached with the keyboard: Tab goes through fields and choices in the order of the step,
Return takes the choice that is marked, Escape and closing the window leave, Alt and the underlined letter take a
choice. A secret shows as dots. The window is gone, with all that was typed, when the answer is there.

Leaves to others: what is asked (launch_flow), whether there is a desktop (launch_asking). The thread that calls makes
the window; macOS allows that of the main thread only.
"""

from __future__ import annotations

import tkinter as tk
from tkinter import filedialog, ttk
from typing import Final

from keypeg.errors import FieldInvalid
from keypeg.launch_sign_in_words import YES
from keypeg.launch_steps import Answer, Choice, Field, FieldKind, Step

WIDTH: Final = 420  # pixels of a line of text, at 96 to the inch
IN_A_ROW: Final = 4  # choices
_PADDING: Final = 14  # pixels
_PROBLEM_COLOR: Final = "#a40000"  # on any light ground; the words say it too


class Dialog:
    """The window of one step; `run` shows it until it is answered."""

    def __init__(self, step: Step) -> None:
        try:
            self.window: tk.Tk = tk.Tk(className="Keypeg")
        except tk.TclError as error:
            raise FieldInvalid(
                f"No window can be shown: {error}. Set KEYPEG_ASK=terminal, or never.", field="ask"
            ) from error
        self.answer: Answer = Answer(step.leaving.name)
        self.buttons: dict[str, ttk.Button] = {}
        self.inputs: dict[str, ttk.Entry | ttk.Checkbutton] = {}
        self.browse: dict[str, ttk.Button] = {}
        self._step = step
        self._variables: dict[str, tk.StringVar] = {}
        self._row = 0
        self.window.title(step.title)
        self.window.resizable(False, False)
        self.window.protocol("WM_DELETE_WINDOW", self._leave)
        self._frame = ttk.Frame(self.window, padding=_PADDING)
        self._frame.grid()
        self._frame.columnconfigure(1, weight=1)
        self._build()
        self._bind()

    def run(self) -> Answer:
        """Shows it, and waits for the answer."""
        try:
            self.window.mainloop()
        finally:
            self._forget()
        return self.answer

    def _build(self) -> None:
        step = self._step
        self._text(step.title, font="TkHeadingFont")
        if step.problem:
            self._text(step.problem, color=_PROBLEM_COLOR)
        self._text(step.sentence)
        for place in step.places:
            mark = "yes" if place.usable else "no"
            self._pair(f"{place.called}: {mark}", place.says)
        for field in step.fields:
            self._field(field)
        if step.note:
            self._text(step.note)
        bar = ttk.Frame(self._frame)
        bar.grid(row=self._row, column=0, columnspan=3, sticky="e", pady=(_PADDING, 0))
        taken: set[str] = set()
        for index, choice in enumerate(step.choices):
            self._button(bar, choice, index, taken)

    def _text(self, text: str, *, font: str = "TkDefaultFont", color: str = "") -> None:
        label = ttk.Label(
            self._frame,
            text=text,
            wraplength=self._scaled(WIDTH),
            justify="left",
            font=font,
            foreground=color,
        )
        label.grid(row=self._row, column=0, columnspan=3, sticky="w", pady=(0, 8))
        self._row += 1

    def _pair(self, first: str, second: str) -> None:
        ttk.Label(self._frame, text=first).grid(
            row=self._row, column=0, sticky="nw", padx=(0, 12), pady=2
        )
        wide = self._scaled(WIDTH * 2 // 3)
        label = ttk.Label(self._frame, text=second, wraplength=wide, justify="left")
        label.grid(row=self._row, column=1, sticky="w", pady=2)
        self._row += 1

    def _field(self, field: Field) -> None:
        variable = self._variables[field.name] = tk.StringVar(self.window, value=field.value)
        made: ttk.Entry | ttk.Checkbutton
        if field.kind is FieldKind.CHECK:
            made = ttk.Checkbutton(
                self._frame, text=field.label, variable=variable, onvalue=YES, offvalue=""
            )
            made.grid(row=self._row, column=1, sticky="w", pady=4)
        else:
            ttk.Label(self._frame, text=field.label).grid(
                row=self._row, column=0, sticky="w", padx=(0, 12)
            )
            shown = "\N{BULLET}" if field.kind is FieldKind.SECRET else ""
            made = ttk.Entry(self._frame, textvariable=variable, show=shown, width=34)
            made.grid(row=self._row, column=1, sticky="we", pady=4)
            if field.kind is FieldKind.FILE:
                self._browser(field, variable)
        self.inputs[field.name] = made
        self._row += 1

    def _browser(self, field: Field, variable: tk.StringVar) -> None:
        """A button that lets the system's own dialog find a file."""

        def browse() -> None:
            if path := filedialog.askopenfilename(parent=self.window, title=field.label):
                variable.set(path)

        button = ttk.Button(self._frame, text="Browse\N{HORIZONTAL ELLIPSIS}", command=browse)
        button.grid(row=self._row, column=2, padx=(6, 0))
        self.browse[field.name] = button
        button.bind("<Return>", lambda _: button.invoke() or "break")

    def _button(self, bar: ttk.Frame, choice: Choice, index: int, taken: set[str]) -> None:
        def take() -> None:
            self._take(choice)

        letter = _letter(choice.label, taken)
        button = ttk.Button(
            bar,
            text=choice.label,
            command=take,
            default="active" if choice.is_default else "normal",
            underline=choice.label.lower().find(letter) if letter else -1,
        )
        row, column = divmod(index, IN_A_ROW)
        button.grid(row=row, column=column, padx=(8 if column else 0, 0), pady=(8 if row else 0, 0))
        button.bind("<Return>", lambda _: self._take(choice))
        if letter:
            taken.add(letter)
            self.window.bind(f"<Alt-{letter}>", lambda _: self._take(choice))
        self.buttons[choice.name] = button

    def _bind(self) -> None:
        self.window.bind("<Escape>", lambda _: self._leave())
        for made in self.inputs.values():
            made.bind("<Return>", lambda _: self._take(self._step.default))
        first = next((one for one in self.inputs.values() if self._is_empty(one)), None)
        focused = first or next(iter(self.inputs.values()), self.buttons[self._step.default.name])
        focused.focus_set()

        def seen(event: tk.Event[tk.Misc]) -> None:
            if event.widget is self.window:  # on the screen for the first time
                self.window.unbind("<Visibility>", binding)
                focused.focus_force()

        binding = self.window.bind("<Visibility>", seen)
        self.window.update_idletasks()
        left = (self.window.winfo_screenwidth() - self.window.winfo_reqwidth()) // 2
        top = (self.window.winfo_screenheight() - self.window.winfo_reqheight()) // 3
        self.window.geometry(f"+{max(left, 0)}+{max(top, 0)}")

    @staticmethod
    def _is_empty(made: ttk.Entry | ttk.Checkbutton) -> bool:
        return isinstance(made, ttk.Entry) and not made.get()

    def _scaled(self, pixels: int) -> int:
        return round(pixels * self.window.winfo_fpixels("1i") / 96)

    def _take(self, choice: Choice) -> str:
        filled = {name: variable.get() for name, variable in self._variables.items()}
        self.answer = Answer(choice.name, {} if choice.leaves else filled)
        self.window.quit()
        return "break"  # the key is used up

    def _leave(self) -> str:
        return self._take(self._step.leaving)

    def _forget(self) -> None:
        for variable in self._variables.values():
            variable.set("")
        self._variables.clear()
        self.window.destroy()


def ask_in_dialog(step: Step) -> Answer:
    """Asks in a window."""
    return Dialog(step).run()


def _letter(label: str, taken: set[str]) -> str:
    """The first letter of a label that no other choice has."""
    return next((c for c in label.lower() if c.isascii() and c.isalpha() and c not in taken), "")

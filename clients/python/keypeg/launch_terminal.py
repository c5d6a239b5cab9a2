"""A launch at a terminal: each step as plain lines, each answer as a number or a word.

Promises: only lines of text, one after the other, with no colors, no cursor movement and nothing that is drawn
again: a screen reader reads it as it comes, and a log keeps it. A secret is typed without echo. An empty line takes
what is in brackets; the end of the input leaves.

Leaves to others: what is asked (launch_flow), whether anybody is there (launch_asking).
"""

from __future__ import annotations

import getpass
import sys
import textwrap
from collections.abc import Callable
from typing import Final, TextIO

from keypeg.launch_sign_in_words import YES
from keypeg.launch_steps import Answer, Choice, Field, FieldKind, Progress, Step

WIDTH: Final = 78  # characters of a line
TRIES: Final = (
    100  # wrong answers to one question, after which it is left: something else types here
)
_YES: Final = frozenset({"y", "yes"})
_NO: Final = frozenset({"n", "no"})


class Terminal:
    """Where lines are shown and read."""

    def __init__(
        self,
        out: TextIO,
        read: Callable[[], str],
        read_secret: Callable[[str], str],
    ) -> None:
        """`read` gives a line without its end, and raises EOFError at the end; so does `read_secret`."""
        self._out = out
        self._read = read
        self._read_secret = read_secret

    def ask(self, step: Step) -> Answer:
        """Shows a step, and waits for the answer."""
        self._show(step)
        try:
            staying = [one for one in step.choices if not one.leaves]
            choice = staying[0] if step.fields and len(staying) == 1 else self._choose(step)
            filled = {one.name: self._fill(one) for one in step.fields if one.name in choice.takes}
        except EOFError:
            self._say("")
            return Answer(step.leaving.name)
        return Answer(choice.name, filled)

    def _show(self, step: Step) -> None:
        self._say("")
        self._say(step.title)
        for text in (step.problem, step.sentence):
            if text:
                self._wrapped(text)
        for place in step.places:
            can = "yes" if place.usable else "no"
            self._wrapped(f"{place.called}: {can}, {place.says}.", indent="    ")
        if step.note:
            self._wrapped(step.note)
        if step.fields:
            self._wrapped(f"Press Ctrl+D to leave ({step.leaving.label}).")

    def tell(self, progress: Progress) -> None:
        """Says what is being done."""
        self._wrapped(f"{progress.title}: {progress.sentence[:1].lower()}{progress.sentence[1:]}")

    def _choose(self, step: Step) -> Choice:
        for number, choice in enumerate(step.choices, 1):
            self._say(f"  {number}) {choice.label}")
        usual = step.choices.index(step.default) + 1
        for _ in range(TRIES):
            self._prompt(f"Choose 1 to {len(step.choices)} [{usual}]: ")
            typed = self._read().strip().lower()
            if not typed:
                return step.default
            for number, choice in enumerate(step.choices, 1):
                if typed in (str(number), choice.name, choice.label.lower()):
                    return choice
            self._say(f"{typed[:40]!r} is none of these.")
        return step.leaving

    def _fill(self, one: Field) -> str:
        if one.kind is FieldKind.SECRET:
            return self._read_secret(f"{one.label}: ")
        if one.kind is FieldKind.CHECK:
            return self._check(one)
        self._prompt(f"{one.label} [{one.value}]: " if one.value else f"{one.label}: ")
        return self._read().strip() or one.value

    def _check(self, one: Field) -> str:
        usual = "yes" if one.value == YES else "no"
        for _ in range(TRIES):
            self._prompt(f"{one.label}? yes or no [{usual}]: ")
            typed = self._read().strip().lower()
            if not typed:
                return one.value
            if typed in _YES | _NO:
                return YES if typed in _YES else ""
            self._say("Answer yes or no.")
        raise EOFError

    def _wrapped(self, text: str, indent: str = "") -> None:
        for line in textwrap.wrap(
            text,
            WIDTH,
            initial_indent="  " if indent else "",
            subsequent_indent=indent,
            break_long_words=False,  # an address is to be copied whole
            break_on_hyphens=False,
        ):
            self._say(line)

    def _say(self, line: str) -> None:
        print(_printable(line), file=self._out, flush=True)

    def _prompt(self, text: str) -> None:
        print(_printable(text), end="", file=self._out, flush=True)


def ask_in_terminal(step: Step) -> Answer:
    """Asks at this process's terminal."""
    return Terminal(sys.stderr, _line, _secret).ask(step)


def tell_in_terminal(progress: Progress) -> None:
    """Says at this process's terminal what is being done."""
    Terminal(sys.stderr, _line, _secret).tell(progress)


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _secret(prompt: str) -> str:
    return getpass.getpass(prompt, stream=sys.stderr)


def _printable(text: str) -> str:
    """The text without what could move the cursor or color it: names come from servers and other computers."""
    return "".join(c if c.isprintable() else "?" for c in text)

"""The steps of a launch as data: what a person is asked, and what they answer.

Promises: a step has everything that a dialog shows, in the order in which it is shown and focused; an answer is
checked against its step. What a person types shows in no repr.

Leaves to others: which step comes when (launch_flow), what the steps say (launch_words), showing them
(launch_terminal, launch_dialog, or an app's own dialogs).
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from keypeg.errors import FieldInvalid, KeypegError

TEXT_SIZE = 4_096  # characters of one field; a password has 1,024 at most


class FieldKind(enum.Enum):
    """How a field is filled in."""

    TEXT = "text"
    SECRET = "secret"  # noqa: S105 (typed, but shown nowhere)
    CHECK = "check"  # `yes`, or empty
    FILE = "file"  # a path on this computer


@dataclass(frozen=True)
class Field:
    """Something to fill in."""

    name: str
    label: str
    kind: FieldKind = FieldKind.TEXT
    value: str = ""  # what stands there at first


@dataclass(frozen=True)
class Choice:
    """A way to answer."""

    name: str
    label: str
    is_default: bool = False  # what the Enter key takes
    takes: tuple[str, ...] = ()  # names of the fields that go with it
    leaves: bool = False  # what closing the dialog takes: nothing happens, the app does not run


@dataclass(frozen=True)
class Place:
    """A kind of place where the license could be used, and whether it can."""

    kind: str  # `cloud`, `key`, `host` or `site`
    called: str
    usable: bool
    says: str  # how, or why not


@dataclass(frozen=True)
class Answer:
    """What a person answers: a choice, and what they filled in."""

    choice: str
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Step:
    """One question: shown as title, problem, sentence, places, fields and choices."""

    name: str  # `sign_in`, `file`, `code`, `offer`, `choose`, `move`, `places` or `told`
    title: str
    sentence: str
    choices: tuple[Choice, ...]
    fields: tuple[Field, ...] = ()
    places: tuple[Place, ...] = ()
    note: str = ""  # what the choices mean, where they do not say it themselves
    problem: str = ""  # why the answer before did not do
    error: KeypegError | None = None  # what is in the way
    place: str = ""  # the kind of place that `offer` is about

    @property
    def default(self) -> Choice:
        """What the Enter key takes."""
        return next(one for one in self.choices if one.is_default)

    @property
    def leaving(self) -> Choice:
        """What closing the dialog takes."""
        return next(one for one in self.choices if one.leaves)

    def check(self, answer: Answer) -> None:
        """FieldInvalid when this is no answer to this step."""
        names = [one.name for one in self.choices]
        if answer.choice not in names:
            raise FieldInvalid(
                f"{answer.choice!r} is no answer to {self.title!r}; there are {', '.join(names)}.",
                field="choice",
            )
        known = {one.name for one in self.fields}
        if unknown := sorted(set(answer.fields) - known):
            raise FieldInvalid(
                f"{self.title!r} has no field {unknown[0]!r}; it has {', '.join(sorted(known)) or 'none'}.",
                field="fields",
            )
        if wrong := [name for name, text in answer.fields.items() if len(text) > TEXT_SIZE]:
            raise FieldInvalid(
                f"The field {wrong[0]} takes {TEXT_SIZE} characters at most.", field=wrong[0]
            )


@dataclass(frozen=True)
class Progress:
    """What is being done, for a person who waits for it; nothing is to be answered."""

    name: str  # `preparing`, `writing` or `written`
    title: str
    sentence: str
    is_last: bool = False  # it is done


Tell = Callable[[Progress], None]
"""Shows a progress, and returns at once; called on a thread of keypeg's own, or on the event loop."""

Ask = Callable[[Step], Answer]
"""Shows a step, and waits for the answer."""

AskAsync = Callable[[Step], Answer | Awaitable[Answer]]
"""The same, or a coroutine function."""

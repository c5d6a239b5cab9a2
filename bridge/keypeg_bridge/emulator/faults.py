"""What can be made to go wrong with an emulated key: one table of faults with their parameters, and reading them.

Promises: `KINDS` is all there is, and docs/labs.md prints it; whatever `Fault.read` takes is complete and within its limits,
and a refusal says what, which, and what is allowed. Nothing happens here: `faults_line.py` and `faults_memory.py` do the
harm, `faults_board.py` says when it begins and ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from keypeg_bridge.emulator.errors import EmulatorError

MAX_SECONDS: Final = 86_400.0  # a day: nobody waits for more on purpose
MAX_COUNT: Final = 1_000_000
MAX_OFFSET: Final = 3_072  # bytes of the longest message of a card
MAX_TEXT: Final = 64  # characters of a name

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a fault. `least` and `most` are for numbers; None as default leaves it out."""

    name: str
    type: type[int] | type[float] | type[str] | type[bool]
    default: Value
    says: str
    least: float = 0
    most: float = 0
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return " or ".join(self.choices)
        if self.type is bool:
            return "true or false"
        if self.type is str:
            return "a name"
        number = "a whole number" if self.type is int else "a number"
        return f"{number} from {self.least:g} to {self.most:,.0f}"

    def check(self, raw: Any) -> Value:
        """The value in JSON or TOML; `EmulatorError` when it is none of those allowed."""
        given: type = type(raw)
        whole_as_number = self.type is float and given is int
        fits = given is self.type or whole_as_number
        if fits and self.type in (int, float):
            fits = self.least <= raw <= self.most
        if fits and self.type is str:
            fits = raw in self.choices if self.choices else 0 < len(raw) <= MAX_TEXT
        if not fits:
            raise EmulatorError(f"{self.name} is {raw!r}; it must be {self.allowed}.")
        return float(raw) if whole_as_number else raw


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. One that does not last is over as soon as it has happened, and cannot be cleared."""

    name: str
    says: str
    parameters: tuple[Parameter, ...] = ()
    lasts: bool = True

    def parameter(self, name: str) -> Parameter:
        """One of its parameters."""
        found = next((one for one in self.parameters if one.name == name), None)
        if found is None:
            has = ", ".join(one.name for one in self.parameters) or "none but key"
            raise EmulatorError(f"The fault {self.name} has no parameter {name!r}. It has {has}.")
        return found


def _seconds(says: str, default: float | None = None) -> Parameter:
    return Parameter("seconds", float, default, says, 0.001, MAX_SECONDS)


_WHILE: Final = _seconds("How long; without, until cleared.")
_INTERFACES: Final = ("card", "fido", "both")
_WHERE: Final = Parameter(
    "interface", str, "both", "Whose answers: the card's, the security key's.", choices=_INTERFACES
)
_COUNT: Final = Parameter(
    "count", int, None, "How many answers; without, all.", least=1, most=MAX_COUNT
)
_SKIP: Final = Parameter(
    "skip", int, 0, "How many answers pass unharmed before.", least=0, most=MAX_COUNT
)
_ON_ANSWERS: Final = (_WHERE, _COUNT, _SKIP, _WHILE)

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("unplug", "The key is pulled.", (_seconds("Put back after; without, by plug."),)),
        Kind("plug", "The key is put in; ends an unplug and a flap of it.", lasts=False),
        Kind(
            "flap",
            "The key is pulled and put back again and again, as with a bad contact.",
            (
                Parameter("count", int, 5, "How many times.", 1, 1_000),
                _seconds("Out for so long each time.", 0.1),
                Parameter(
                    "pause", float, 0.1, "In for so long between two times.", 0.001, MAX_SECONDS
                ),
            ),
        ),
        Kind("stall", "Commands are taken and never answered.", _ON_ANSWERS),
        Kind(
            "slow",
            "Answers come late.",
            (
                *_ON_ANSWERS,
                Parameter("delay", float, 1.0, "Seconds of delay.", 0.001, MAX_SECONDS),
            ),
        ),
        Kind(
            "truncate",
            "Answers break off.",
            (
                *_ON_ANSWERS,
                Parameter("bytes", int, None, "So many are left; without, drawn.", 0, MAX_OFFSET),
            ),
        ),
        Kind(
            "corrupt",
            "A byte of an answer is another one.",
            (
                *_ON_ANSWERS,
                Parameter("offset", int, None, "Which byte; without, drawn.", 0, MAX_OFFSET),
            ),
        ),
        Kind(
            "sequence",
            "Answers carry a wrong number: bSeq of CCID, the packet number of CTAPHID.",
            (*_ON_ANSWERS, Parameter("step", int, 1, "Off by so much.", 1, 126)),
        ),
        Kind(
            "full",
            "The card has no room: what it holds must not grow.",
            (Parameter("bytes", int, 0, "So much room is left.", 0, 1_000_000), _WHILE),
        ),
        Kind(
            "worn",
            "The signature counter is at its end: it stands still, or signing fails as it cannot be raised.",
            (
                Parameter("mode", str, "stuck", "How it shows.", choices=("stuck", "end")),
                _WHILE,
            ),
        ),
        Kind(
            "clone",
            "A second key turns up: with all that the first one has, or with its contents and private keys of its own.",
            (
                Parameter(
                    "mode", str, "copy", "What kind of second key.", choices=("copy", "forged")
                ),
                Parameter("swap", bool, False, "Whether the first one is pulled before."),
                Parameter("name", str, None, "What the second is called; without, clone-N."),
                _WHILE,
            ),
        ),
        Kind(
            "snapshot",
            "The contents are kept for rollback.",
            (Parameter("name", str, "snapshot", "What they are called; replaces the one before."),),
            lasts=False,
        ),
        Kind(
            "rollback",
            "Old contents are written back, elsewhere: the key is out for a moment. Cleared: the newest are back.",
            (
                Parameter("to", str, "start", "Which snapshot; start is when the process began."),
                Parameter(
                    "mode",
                    str,
                    "all",
                    "Everything, or the card's objects alone.",
                    choices=("all", "objects"),
                ),
                _WHILE,
            ),
        ),
        Kind(
            "pin",
            "The PIN is another one, or is blocked, or is wanted for every signature.",
            (
                Parameter(
                    "mode", str, "wrong", "What is with it.", choices=("wrong", "blocked", "wanted")
                ),
                _WHILE,
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault with all its parameters; `key` None is the only key there is."""

    kind: str
    key: str | None = None
    values: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Fault:
        """From `{"fault": kind, "key": name, parameter: value, ...}`; defaults are filled in."""
        kind = kind_of(raw.get("fault"))
        key = raw.get("key")
        if key is not None and (not isinstance(key, str) or not 0 < len(key) <= MAX_TEXT):
            raise EmulatorError(f"key is {key!r}; it must be a key's name, as status lists them.")
        given = {name: value for name, value in raw.items() if name not in ("fault", "key")}
        for name in given:
            kind.parameter(name)
        values = {
            one.name: one.check(given[one.name]) if given.get(one.name) is not None else one.default
            for one in kind.parameters
        }
        return cls(kind.name, key, values)

    def number(self, name: str) -> float | None:
        """A parameter that is a number."""
        value = self.values.get(name)
        return None if value is None else float(value)

    def whole(self, name: str) -> int | None:
        """A parameter that is a whole number."""
        value = self.values.get(name)
        return None if value is None else int(value)

    def text(self, name: str) -> str:
        """A parameter that is text; empty when it is left out."""
        value = self.values.get(name)
        return "" if value is None else str(value)

    def to_json(self) -> dict[str, Any]:
        """As `read` takes it."""
        named = {} if self.key is None else {"key": self.key}
        set_values = {name: value for name, value in self.values.items() if value is not None}
        return {"fault": self.kind, **named, **set_values}


def kind_of(name: object) -> Kind:
    """The kind of this name."""
    found = KINDS.get(name) if isinstance(name, str) else None
    if found is None:
        raise EmulatorError(f"There is no fault {name!r}. There are {', '.join(KINDS)}.")
    return found

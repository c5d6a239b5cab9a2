"""Faults by the clock: a script says when which fault happens to which key, and a seed what it leaves open.

Promises: the same script and the same seed give the same faults with the same values at the same times, in the same
order, however the steps interleave; whatever is wrong with a script is said before it begins. Doing it is left to
`faults_runner.py`.

A script is a table with `step`, a list. A step has one of `at` (seconds after the start), `after` (seconds after the step
before it), `every` (seconds between times; `times` ends it), and `fault`, `key` and the fault's parameters. A list of two
numbers is a number between them; a list of texts is one of them.
"""

from __future__ import annotations

import heapq
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults import MAX_SECONDS, Fault, Parameter, kind_of

MAX_STEPS: Final = 10_000
MAX_FILE: Final = 1_000_000  # bytes
SHORTEST: Final = (
    0.001  # seconds between two times of a step: below it nothing would ever come after
)
_TIMES: Final = ("at", "after", "every")
_OWN: Final = frozenset({*_TIMES, "times"})
_SECONDS: Final = Parameter("a time", float, None, "", 0, MAX_SECONDS)
_COUNT: Final = Parameter("times", int, None, "", 1, 1_000_000)


@dataclass(frozen=True, slots=True)
class Moment:
    """When what happens, in seconds after the start."""

    at: float
    step: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class Step:
    """One step, with what is left to draw."""

    number: int
    when: str
    seconds: Any
    times: int | None
    fault: Mapping[str, Any]

    def draws(self, seed: str) -> Iterator[tuple[float, Fault]]:
        """Its waits and faults, one after the other."""
        draw = random.Random(f"{seed}/step/{self.number}")  # noqa: S311 - repeatable on purpose
        left = self.times if self.when == "every" else 1
        while left is None or left > 0:
            wait = _drawn(draw, self.seconds)
            values = {name: _drawn(draw, value) for name, value in self.fault.items()}
            yield wait, Fault.read(values)
            left = None if left is None else left - 1


@dataclass(frozen=True, slots=True)
class Script:
    """Steps, and the seed that is used when no other is given."""

    steps: tuple[Step, ...]
    seed: str | None = None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Script:
        """From a table as TOML or JSON has it; `EmulatorError` says which step is wrong, and why."""
        unknown = set(raw) - {"seed", "step"}
        if unknown:
            raise EmulatorError(f"A script has seed and step, and no {sorted(unknown)[0]!r}.")
        seed, steps = raw.get("seed"), raw.get("step", [])
        if isinstance(seed, bool) or not isinstance(seed, int | str | None):
            raise EmulatorError(f"seed is {seed!r}; it must be a whole number or text.")
        if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
            raise EmulatorError(f"step must be a list of 1 to {MAX_STEPS:,} steps ([[step]]).")
        found = tuple(_step(number, one) for number, one in enumerate(steps, 1))
        return cls(found, None if seed is None else str(seed))

    @classmethod
    def load(cls, path: Path) -> Script:
        """From a TOML file."""
        try:
            with path.open("rb") as file:
                text = file.read(MAX_FILE + 1)
        except OSError as error:
            raise EmulatorError(f"Cannot read the script {path}: {error.strerror}.") from error
        if len(text) > MAX_FILE:
            raise EmulatorError(f"The script {path} is larger than {MAX_FILE:,} bytes.")
        try:
            return cls.read(tomllib.loads(text.decode()))
        except ValueError as error:  # TOML's, and UTF-8's
            raise EmulatorError(f"The script {path} is no TOML: {error}.") from error
        except EmulatorError as error:
            raise EmulatorError(f"The script {path} cannot be used. {error}") from error

    def moments(self, seed: str) -> Iterator[Moment]:
        """All that happens, in order; without an end when a step has none."""
        heap: list[tuple[float, int, Fault, Iterator[tuple[float, Fault]]]] = []
        before = 0.0
        for step in self.steps:
            draws = step.draws(seed)
            wait, fault = next(draws)
            at = wait if step.when != "after" else before + wait
            heapq.heappush(heap, (at, step.number, fault, draws))
            before = at
        while heap:
            at, number, fault, draws = heapq.heappop(heap)
            yield Moment(round(at, 6), number, fault)
            following = next(draws, None)
            if following is not None:
                heapq.heappush(heap, (at + following[0], number, following[1], draws))


def _step(number: int, raw: Any) -> Step:
    try:
        if not isinstance(raw, Mapping):
            raise EmulatorError("It must be a table.")
        given = [name for name in _TIMES if name in raw]
        if len(given) != 1:
            raise EmulatorError("It must have one of at, after and every.")
        (when,) = given
        for one in _ends(raw[when]):
            seconds = _SECONDS.check(one)
            if when == "every" and float(seconds or 0) < SHORTEST:
                raise EmulatorError(f"every must be at least {SHORTEST:g} seconds.")
        if "times" in raw and when != "every":
            raise EmulatorError("times belongs to every.")
        times = _COUNT.check(raw["times"]) if "times" in raw else None
        fault = {name: value for name, value in raw.items() if name not in _OWN}
        _check(fault)
    except EmulatorError as error:
        raise EmulatorError(f"Step {number}: {error}") from error
    return Step(number, when, raw[when], None if times is None else int(times), fault)


def _check(fault: Mapping[str, Any]) -> None:
    """That every fault which may be drawn is one."""
    for kind in _choices(fault.get("fault")):
        kind_of(kind)
        for name, value in fault.items():
            for one in _choices(value) if name == "key" else _ends(value):
                if name != "fault":
                    Fault.read({"fault": kind, name: one})


def _choices(value: Any) -> list[Any]:
    if isinstance(value, list) and not value:
        raise EmulatorError("A list of what to choose from must not be empty.")
    return value if isinstance(value, list) else [value]


def _ends(value: Any) -> list[Any]:
    """What a value may be at the most: the ends of a range, each of several texts, or the value itself."""
    if not isinstance(value, list):
        return [value]
    if _is_range(value) or (value and all(isinstance(one, str) for one in value)):
        return value
    raise EmulatorError(f"{value!r} is neither two numbers, the smaller first, nor texts.")


def _is_range(value: list[Any]) -> bool:
    numbers = [one for one in value if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(value) == len(numbers) == 2 and numbers[0] <= numbers[1]


def _drawn(draw: random.Random, value: Any) -> Any:
    if not isinstance(value, list):
        return value
    if not _is_range(value):
        return draw.choice(value)
    low, high = value
    if isinstance(low, int) and isinstance(high, int):
        return draw.randint(low, high)
    return round(draw.uniform(low, high), 3)

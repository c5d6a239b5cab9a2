"""What a field of a request may be: small checks that validate.py puts together.

Promises: a check takes a value and gives what is wrong with it, as (path below the field, what); nothing
when it is right. Checks are pure, and quick on values of any size that fits a message.

Leaves to others: which field gets which check (validate.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from keypeg.names import Pattern

Problem = tuple[str, str]
Check = Callable[[Any], Iterable[Problem]]

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_MAX_SECONDS: Final = 253_402_300_799  # the end of the year 9999
_NANOS: Final = 1_000_000_000
_SCALARS: Final = frozenset((str, int, bytes, bool))


def _one(what: str) -> Iterable[Problem]:
    return (("", what),)


def anything(_value: Any) -> Iterable[Problem]:
    """For a field that may have any value of its type."""
    return ()


def text(low: int, high: int) -> Check:
    """A text for people, without control characters, of so many characters."""

    def check(value: str) -> Iterable[Problem]:
        if not low <= len(value) <= high:
            return _one(f"has {len(value)} characters, not {low} to {high}")
        if _CONTROL.search(value):
            return _one("has control characters")
        return ()

    return check


def matching(pattern: str, words: str) -> Check:
    """A text of a form; `words` say which."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> Iterable[Problem]:
        if not compiled.fullmatch(value):
            return _one(f"is not {words}")
        return ()

    return check


def uuid(value: str) -> Iterable[Problem]:
    """A UUID in its usual form."""
    if not _UUID.fullmatch(value):
        return _one("is not a UUID such as 8b4a2c9e-0d6f-4f3a-9c1b-2f7d5e6a1c30")
    return ()


def name(*patterns: Pattern) -> Check:
    """A resource name of one of these forms."""

    def check(value: str) -> Iterable[Problem]:
        for pattern in patterns:
            if pattern.matches(value):
                return ()
        return _one(f"is not of the form {' or '.join(one.template for one in patterns)}")

    return check


def number(low: int, high: int) -> Check:
    """A whole number within limits."""

    def check(value: int) -> Iterable[Problem]:
        if not low <= value <= high:
            return _one(f"is {value}, not {low} to {high}")
        return ()

    return check


def size(*sizes: int) -> Check:
    """Bytes of one of these lengths."""

    def check(value: bytes) -> Iterable[Problem]:
        if len(value) not in sizes:
            return _one(f"has {len(value)} bytes, not {' or '.join(str(one) for one in sizes)}")
        return ()

    return check


def size_between(low: int, high: int) -> Check:
    """Bytes of a length within limits."""

    def check(value: bytes) -> Iterable[Problem]:
        if not low <= len(value) <= high:
            return _one(f"has {len(value)} bytes, not {low} to {high}")
        return ()

    return check


def one_of(enum: Any, *values: int, unset: bool = False) -> Check:
    """A value of an enum of the contract, or one of `values` of it; its zero only with `unset`."""
    allowed = set(values) or set(enum.values()) - {0}

    def check(value: int) -> Iterable[Problem]:
        if value not in allowed and not (unset and value == 0):
            return _one(f"is not one of {', '.join(enum.Name(one) for one in sorted(allowed))}")
        return ()

    return check


def each(item: Check, *, low: int = 0, high: int, key: Callable[[Any], Any] | None = None) -> Check:
    """A list within limits, each item right; with `key`, no two of the same key."""

    def items(values: Any) -> Iterator[Problem]:
        for index, value in enumerate(values):
            for path, what in item(value):
                yield f"[{index}]{path}", what
        if key is not None and len({key(value) for value in values}) < len(values):
            yield "", "names the same twice"

    def check(values: Any) -> Iterable[Problem]:
        count = len(values)
        if not low <= count <= high:
            return _one(f"has {count} items, not {low} to {high}")
        return items(values) if count else ()

    return check


def message(rules: Mapping[str, Check], *, required: bool = True) -> Check:
    """A message within the message, each field right; None stands for one that is not set."""

    def check(value: Any) -> Iterator[Problem]:
        if value is None:
            if required:
                yield "", "is missing"
            return
        for field, rule in rules.items():
            for path, what in rule(value_of(value, field)):
                yield f".{field}{path}", what

    return check


def duration(low: timedelta, high: timedelta) -> Check:
    """A Duration within limits, or unset."""

    def check(value: Any) -> Iterator[Problem]:
        if value is None:
            return
        sane = abs(value.seconds) <= _MAX_SECONDS and abs(value.nanos) < _NANOS
        if not sane or value.seconds * value.nanos < 0 or not low <= value.ToTimedelta() <= high:
            yield "", f"is not a duration from {low} to {high}"

    return check


def timestamp(value: Any) -> Iterator[Problem]:
    """A Timestamp from 1970 on, or unset."""
    if value is None:
        return
    if not 0 <= value.seconds <= _MAX_SECONDS or not 0 <= value.nanos < _NANOS:
        yield "", "is not a time from 1970 to 9999"


def optional(rule: Check) -> Check:
    """Right when it is empty, or when the rule says so."""

    def check(value: Any) -> Iterable[Problem]:
        return rule(value) if value else ()

    return check


def value_of(holder: Any, field: str) -> Any:
    """A field's value; None for a message that is not set."""
    value = getattr(holder, field)
    if type(value) in _SCALARS:
        return value
    descriptor = holder.DESCRIPTOR.fields_by_name[field]
    if descriptor.message_type is not None and not descriptor.is_repeated:
        return value if holder.HasField(field) else None
    return value


PAGE: Final[Mapping[str, Check]] = {"page_size": number(0, 1_000), "page_token": text(0, 256)}

"""What a column shows: names, states, times, and how each looks in a table and in CSV.

Promises: pure; `now` is an argument. A value that is not there is `-` in a table and empty in CSV.

Leaves to others: laying out (tables.py) and printing (output.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from keypeg.cli import short, when

if TYPE_CHECKING:
    from google.protobuf.message import Message

T = TypeVar("T")

COLORS: Final = {
    "active": "green",
    "open": "green",
    "present": "green",
    "ok": "green",
    "suspended": "yellow",
    "missing": "yellow",
    "warning": "yellow",
    "expired": "red",
    "revoked": "red",
    "faulty": "red",
    "failed": "red",
}


class Name(str):
    """A resource name: shortened in tables."""

    __slots__ = ()


class Product(str):
    """A product's name: `publisher/product` in tables."""

    __slots__ = ()


class State(str):
    """A word that says how something is: colored on a terminal."""

    __slots__ = ()


Value = str | int | bool | None | datetime | timedelta | Sequence[str]


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column: its title, its key in CSV, and where its value comes from."""

    title: str
    value: Callable[[T], Value]
    right: bool = False

    @property
    def key(self) -> str:
        return self.title.lower().replace(" ", "_")


def entry(title: str, key: str) -> Column[Mapping[str, Value]]:
    """The column of a mapping's entry."""
    return Column(title, lambda one: one[key])


def word(enum: Any, number: int, prefix: str) -> str:
    """An enum's value as a word: LICENSE_TYPE_NOT_FOR_RESALE is `not-for-resale`."""
    try:
        name = str(enum.Name(number))
    except ValueError:
        return str(number)
    return name.removeprefix(prefix).lower().replace("_", "-")


def moment(item: Message, field: str) -> datetime | None:
    """A Timestamp of a message; None when it is not set."""
    if not item.HasField(field):
        return None
    found: datetime = getattr(item, field).ToDatetime(tzinfo=UTC)
    return found


def length(item: Message, field: str) -> timedelta | None:
    """A Duration of a message; None when it is not set."""
    if not item.HasField(field):
        return None
    found: timedelta = getattr(item, field).ToTimedelta()
    return found


def cell(value: Value, now: datetime, names: Mapping[str, str], *, brief: bool = False) -> str:
    """A value in a table; `brief` shows of a time only how far away it is."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Name):
        return names.get(value, short.last(value))
    if isinstance(value, Product):
        return short.product(value)
    if isinstance(value, datetime):
        return when.hint(value, now) if brief else when.local(value, now)
    if isinstance(value, timedelta):
        return when.duration(value)
    if isinstance(value, (str, int)):
        return str(value)
    return ", ".join(cell(one, now, names, brief=brief) for one in value) or "-"


def raw(value: Value) -> str:
    """A value in CSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return when.iso(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, (str, int)):
        return str(value)
    return " ".join(map(str, value))

"""What commands print on standard output: a table for people, or JSON, JSON lines or CSV for programs.

Promises: with `json`, `jsonl` and `csv` standard output carries data alone: the contract's messages in
proto3 JSON with the contract's field names, or the columns of the table with whole names and ISO times.
rich is loaded only for a table on a terminal; NO_COLOR is honored.

Leaves to others: messages, which go to standard error (report.py), and which columns there are.
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import click

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


def cell(value: Value, now: datetime, names: Mapping[str, str]) -> str:
    """A value in a table."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Name):
        return names.get(value, short.last(value))
    if isinstance(value, Product):
        return short.product(value)
    if isinstance(value, datetime):
        return when.local(value, now)
    if isinstance(value, timedelta):
        return when.duration(value)
    if isinstance(value, (str, int)):
        return str(value)
    return ", ".join(cell(one, now, names) for one in value) or "-"


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


def plain(item: Any) -> Any:
    """A message as JSON's values, every field present; anything else as it is."""
    if isinstance(item, Mapping):
        return {key: plain(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [plain(value) for value in item]
    if isinstance(item, datetime):
        return when.iso(item)
    if isinstance(item, timedelta):
        return f"{item.total_seconds():g}s"
    if item is None or isinstance(item, (str, int, float, bool)):
        return item
    return message(item)


def message(item: Message) -> dict[str, Any]:
    """A message in proto3 JSON with the contract's field names: every field, null when not set."""
    from google.protobuf.json_format import MessageToDict

    found = MessageToDict(
        item, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    complete: dict[str, Any] = _complete(item.DESCRIPTOR, found)
    return complete


def _complete(kind: Any, found: Any) -> Any:
    if not isinstance(found, dict) or kind.GetOptions().map_entry:
        return found  # times and durations are texts, maps are as they are
    out = {}
    for field in kind.fields:
        value = found.get(field.name)
        inner = field.message_type
        if isinstance(value, list) and inner is not None:
            value = [_complete(inner, one) for one in value]
        elif value is not None and inner is not None:
            value = _complete(inner, value)
        out[field.name] = value
    return out


def as_json(item: Any, *, line: bool = False) -> str:
    """One value as JSON, on one line or indented."""
    return json.dumps(plain(item), ensure_ascii=False, indent=None if line else 2)


def as_csv(items: Iterable[T], columns: Sequence[Column[T]]) -> str:
    """Items as CSV (RFC 4180 quoting, `\\n` line ends), the columns' keys first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.key for column in columns)
    writer.writerows([raw(column.value(item)) for column in columns] for item in items)
    return out.getvalue().rstrip("\n")


def rows(
    items: Sequence[T], columns: Sequence[Column[T]], now: datetime
) -> tuple[list[list[Value]], list[list[str]]]:
    """The values of each row, and what to show for them."""
    values = [[column.value(item) for column in columns] for item in items]
    shown: list[list[str]] = [[] for _ in items]
    for index in range(len(columns)):
        names = short.shortened(_names(row[index] for row in values))
        for row, texts in zip(values, shown, strict=True):
            texts.append(cell(row[index], now, names))
    return values, shown


def _names(values: Iterable[Value]) -> Iterable[str]:
    for value in values:
        if isinstance(value, Name):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _names(value)


def colorful() -> bool:
    """Whether standard output is a terminal that wants color."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def table(items: Sequence[T], columns: Sequence[Column[T]], now: datetime) -> str | None:
    """A table as text; None when it went to the terminal in color."""
    values, shown = rows(items, columns, now)
    if sys.stdout.isatty():
        _rich_table(values, shown, columns)
        return None
    widths = [
        max(len(column.title), *(len(texts[index]) for texts in shown))
        for index, column in enumerate(columns)
    ]

    def line(texts: Sequence[str]) -> str:
        return "  ".join(
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(texts, widths, columns, strict=True)
        ).rstrip()

    return "\n".join([line([column.title for column in columns]), *map(line, shown)])


def _rich_table(
    values: Sequence[Sequence[Value]], shown: Sequence[Sequence[str]], columns: Sequence[Column[T]]
) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1))
    for column in columns:
        names = column.title.endswith(("ID", "LICENSE", "POOL", "LEASE", "KEY", "ACTIVATION"))
        drawn.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=names,
            overflow="fold",
        )
    for row, texts in zip(values, shown, strict=True):
        drawn.add_row(
            *(
                Text(text, style=COLORS.get(str(value), "") if isinstance(value, State) else "")
                for value, text in zip(row, texts, strict=True)
            )
        )
    Console(highlight=False).print(drawn)


def fields(item: T, columns: Sequence[Column[T]], now: datetime) -> str:
    """One item as lines of `Title  value`; names whole, for there is room."""
    width = max(len(column.title) for column in columns)
    lines = []
    for column in columns:
        value = column.value(item)
        text = cell(value, now, {name: name for name in _names([value])})
        if isinstance(value, State) and colorful():
            text = click.style(text, fg=COLORS.get(value))
        lines.append(f"{_title(column.title).ljust(width)}  {text}")
    return "\n".join(lines)


def _title(title: str) -> str:
    return title.capitalize() if title.isupper() else title


@dataclass(frozen=True)
class Printer:
    """Prints in the form that was asked for."""

    form: str
    now: Callable[[], datetime]

    def listing(
        self, items: Sequence[T], columns: Sequence[Column[T]], *, nothing: str = "Nothing here."
    ) -> None:
        """Many: a table, a JSON array, a line each, or CSV."""
        if self.form == "json":
            self._out(as_json(list(items)))
        elif self.form == "jsonl":
            for item in items:
                self._out(as_json(item, line=True))
        elif self.form == "csv":
            self._out(as_csv(items, columns))
        elif not items:
            click.echo(nothing, err=True)
        elif text := table(items, columns, self.now()):
            self._out(text)

    def item(self, item: T, columns: Sequence[Column[T]]) -> None:
        """One: its fields, a JSON object, or CSV with one row."""
        if self.form in ("json", "jsonl"):
            self._out(as_json(item, line=self.form == "jsonl"))
        elif self.form == "csv":
            self._out(as_csv([item], columns))
        else:
            self._out(fields(item, columns, self.now()))

    def note(self, text: str) -> None:
        """A message for people, on standard error."""
        click.echo(text, err=True)

    def _out(self, text: str) -> None:
        click.echo(text, color=colorful())

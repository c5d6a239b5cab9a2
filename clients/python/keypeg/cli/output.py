"""What commands print on standard output: a table for people, or JSON, JSON lines or CSV for programs.

Promises: with `json`, `jsonl` and `csv` standard output carries data alone: the contract's messages in
proto3 JSON with the contract's field names, or the columns of the table with whole names and ISO times.

Leaves to others: messages, which go to standard error (report.py), and which columns there are.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from keypeg.cli import tables, when
from keypeg.cli.values import Column, raw

if TYPE_CHECKING:
    from google.protobuf.message import Message

T = TypeVar("T")


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
        else:
            tables.show(items, columns, self.now())

    def item(self, item: T, columns: Sequence[Column[T]]) -> None:
        """One: its fields, a JSON object, or CSV with one row."""
        if self.form in ("json", "jsonl"):
            self._out(as_json(item, line=self.form == "jsonl"))
        elif self.form == "csv":
            self._out(as_csv([item], columns))
        else:
            self._out(tables.fields(item, columns, self.now()))

    def note(self, text: str) -> None:
        """A message for people, on standard error."""
        click.echo(text, err=True)

    def _out(self, text: str) -> None:
        click.echo(text, color=tables.colorful())

"""Tables and fields for people.

Promises: a table fits its terminal as long as it can: what is empty goes first, then times become hints,
then each row becomes a block of its own. rich is loaded only for a terminal; NO_COLOR is honored; elsewhere a table
is plain text, whole, two spaces between columns.

Leaves to others: what the columns are (values.py).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

import click

from keypeg.cli import short
from keypeg.cli.values import COLORS, Column, Name, State, Value, cell

T = TypeVar("T")

GAP: Final = 2  # characters between columns

Shown = list[list[str]]


def colorful() -> bool:
    """Whether standard output is a terminal that wants color."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def show(items: Sequence[T], columns: Sequence[Column[T]], now: datetime) -> None:
    """Print a table."""
    if not sys.stdout.isatty():
        click.echo(plain(items, columns, now))
        return
    room = shutil.get_terminal_size().columns
    chosen, shown = fitting(items, columns, now, room)
    if _width(chosen, shown) <= room:
        _rich_table(items, chosen, shown, room)
    else:
        click.echo("\n\n".join(fields(item, columns, now) for item in items), color=colorful())


def rows(
    items: Sequence[T], columns: Sequence[Column[T]], now: datetime, *, brief: bool = False
) -> Shown:
    """What to show in each row."""
    shown: Shown = [[] for _ in items]
    for column in columns:
        values = [column.value(item) for item in items]
        names = short.shortened(_names(values))
        for value, texts in zip(values, shown, strict=True):
            texts.append(cell(value, now, names, brief=brief))
    return shown


def plain(items: Sequence[T], columns: Sequence[Column[T]], now: datetime) -> str:
    """A table as text."""
    shown = rows(items, columns, now)
    sizes = widths(columns, shown)

    def line(texts: Sequence[str]) -> str:
        return (
            (" " * GAP)
            .join(
                text.rjust(size) if column.right else text.ljust(size)
                for text, size, column in zip(texts, sizes, columns, strict=True)
            )
            .rstrip()
        )

    return "\n".join([line([column.title for column in columns]), *map(line, shown)])


def widths(columns: Sequence[Column[T]], shown: Shown) -> list[int]:
    """How wide each column is."""
    return [
        max(len(column.title), *(len(texts[index]) for texts in shown))
        for index, column in enumerate(columns)
    ]


def fitting(
    items: Sequence[T], columns: Sequence[Column[T]], now: datetime, room: int
) -> tuple[Sequence[Column[T]], Shown]:
    """The columns and cells that fit into `room` characters, as far as that can be."""
    shown = rows(items, columns, now)
    if _width(columns, shown) <= room:
        return columns, shown
    kept = [index for index in range(len(columns)) if any(texts[index] != "-" for texts in shown)]
    columns = [columns[index] for index in kept]
    shown = rows(items, columns, now)
    if _width(columns, shown) <= room:
        return columns, shown
    return columns, rows(items, columns, now, brief=True)


def _width(columns: Sequence[Column[T]], shown: Shown) -> int:
    sizes = widths(columns, shown)
    return sum(sizes) + GAP * (len(sizes) - 1)


def _names(values: Iterable[Value]) -> Iterable[str]:
    for value in values:
        if isinstance(value, Name):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _names(value)


def _rich_table(items: Sequence[T], columns: Sequence[Column[T]], shown: Shown, room: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(
        box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0), show_edge=False
    )
    for column in columns:
        drawn.add_column(column.title, justify="right" if column.right else "left", no_wrap=True)
    for item, texts in zip(items, shown, strict=True):
        cells = []
        for column, text in zip(columns, texts, strict=True):
            value = column.value(item)
            cells.append(Text(text, COLORS.get(value, "") if isinstance(value, State) else ""))
        drawn.add_row(*cells)
    # Both sizes, or rich takes 80 columns for a terminal that it calls dumb.
    Console(highlight=False, width=room, height=25).print(drawn)


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

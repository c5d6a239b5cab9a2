"""Statements that PostgreSQL prepares, and their values as literals; and what of them is sent together.

Promises: the driver of PostgreSQL is not loaded for it, so that a server on SQLite does without. A literal made by
`array` or `literal` is read as the values that it was made of, whatever is in them.

Leaves to others: sending (script.py), which statements there are (bulk.py and its users).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, Connection, Integer, LargeBinary

if TYPE_CHECKING:
    from keypeg_server.storage.script import Script

KEY: Final = "keypeg_script"  # in Connection.info
_CONTROL: Final = re.compile(r"[\x00-\x1f]")


@dataclass(frozen=True, eq=False)
class Prepared:
    """A statement of those who write: its name on every connection, its types and its text."""

    name: str
    types: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        types = f" ({', '.join(self.types)})" if self.types else ""
        return f"PREPARE {self.name}{types} AS {self.text}"


def script_of(connection: Connection) -> Script | None:
    """What a connection sends together; None on SQLite, and where nothing is written."""
    found: Script | None = connection.info.get(KEY)
    return found


# Values, as texts of SQL. `standard_conforming_strings` is on (postgres.py sees to that).


def array_type(column: Column[Any]) -> str:
    """The type of an array of a column's values."""
    if isinstance(column.type, Integer | BigInteger):
        return "bigint[]"
    return "bytea[]" if isinstance(column.type, LargeBinary) else "text[]"


def array(type: str, values: Sequence[Any]) -> str:
    """Values of a column as a literal of `array_type`; none of them is None, or a text with NUL in it."""
    if type == "bigint[]":
        return "'{" + ",".join(map(str, values)) + "}'"
    if type == "bytea[]":
        return "'{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}'"
    if _CONTROL.search("".join(values)):  # JSON writes these in a way of its own
        body = ",".join([_element(value) for value in values])
    else:
        body = json.dumps(values, ensure_ascii=False, separators=(",", ":"))[1:-1]
    return "'{" + body.replace("'", "''") + "}'"


def literal(value: str | int) -> str:
    """One value as a literal."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def _element(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

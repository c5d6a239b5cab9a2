"""Where a server's database is: a PostgreSQL URL, with or without a password in it.

Promises: only what libpq takes as a URL; nothing here shows a password, in a text, a repr or an error. The
password may come from elsewhere instead (PGPASSWORD, PGPASSFILE, ~/.pgpass), as libpq has it.

Leaves to others: connecting (postgres.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

SCHEMES: Final = ("postgresql", "postgres")
_HIDDEN: Final = frozenset({"password", "sslpassword"})


class AddressError(Exception):
    """What is wrong with the URL of a database: one sentence, without the URL."""


@dataclass(frozen=True)
class PostgresUrl:
    """The URL of a PostgreSQL database. `read` makes one."""

    secret: str = field(repr=False)  # as libpq takes it
    shown: str  # for people: no password

    def __str__(self) -> str:
        return self.shown

    @classmethod
    def read(cls, text: str) -> PostgresUrl:
        """AddressError when it is none, or names no database."""
        try:
            parts = urlsplit(text)
            pairs = parse_qsl(parts.query, keep_blank_values=True)
            hidden = [(key, value) for key, value in pairs if key not in _HIDDEN]
        except ValueError as error:
            raise AddressError("The database's URL can not be read.") from error
        if parts.scheme not in SCHEMES:
            raise AddressError(
                "The database is named by a URL such as postgresql://user@host:5432/keypeg; for the SQLite file in "
                "the data directory, name none."
            )
        if not parts.path.strip("/") and "dbname" not in dict(pairs):
            raise AddressError(
                "The database's URL names no database; it ends with one: postgresql://user@host:5432/keypeg."
            )
        user, at, host = parts.netloc.rpartition("@")
        place = f"{user.partition(':')[0]}{at}{host}"
        query = f"?{urlencode(hidden, safe='/')}" if hidden else ""
        return cls(text, f"{parts.scheme}://{place}{parts.path}{query}")

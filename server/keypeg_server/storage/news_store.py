"""Writing what other servers must hear, in the transaction of what it is about.

Promises: numbers of one node grow in the order of its commits; the writer's thread alone writes them.

Leaves to others: what is news (service/news.py), reading and removing it (home_store.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, insert

from keypeg_server.domain.events import Event
from keypeg_server.service import news
from keypeg_server.storage.tables_home import OutboxRow

_OUTBOX: Final = OutboxRow.__table__  # type: ignore[attr-defined]  # sqlmodel does not declare it


class NewsWriter:
    """Writes the news of one server."""

    def __init__(self) -> None:
        self.node = ""  # under which they are; set before the first
        self.number = 0  # of the last; some numbers may be of transactions that failed

    def append(self, connection: Connection, events: Iterable[Event], time_us: int) -> None:
        """Write those that others must hear; in a transaction."""
        rows = []
        for event in events:
            told = news.told(event)
            if told is not None:
                self.number += 1
                kind, payload = told
                rows.append(
                    {
                        "node": self.node,
                        "number": self.number,
                        "kind": kind,
                        "payload": payload,
                        "time_us": time_us,
                    }
                )
        if rows:
            connection.execute(insert(_OUTBOX), rows)

"""The clock's high-water mark, kept in the database.

Promises: the mark only grows.

Leaves to others: when it is kept (app.py), what it is for (clock.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlmodel import Session

from keypeg_server.clock import Clock, from_us, to_us
from keypeg_server.storage.database import Database
from keypeg_server.storage.tables import MetaRow

HIGH_WATER: Final = "wall_high_water_us"


async def high_water(database: Database) -> datetime | None:
    """The highest wall clock that was kept; None for a new database."""
    row = await database.read(lambda session: session.get(MetaRow, HIGH_WATER))
    return None if row is None else from_us(int(row.value))


async def keep_high_water(database: Database, clock: Clock) -> None:
    """Keep the wall clock of now, unless a higher one is kept."""
    now_us = to_us(clock.wall())

    def write(session: Session) -> None:
        row = session.get(MetaRow, HIGH_WATER)
        if row is None:
            session.add(MetaRow(key=HIGH_WATER, value=str(now_us)))
        elif int(row.value) < now_us:
            row.value = str(now_us)

    await database.write(write)

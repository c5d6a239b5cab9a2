"""What the database needs from time to time: the clock's high-water mark, and old answers swept away.

Promises: the mark only grows; sweeping goes in small steps, so that the one writer is never held for long.

Leaves to others: when (app.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection
from sqlmodel import Session

from keypeg_server.clock import Clock, from_us, to_us
from keypeg_server.storage.database import Database
from keypeg_server.storage.requests import SWEEP_ROWS, sweep
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


async def sweep_requests(database: Database, clock: Clock) -> int:
    """Forget answers that are past their time; how many."""
    now_us = to_us(clock.wall())
    swept = 0

    def step(session: Session) -> int:
        connection: Connection = session.connection()
        return sweep(connection, now_us)

    while True:
        count = await database.write(step)
        swept += count
        if count < SWEEP_ROWS:
            return swept

"""What the server's clock must know after a restart, kept in the database: its high-water mark and its served time.

Promises: both only grow. Of several servers on one database each counts on from the highest that any has kept, so
that together they count no faster than one.

Leaves to others: when they are kept (app.py), what they are for (clock.py).
"""

from __future__ import annotations

from typing import Final

from sqlmodel import Session

from keypeg_server.clock import SystemClock, from_us
from keypeg_server.storage.database import Database
from keypeg_server.storage.tables import MetaRow

HIGH_WATER: Final = "wall_high_water_us"
SERVED: Final = "served_us"


async def restore_clock(database: Database, clock: SystemClock) -> None:
    """Let the clock go on from what was kept; from nothing for a new database."""
    mark, served = await database.read(lambda s: (_kept(s, HIGH_WATER), _kept(s, SERVED)))
    if mark:
        clock.never_before(from_us(mark))
    clock.served_before(served)


async def keep_clock(database: Database, clock: SystemClock) -> None:
    """Keep what the clock says now, where that is more than is kept; and let it count on from the highest that is."""
    wall, served = clock.wall_us(), clock.served_us()

    def write(session: Session) -> int:
        _raise(session, HIGH_WATER, wall)
        return _raise(session, SERVED, served)

    clock.served_before(await database.write(write))


def _kept(session: Session, key: str) -> int:
    row = session.get(MetaRow, key)
    return 0 if row is None else int(row.value)


def _raise(session: Session, key: str, value: int) -> int:
    """Keep a value that is higher than the one that is there; which of them is kept then."""
    kept = _kept(session, key)
    if kept < value:
        session.merge(MetaRow(key=key, value=str(value)))
    return max(kept, value)

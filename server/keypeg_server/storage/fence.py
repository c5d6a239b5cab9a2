"""The fence: in the transaction of what is written, whether its parents' homes are still this server's.

Promises: `check` raises HomesLost unless every parent's row in table `home` has this server's node and the
epoch that it believes in; until the transaction ends, nobody can take those homes (FOR SHARE: several
writers may hold it at once, and who takes a home waits for them). READ COMMITTED is enough: the rows are
read, and locked, as they are at this moment, and everything else that the transaction writes is of those
parents alone. `GUARD` looks the same as one statement that fails by itself (MISSED), for what is sent as a whole.

Leaves to others: taking homes, the table's migration, and transactions. Without homes (one server owns the
database) nothing is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import Connection, text

from keypeg_server.service.homes_port import Homes, HomesLost
from keypeg_server.storage.statements import Prepared, array, literal

# Rows are locked in one order, so that two who lock several wait for each other, not in a circle.
_MINE: Final = "SELECT parent, node, epoch FROM home WHERE parent IN ({}) ORDER BY parent FOR SHARE"

MISSED: Final = (
    "22012"  # division by zero: how a statement says by itself that it is not as expected
)
GUARD: Final = Prepared(
    "keypeg_guard",
    ("text", "text[]", "bigint[]", "bigint"),
    "SELECT 1 / (CASE WHEN count(*) = $4 THEN 1 ELSE 0 END) FROM (SELECT home.parent FROM home "
    "JOIN unnest($2, $3) AS believed(parent, epoch) "
    "ON home.parent = believed.parent AND home.epoch = believed.epoch "
    "WHERE home.node = $1 ORDER BY home.parent FOR SHARE OF home) AS mine",
)


class Fence:
    """The homes of one server, on a database that others write, too."""

    def __init__(self, homes: Homes) -> None:
        self.homes: Final = homes

    def epochs(self, parents: Collection[str]) -> dict[str, int]:
        """In order, the epochs believed in; HomesLost for those that this server knows to be another's.

        A mapping says them itself: those of when it was decided what is written.
        """
        believed = parents if isinstance(parents, Mapping) else self.believed(parents)
        found = {parent: believed[parent] for parent in sorted(believed)}
        lost = [parent for parent, epoch in found.items() if epoch is None]
        if lost:
            raise HomesLost(dict.fromkeys(lost))
        return {parent: epoch for parent, epoch in found.items() if epoch is not None}

    def believed(self, parents: Collection[str]) -> dict[str, int | None]:
        """Under which epochs these are this server's at this moment, as it believes."""
        return {parent: self.homes.epoch(parent) for parent in parents}

    def check(self, connection: Connection, parents: Collection[str]) -> None:
        """Look in the transaction that the connection is in; HomesLost when one is not this server's."""
        wanted = self.epochs(parents)
        if not wanted:
            return
        names = {f"p{number}": parent for number, parent in enumerate(wanted)}
        statement = _MINE.format(", ".join(f":{name}" for name in names))
        rows = connection.execute(text(statement), names)
        mine = {row.parent for row in rows if self._is_mine(row, wanted)}
        if len(mine) != len(wanted):
            raise HomesLost({parent: wanted[parent] for parent in set(wanted) - mine})

    def values(self, epochs: dict[str, int]) -> tuple[str, ...]:
        """What GUARD is run with."""
        return (
            literal(self.homes.node),
            array("text[]", list(epochs)),
            array("bigint[]", list(epochs.values())),
            literal(len(epochs)),
        )

    def _is_mine(self, row: Any, wanted: dict[str, int]) -> bool:
        return bool(row.node == self.homes.node and row.epoch == wanted[row.parent])

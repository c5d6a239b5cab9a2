"""Homes, servers and their news as rows: implements `Directory` (service/homes.py).

Promises: every method is one short transaction beside the server's other writing. What makes homes safe stands
here: a beat and a declaration of death change the same row, so that one of them finds what the other did; a home
is taken only from a node that has no row, or by its own again, and raises its epoch each time, which the fence of
whatever was decided before then finds.

Leaves to others: when to call what (service/cluster.py), the fence (fence.py), writing news (news_store.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from keypeg.errors import StorageUnavailable
from keypeg_server.clock import Clock, to_us
from keypeg_server.service.homes import Beat, Here, News, Node, There
from keypeg_server.storage.tables_home import HomeRow, NodeRow, OutboxRow
from keypeg_server.storage.tables_seat import LeaseRow, PlaceRow, PoolRow

_T = TypeVar("_T")

TAKE_TRIES: Final = 25  # while others take the same home, or a last transaction of it ends
TAKE_PAUSE: Final = 0.1  # seconds

# sqlmodel does not declare __table__
_HOME: Final = HomeRow.__table__  # type: ignore[attr-defined]
_NODE: Final = NodeRow.__table__  # type: ignore[attr-defined]
_OUTBOX: Final = OutboxRow.__table__  # type: ignore[attr-defined]
_LEASE: Final = LeaseRow.__table__  # type: ignore[attr-defined]
_PLACE: Final = PlaceRow.__table__  # type: ignore[attr-defined]
_POOL: Final = PoolRow.__table__  # type: ignore[attr-defined]

_BEAT: Final = update(_NODE).where(_NODE.c.id == bindparam("of")).values(beat=_NODE.c.beat + 1)
_NODES: Final = select(_NODE)
_NEWS: Final = (
    select(_OUTBOX)
    .where(_OUTBOX.c.node != bindparam("of"))
    .order_by(_OUTBOX.c.node, _OUTBOX.c.number)
)
# Whoever was stopped in the middle of a transaction may hold these rows: nobody waits for that here, for its own
# next beat would wait behind it. Its transaction is ended by its timeout (postgres.py), and then they are free.
_STILL: Final = (
    select(_NODE.c.id)
    .where(_NODE.c.id == bindparam("of"), _NODE.c.beat == bindparam("last"))
    .with_for_update(skip_locked=True)
)
_FREE: Final = (
    select(_HOME.c.parent)
    .where(_HOME.c.parent == bindparam("of"))
    .with_for_update(skip_locked=True)
)
_DEAD: Final = delete(_NODE).where(_NODE.c.id == bindparam("of"), _NODE.c.beat == bindparam("last"))
_FIND: Final = (
    select(_HOME.c.node, _HOME.c.epoch, _NODE.c.address)
    .select_from(_HOME.outerjoin(_NODE, _NODE.c.id == _HOME.c.node))
    .where(_HOME.c.parent == bindparam("of"))
)
_TAKE: Final = (
    update(_HOME)
    .where(_HOME.c.parent == bindparam("of"), _HOME.c.epoch == bindparam("before"))
    .values(node=bindparam("to"), epoch=_HOME.c.epoch + 1)
)
_WITH_SEATS: Final = select(_POOL.c.account).where(
    _POOL.c.id.in_(union_all(select(_LEASE.c.pool), select(_PLACE.c.pool)))
)
_ORPHANS: Final = (
    select(_HOME.c.parent)
    .select_from(_HOME.outerjoin(_NODE, _NODE.c.id == _HOME.c.node))
    .where(_NODE.c.id.is_(None), _HOME.c.parent.in_(_WITH_SEATS))
    .limit(bindparam("most"))
)
_ANY_ORPHAN: Final = (
    select(literal(1))
    .select_from(_HOME.outerjoin(_NODE, _NODE.c.id == _HOME.c.node))
    .where(_NODE.c.id.is_(None))
    .limit(1)
)
_GIVE_BACK: Final = update(_HOME).where(_HOME.c.node == bindparam("of")).values(node=None)
_GO: Final = delete(_NODE).where(_NODE.c.id == bindparam("of"))
_HEARD: Final = delete(_OUTBOX).where(
    _OUTBOX.c.node == bindparam("of"), _OUTBOX.c.number <= bindparam("through")
)
_FORGOTTEN: Final = (
    select(_OUTBOX.c.node)
    .distinct()
    .where(_OUTBOX.c.node.not_in(select(_NODE.c.id)))
    .order_by(_OUTBOX.c.node)
)
_HOLDS: Final = (
    select(_POOL.c.account)
    .where(
        or_(
            _POOL.c.id.in_(select(_LEASE.c.pool).where(_LEASE.c.session == bindparam("holder"))),
            _POOL.c.id.in_(select(_PLACE.c.pool).where(_PLACE.c.session == bindparam("holder"))),
        )
    )
    .limit(1)
)


_ACCOUNT: Final = select(_POOL.c.account).where(_POOL.c.id == bindparam("of"))


class Shared(Protocol):
    """What is needed of the database (PostgresDatabase)."""

    def aside(self, work: Callable[[Connection], _T], /) -> Future[_T]:
        """One transaction, beside the server's other writing."""
        ...

    async def read(self, work: Callable[[Session], _T], /) -> _T:
        """Look at what is committed."""
        ...


class SqlHomes:
    """`Directory` on a database."""

    def __init__(self, database: Shared, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def join(self, node: Node) -> None:
        def work(connection: Connection) -> None:
            connection.execute(
                insert(_NODE),
                {
                    "id": node.id,
                    "address": node.address,
                    "process": node.process,
                    "beat": 0,
                    "start_time_us": to_us(self._clock.wall()),
                },
            )

        await self._run(work)

    async def beat(self, node: str) -> Beat | None:
        def work(connection: Connection) -> Beat | None:
            if connection.execute(_BEAT, {"of": node}).rowcount != 1:
                return None
            news = [
                News(row.node, row.number, row.kind, row.payload)
                for row in connection.execute(_NEWS, {"of": node})
            ]
            return Beat(_nodes(connection), news)

        return await self._run(work)

    async def nodes(self) -> Mapping[str, Node]:
        return await self._run(_nodes)

    async def declare_dead(self, node: str, beat: int) -> bool:
        def work(connection: Connection) -> bool:
            last = {"of": node, "last": beat}
            if connection.execute(_STILL, last).first() is None:
                return False
            return connection.execute(_DEAD, last).rowcount == 1

        return await self._run(work)

    async def take(self, parent: str, node: str) -> Here | There:
        def work(connection: Connection) -> Here | There | None:
            row = connection.execute(_FIND, {"of": parent}).one_or_none()
            if row is None:
                connection.execute(insert(_HOME), {"parent": parent, "node": node, "epoch": 1})
                return Here(1)
            # It may be this node's already: what was decided before it is loaded again must not be written then.
            if row.address is not None and row.node != node:
                return There(row.node, row.address)
            if connection.execute(_FREE, {"of": parent}).first() is None:
                return None
            taken = connection.execute(_TAKE, {"of": parent, "before": row.epoch, "to": node})
            return Here(row.epoch + 1) if taken.rowcount == 1 else None

        for _ in range(TAKE_TRIES):
            try:
                found = await self._run(work)
            except IntegrityError:  # another has made its row
                continue
            if found is not None:
                return found
            await asyncio.sleep(TAKE_PAUSE)
        raise StorageUnavailable(
            f"The home of {parent} is held by a server that does not answer; try again shortly.",
            parent=parent,
        )

    async def look(self, parent: str) -> There | None:
        def work(connection: Connection) -> There | None:
            row = connection.execute(_FIND, {"of": parent}).one_or_none()
            return None if row is None or row.address is None else There(row.node, row.address)

        return await self._run(work)

    async def orphans(self, limit: int) -> list[str]:
        def work(connection: Connection) -> list[str]:
            if connection.execute(_ANY_ORPHAN).first() is None:
                return []
            return list(connection.execute(_ORPHANS, {"most": limit}).scalars())

        return await self._run(work)

    async def leave(self, node: str) -> None:
        def work(connection: Connection) -> None:
            connection.execute(_GIVE_BACK, {"of": node})
            connection.execute(_GO, {"of": node})

        await self._run(work)

    async def sweep(self, heard: Mapping[str, int], gone: Collection[str]) -> list[str]:
        def work(connection: Connection) -> list[str]:
            for node, through in heard.items():
                connection.execute(_HEARD, {"of": node, "through": through})
            if gone:
                connection.execute(delete(_OUTBOX).where(_OUTBOX.c.node.in_(list(gone))))
            return list(connection.execute(_FORGOTTEN).scalars())

        return await self._run(work)

    async def holds(self, session: str) -> str | None:
        """The account (name) of which a session (id) has seats or waits for some; None when it has none."""
        return await self._database.read(lambda c: c.execute(_HOLDS, {"holder": session}).scalar())

    async def account_of(self, pool: str) -> str | None:
        """The account (name) of a pool (id)."""
        return await self._database.read(lambda c: c.execute(_ACCOUNT, {"of": pool}).scalar())

    async def counts(self) -> dict[str | None, int]:
        """How many homes each node has; None: how many nobody has."""

        def work(connection: Connection) -> dict[str | None, int]:
            rows = connection.execute(
                select(_HOME.c.node, func.count().label("count")).group_by(_HOME.c.node)
            )
            return {row[0]: row[1] for row in rows}

        return await self._run(work)

    async def _run(self, work: Callable[[Connection], _T]) -> _T:
        return await asyncio.wrap_future(self._database.aside(work))


def _nodes(connection: Connection) -> dict[str, Node]:
    rows: Any = connection.execute(_NODES)
    return {row.id: Node(row.id, row.address, row.process, row.beat) for row in rows}

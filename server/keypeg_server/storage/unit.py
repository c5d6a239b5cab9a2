"""Units of work on the database; see service/store.py for what is promised.

Promises: a change runs in one transaction in the writer's thread; its events are published in the event
loop after the commit, even when the caller that asked for it is canceled meanwhile.

Leaves to others: the repositories, one file each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from sqlmodel import Session

from keypeg_server.clock import Clock, to_us
from keypeg_server.domain import record
from keypeg_server.domain.events import Event, LogRecorded
from keypeg_server.domain.record import Entry
from keypeg_server.service import homes_port
from keypeg_server.service.finish import to_its_end
from keypeg_server.service.store import Request, Unit
from keypeg_server.storage.account_store import SqlAccounts
from keypeg_server.storage.catalog_store import SqlCatalog
from keypeg_server.storage.certificate_store import SqlCertificates
from keypeg_server.storage.change_store import SqlChanges
from keypeg_server.storage.credential_store import SqlCredentials
from keypeg_server.storage.database import Database
from keypeg_server.storage.factor_store import SqlFactors
from keypeg_server.storage.identity_store import SqlIdentities
from keypeg_server.storage.key_store import SqlKeys
from keypeg_server.storage.license_store import SqlLicenses
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.news_store import NewsWriter
from keypeg_server.storage.passkey_store import SqlPasskeys
from keypeg_server.storage.people_store import SqlPeople
from keypeg_server.storage.place_store import SqlPlaces
from keypeg_server.storage.requests import once
from keypeg_server.storage.sign_in_store import SqlSignIns

T = TypeVar("T")


class SqlUnit:
    """`Unit` on a session."""

    def __init__(self, session: Session, now_us: int = 0, caller: str = "") -> None:
        """`now_us` and `caller` are those of what is recorded."""
        self.now_us = now_us
        self._caller = caller
        self.catalog = SqlCatalog(session)
        self.accounts = SqlAccounts(session)
        self.licenses = SqlLicenses(session)
        self.places = SqlPlaces(session)
        self.keys = SqlKeys(session)
        self.people = SqlPeople(session)
        self.sign_ins = SqlSignIns(session)
        self.factors = SqlFactors(session)
        self.identities = SqlIdentities(session)
        self.passkeys = SqlPasskeys(session)
        self.changes = SqlChanges(session)
        self.credentials = SqlCredentials(session)
        self.certificates = SqlCertificates(session)
        self.events: list[Event] = []
        self.entries: list[Entry] = []

    def record(self, parent: str, event: str, **said: Any) -> None:
        self.entries.append(record.about(parent, event, self.now_us, by=self._caller, **said))

    def publish(self, event: Event) -> None:
        if event not in self.events:  # deposited and activated at once is news once
            self.events.append(event)


class SqlStore:
    """`Store` on a database."""

    def __init__(self, database: Database, clock: Clock, publish: Callable[[Event], None]) -> None:
        self._database = database
        self._clock = clock
        self._publish = publish
        self.log: LogWriter | None = None  # where changes are recorded; none while a server is made
        self.news: NewsWriter | None = (
            None  # where other servers are told; none when there are none
        )
        self.generation = 0

    def outdate(self) -> None:
        self.generation += 1

    async def read(self, look: Callable[[Unit], T]) -> T:
        return await self._database.read(lambda session: look(SqlUnit(session)))

    async def write(self, change: Callable[[Unit], T]) -> T:
        return await to_its_end(self._write(self._work(change)))

    async def change(self, change: Callable[[Unit], T]) -> T:
        return await to_its_end(self._change(self._work(change)))

    def _work(self, change: Callable[[Unit], T]) -> Callable[[Session], tuple[T, list[Event]]]:
        parents = homes_port.parents()

        def work(session: Session) -> tuple[T, list[Event]]:
            unit = SqlUnit(session, to_us(self._clock.wall()))
            result = change(unit)
            self._record(session, unit, parents)
            return result, unit.events

        return work

    async def once(self, request: Request[T], change: Callable[[Unit], T]) -> bytes:
        parents = homes_port.parents()

        def work(session: Session) -> tuple[bytes, list[Event]]:
            now_us = to_us(self._clock.wall())
            unit = SqlUnit(session, now_us, request.caller)
            answer = once(
                session,
                request.caller,
                request.id,
                request.body,
                self._clock.served_us(),
                lambda _: request.answer(change(unit)),
            )
            self._record(session, unit, parents)
            return answer, unit.events

        return await to_its_end(self._change(work))

    async def _change(self, work: Callable[[Session], tuple[T, list[Event]]]) -> T:
        """Write, and let nothing that was read before or meanwhile pass for what is there after."""
        self.generation += 1
        try:
            return await self._write(work)
        finally:
            self.generation += 1

    def _record(self, session: Session, unit: SqlUnit, parents: Collection[str]) -> None:
        if self._database.fence is not None:  # it looks at the homes of these, and no others
            for entry in unit.entries:
                assert entry.parent in parents, (
                    f"a change of {entry.parent} is written for {parents}"
                )
        if self.log is not None and unit.entries:
            session.flush()
            numbers = self.log.append(session.connection(), unit.entries)
            unit.events.insert(0, LogRecorded(tuple(unit.entries), tuple(numbers)))
        if self.news is not None:
            self.news.append(session.connection(), unit.events, unit.now_us)

    async def _write(self, work: Callable[[Session], tuple[T, list[Event]]]) -> T:
        try:
            result, events = await self._database.write(work, parents=homes_port.parents())
        except homes_port.HomesLost as error:
            assert self._database.fence is not None
            raise self._database.fence.homes.lost(error.believed) from error
        for event in events:
            self._publish(event)
        return result

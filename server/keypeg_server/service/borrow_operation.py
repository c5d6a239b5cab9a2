"""What the operations on borrows have in common: what the log says of them, and how they are answered.

Promises: each keeps to service/commits.py; what is answered is on disk, and in the log with who and until when;
the same request again gives the same document.

Leaves to others: the operations (borrow_operations.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keypeg.errors import KeypegError, LeaseExpired
from keypeg_server.domain import record
from keypeg_server.domain.borrow import Borrow, Exposure
from keypeg_server.domain.borrow_refusals import over
from keypeg_server.domain.decision import Change, Decision
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.record import Ending, Entry
from keypeg_server.service.commits import RequestKey
from keypeg_server.service.pool_operation import PoolOperation
from keypeg_server.service.pool_reports import Reports, follow

_NOTHING: Final = Decision(None, [], [], False)


@dataclass(frozen=True, slots=True)
class Lent:
    """A borrow, and the document that answers the request."""

    borrow: Borrow
    document: bytes


@dataclass(frozen=True, slots=True)
class WrittenOff:
    """A borrow that was given up, and what that exposes."""

    borrow: Borrow
    exposure: Exposure


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operation is carried out, and who hears of it."""

    reports: Reports
    pool: Pool
    watch: Callable[[Pool, Borrow], None]  # its end is near, or was put off


class BorrowOperation(PoolOperation):
    """What is the same for all of them. Subclasses decide, and say what the log says."""

    __slots__ = ("_borrow", "_by", "_watch")

    how = Ending.BORROW_ENDED  # if its lease ends by this

    def __init__(
        self, place: Place, by: str, request: RequestKey | None, done: Callable[[Any], None]
    ) -> None:
        super().__init__(place.reports, place.pool, done, request)
        self._watch = place.watch
        self._by = by
        self._decision = _NOTHING

    def decide(self) -> Sequence[Change]:
        self._now_us = self._reports.now_us()
        self._decision, self._borrow = self._decided(self._pool, self._now_us)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        changes = self._decision.changes
        if not changes:
            return ()
        event, said = self._told(self._borrow)
        pool, borrow = self._pool, self._borrow
        told = record.about(
            pool.account,
            event,
            self._now_us,
            pool=pool.id,
            product=pool.product,
            borrow=borrow.id,
            user=borrow.holder.user,
            device=borrow.holder.device,
            host=borrow.holder.host_name,
            units=borrow.units,
            until=borrow.end_us,
            by=self._by,
            **said,
        )
        return [*record.of_changes(pool, changes, self._now_us, self.how), told]

    def answer(self) -> None:
        self._watch(self._pool, self._borrow)
        self._done(self._answered())
        follow(self._reports, self._pool, self._decision)

    def _decided(self, pool: Pool, now_us: int) -> tuple[Decision, Borrow]:
        raise NotImplementedError

    def _told(self, borrow: Borrow) -> tuple[str, dict[str, object]]:
        """The event of the log, and what it says beside the borrow."""
        raise NotImplementedError

    def _answered(self) -> object:
        return self._borrow

    def _there(self, id: str) -> Borrow:
        borrow = self._pool.borrows.get(id)
        if borrow is None:
            raise LeaseExpired(
                f"{self._pool.name}/borrows/{id} is over; borrow a seat anew.", borrow=id
            )
        return borrow


class WithDocument(BorrowOperation):
    """One that is answered by a document, also when it is asked again."""

    __slots__ = ()

    def result(self) -> bytes:
        return self._borrow.id.encode() + b" " + self._borrow.document

    def _answered(self) -> Lent:
        return Lent(self._borrow, self._borrow.document)

    def repeat(self, result: bytes) -> None:
        self._reports.look(lambda: self._found(result), self._done)

    def _found(self, result: bytes) -> Lent | KeypegError:
        id, _, document = result.partition(b" ")
        try:
            borrow = self._there(id.decode())
        except KeypegError as error:
            return error
        return Lent(borrow, document) if borrow.is_out else over(borrow)

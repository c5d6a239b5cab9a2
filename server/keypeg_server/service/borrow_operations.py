"""The operations on borrows that go through the committer: lend, renew, take back, write off, end.

Promises: each keeps to service/commits.py; what is answered is on disk, and in the log with who and until when;
the same request again gives the same document.

Leaves to others: what they have in common (borrow_operation.py), the rules (domain/pool_borrowing.py), who may ask (borrows.py), the passing of time
(borrow_ends.py).
"""

from __future__ import annotations

from collections.abc import Callable

from keypeg.errors import KeypegError
from keypeg_server.domain import explain, pool_borrowing
from keypeg_server.domain.borrow import Borrow, Terms
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask, Decision
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_borrowing import Seal
from keypeg_server.domain.record import Ending
from keypeg_server.service.borrow_operation import (
    BorrowOperation,
    Lent,
    Place,
    WithDocument,
    WrittenOff,
)
from keypeg_server.service.commits import RequestKey
from keypeg_server.service.pool_reports import follow

Ended = Callable[[KeypegError | None], None]


class Lend(WithDocument):
    """A seat for a computer to take offline; ends with a Lent."""

    __slots__ = ("_ask", "_caller", "_seal", "_terms")

    def __init__(
        self,
        place: Place,
        caller: Caller,
        ask: Ask,
        terms: Terms,
        seal: Seal,
        request: RequestKey,
        done: Callable[[Lent | KeypegError], None],
    ) -> None:
        super().__init__(place, caller.user, request, done)
        self._caller = caller
        self._ask = ask
        self._terms = terms
        self._seal = seal

    def _decided(self, pool: Pool, now_us: int) -> tuple[Decision, Borrow]:
        try:
            decision = pool_borrowing.lend(pool, self._ask, self._terms, now_us, self._seal)
        except KeypegError as error:
            sight = self._reports.sight(self._caller)
            raise explain.refused(pool, self._ask, error, sight) from None
        return decision, pool.borrows[self._ask.id]

    def _told(self, borrow: Borrow) -> tuple[str, dict[str, object]]:
        return "borrowed", {"app": borrow.holder.app, "address": borrow.holder.address}

    def refuse(self, error: KeypegError) -> None:
        self._reports.denied(self._pool, self._ask, error)
        self._done(error)


class Renew(WithDocument):
    """A later end; ends with a Lent."""

    __slots__ = ("_id", "_seal", "_terms")

    def __init__(
        self,
        place: Place,
        by: str,
        id: str,
        terms: Terms,
        seal: Seal,
        request: RequestKey,
        done: Callable[[Lent | KeypegError], None],
    ) -> None:
        super().__init__(place, by, request, done)
        self._id = id
        self._terms = terms
        self._seal = seal

    def _decided(self, pool: Pool, now_us: int) -> tuple[Decision, Borrow]:
        self._there(self._id)
        decision = pool_borrowing.renew(pool, self._id, self._terms, now_us, self._seal)
        return decision, pool.borrows[self._id]

    def _told(self, borrow: Borrow) -> tuple[str, dict[str, object]]:
        return "borrow_renewed", {"serial": borrow.serial}


class GiveBack(BorrowOperation):
    """Its computer has given it up; ends with the Borrow."""

    __slots__ = ("_id",)

    how = Ending.RETURNED

    def __init__(
        self, place: Place, by: str, id: str, done: Callable[[Borrow | KeypegError], None]
    ) -> None:
        super().__init__(place, by, None, done)
        self._id = id

    def _decided(self, pool: Pool, now_us: int) -> tuple[Decision, Borrow]:
        self._there(self._id)
        decision = pool_borrowing.give_back(pool, self._id, self._by, now_us)
        return decision, pool.borrows[self._id]

    def _told(self, borrow: Borrow) -> tuple[str, dict[str, object]]:
        return "borrow_returned", {}


class WriteOff(BorrowOperation):
    """It is lost; ends with a WrittenOff."""

    __slots__ = ("_id", "_reason")

    how = Ending.WRITTEN_OFF

    def __init__(
        self,
        place: Place,
        by: str,
        id: str,
        reason: str,
        request: RequestKey,
        done: Callable[[WrittenOff | KeypegError], None],
    ) -> None:
        super().__init__(place, by, request, done)
        self._id = id
        self._reason = reason

    def result(self) -> bytes:
        return self._id.encode()

    def _decided(self, pool: Pool, now_us: int) -> tuple[Decision, Borrow]:
        self._there(self._id)
        decision = pool_borrowing.write_off(pool, self._id, self._by, self._reason, now_us)
        return decision, pool.borrows[self._id]

    def _told(self, borrow: Borrow) -> tuple[str, dict[str, object]]:
        return "borrow_written_off", {"reason": self._reason, "exposed_until": borrow.free_us}

    def _answered(self) -> WrittenOff:
        pool = self._pool
        return WrittenOff(self._borrow, pool_borrowing.exposure(pool, self._borrow))

    def repeat(self, result: bytes) -> None:
        self._reports.look(lambda: self._found(result.decode()), self._done)

    def _found(self, id: str) -> WrittenOff | KeypegError:
        try:
            borrow = self._there(id)
        except KeypegError as error:
            return error
        return WrittenOff(borrow, pool_borrowing.exposure(self._pool, borrow))


class End(BorrowOperation):
    """Nobody believes in it any more; ends with None."""

    __slots__ = ("_id",)

    def __init__(self, place: Place, id: str, done: Ended) -> None:
        super().__init__(place, "", None, done)
        self._id = id

    def _decided(self, pool: Pool, now_us: int) -> tuple[Decision, Borrow]:
        borrow = self._there(self._id)
        return pool_borrowing.end(pool, self._id, now_us), borrow

    def _told(self, borrow: Borrow) -> tuple[str, dict[str, object]]:
        return "borrow_ended", {"state": borrow.state.value}

    def answer(self) -> None:
        self._done(None)
        follow(self._reports, self._pool, self._decision)

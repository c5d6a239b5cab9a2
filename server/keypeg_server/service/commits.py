"""Operations on pools that must be on disk before anyone hears of them: what the committer carries.

Promises: an operation ends in exactly one of `answer`, `repeat` and `refuse`, each called on the event loop;
between `decide` and that, `undo` may come, and then `decide` again.

Leaves to others: the disk (storage/committer.py) and the operations themselves (pools.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from keypeg.errors import KeypegError
from keypeg_server.domain.borrow import Borrow
from keypeg_server.domain.decision import Change
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.pool_rules import PLAIN, PoolRules
from keypeg_server.domain.record import Entry

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a request the same request: kept 24 h with its result."""

    caller: str  # a user's name, or a session's name for what came on its stream
    id: str
    digest: bytes  # of the body, so that another body under the same id is refused


class Operation:
    """One decision, from its request to its answer. Subclasses say what is decided."""

    __slots__ = ("request",)

    def __init__(self, request: RequestKey | None = None) -> None:
        self.request = request

    def decide(self) -> Sequence[Change]:
        """Decide in memory, and say what changed; KeypegError when it is refused and nothing did."""
        raise NotImplementedError

    def records(self) -> Sequence[Entry]:
        """What the log says of it, written with its changes; after `decide`."""
        return ()

    def parents(self) -> Collection[str]:
        """The accounts (names) whose home this server has to be for it."""
        return ()

    def undo(self) -> None:
        """Take the decision back; those after it are taken back already."""
        raise NotImplementedError

    def result(self) -> bytes:
        """What a repeated request is answered by; after `decide`. Only asked when there is a request."""
        raise NotImplementedError

    def answer(self) -> None:
        """It is on disk."""
        raise NotImplementedError

    def repeat(self, result: bytes) -> None:
        """The same request was decided before, with this result; that is on disk."""
        raise NotImplementedError

    def refuse(self, error: KeypegError) -> None:
        """It is not, and nothing is changed."""
        raise NotImplementedError


class Committer(Protocol):
    """Puts operations on disk, in the order in which they come."""

    def submit(self, operation: Operation) -> None:
        """Decide it now; it ends later, after all that was submitted before."""
        ...


@dataclass(frozen=True, slots=True)
class StoredPool:
    """A pool as it is on disk."""

    id: str
    account: str
    product: str
    activation: str
    seat_count: int
    features: dict[str, int]
    fencing_number: int
    leases: tuple[Lease, ...]
    places: tuple[Place, ...]
    rules: PoolRules = PLAIN
    freed: tuple[Freed, ...] = ()
    borrows: tuple[Borrow, ...] = ()


class PoolStore(Protocol):
    """Reads the pools of accounts that are taken over, and one when it was created."""

    async def load(self, pool: str | None = None, account: str | None = None) -> list[StoredPool]:
        """All pools, those of an account, or the one with this id; with who holds and waits."""
        ...


async def settled(submit: Callable[[Callable[[_T | KeypegError], None]], None]) -> _T:
    """What an operation ends with."""
    future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    def done(outcome: _T | KeypegError) -> None:
        if future.done():
            return
        if isinstance(outcome, KeypegError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    submit(done)
    return await future

"""Passwords: who is checked where, behind a limiter.

Promises: checking one for a user who does not exist costs the same as for one who does; more checks than the limiter
takes are refused with BUSY at once instead of piling up, and strangers take no place from who is at home. While nobody
guesses, a password is checked like other work; many at once, or after one that was wrong, take no time from whoever else
is served, and still have their answer when the processor is never free.

Leaves to others: Argon2id (argon2id.py), what gives way (aside.py), who the user is (accounts.py), and the rules for
passwords (rpc/validate.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from keypeg.errors import Busy
from keypeg_server.domain.calm import Calm
from keypeg_server.service import argon2id
from keypeg_server.service.argon2id import Cost
from keypeg_server.service.ports import Clock

RETRY_AFTER: Final = timedelta(seconds=2)
PATIENCE: Final = 2.0  # seconds that a check gives way

T = TypeVar("T")


class Elsewhere(Protocol):
    """Where passwords are checked that give way; see aside.py."""

    async def matches(self, password: str, kept: str, patience: float) -> bool | None:
        """Whether a password is the one of a PHC string; None when that is not known within so many seconds."""
        ...

    async def derived(self, password: str, cost: Cost, patience: float) -> str | None:
        """The PHC string to keep of a password; None when there is none within so many seconds."""
        ...

    async def close(self) -> None:
        """Nothing is done there any more."""
        ...


class _Line:
    """Those that wait for one another."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._most = at_once + waiting
        self._turns = asyncio.Semaphore(at_once)
        self.under_way = 0

    async def turn(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it when it is its turn; Busy when it is one too many."""
        if self.under_way >= self._most:
            raise Busy(
                "Too many people are signing in at this moment; try again in a few seconds.",
                retry_after=RETRY_AFTER,
            )
        self.under_way += 1
        try:
            async with self._turns:
                return await work()
        finally:
            self.under_way -= 1


class Passwords:
    """Hashes and checks; `close` ends its thread, and what is elsewhere."""

    def __init__(
        self, cost: Cost, clock: Clock, elsewhere: Elsewhere, *, at_once: int, waiting: int
    ) -> None:
        self._cost = cost
        self._clock = clock
        self._strangers, self._at_home = (_Line(at_once, waiting) for _ in range(2))
        self._thread = ThreadPoolExecutor(1, "keypeg-password")
        self._elsewhere = elsewhere
        self._calm = Calm()
        self._decoy = argon2id.decoy(cost)

    async def hashed(self, password: str) -> str:
        """The PHC string to keep, of who was let in."""
        cost, elsewhere = self._cost, self._elsewhere
        return await self._at_home.turn(
            lambda: self._gently(
                lambda: elsewhere.derived(password, cost, PATIENCE),
                lambda: argon2id.derived(password, cost),
            )
        )

    async def matches(self, password: str, kept: str | None, *, at_home: bool = False) -> bool:
        """Whether a password is the one of a PHC string; takes as long, and is False, when there is none.

        `at_home`: who asks signed in from the same place before.
        """
        line = self._at_home if at_home else self._strangers
        right = await line.turn(lambda: self._check(password, kept or self._decoy))
        return right and kept is not None

    async def close(self) -> None:
        """Nothing of it is left running when this returns, but for the check that the thread is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._elsewhere.close()

    async def _check(self, password: str, kept: str) -> bool:
        right = False
        try:
            right = await self._gently(
                lambda: self._elsewhere.matches(password, kept, PATIENCE),
                lambda: argon2id.verified(password, kept),
            )
        finally:  # what the caller gave up is a guess, too
            if not right:
                self._calm.wrong(self._clock.monotonic())
        return right

    async def _gently(
        self, elsewhere: Callable[[], Awaitable[T | None]], here: Callable[[], T]
    ) -> T:
        """Like other work while it is calm; else elsewhere, and here when that comes to nothing."""
        under_way = self._strangers.under_way + self._at_home.under_way
        calm = self._calm.take(under_way, self._clock.monotonic())
        done = None if calm else await elsewhere()
        return await self._in_thread(here) if done is None else done

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

"""Passwords: who is checked where, behind a limiter.

Promises: checking one for a user who does not exist costs the same as for one who does; more checks than the limiter
takes are refused with BUSY at once instead of piling up. While nobody guesses, a password is checked like other work;
many at once, or after one that was wrong, take no time from whoever else is served, and still have their answer when
the processor is never free.

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

    async def close(self) -> None:
        """Nothing is checked there any more."""
        ...


class Passwords:
    """Hashes and checks; `close` ends its thread, and what is elsewhere."""

    def __init__(
        self, cost: Cost, clock: Clock, elsewhere: Elsewhere, *, at_once: int, waiting: int
    ) -> None:
        self._cost = cost
        self._clock = clock
        self._most = at_once + waiting
        self._under_way = 0
        self._turns = asyncio.Semaphore(at_once)
        self._thread = ThreadPoolExecutor(1, "keypeg-password")
        self._elsewhere = elsewhere
        self._calm = Calm()
        self._decoy = argon2id.decoy(cost)

    async def hashed(self, password: str) -> str:
        """The PHC string to keep."""
        return await self._in_turn(
            lambda: self._in_thread(lambda: argon2id.derived(password, self._cost))
        )

    async def matches(self, password: str, kept: str | None) -> bool:
        """Whether a password is the one of a PHC string; takes as long, and is False, when there is none."""
        right = await self._in_turn(lambda: self._check(password, kept or self._decoy))
        return right and kept is not None

    async def close(self) -> None:
        """Nothing of it is left running when this returns, but for the check that the thread is at."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._elsewhere.close()

    async def _in_turn(self, work: Callable[[], Awaitable[T]]) -> T:
        if self._under_way >= self._most:
            raise Busy(
                "Too many people are signing in at this moment; try again in a few seconds.",
                retry_after=RETRY_AFTER,
            )
        self._under_way += 1
        try:
            async with self._turns:
                return await work()
        finally:
            self._under_way -= 1

    async def _check(self, password: str, kept: str) -> bool:
        right = None
        if not self._calm.take(self._under_way, self._clock.monotonic()):
            right = await self._elsewhere.matches(password, kept, PATIENCE)
        if right is None:
            right = await self._in_thread(lambda: argon2id.verified(password, kept))
        if not right:
            self._calm.wrong(self._clock.monotonic())
        return right

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

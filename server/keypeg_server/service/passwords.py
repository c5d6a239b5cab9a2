"""Passwords: Argon2id in threads, behind a limiter.

Promises: a password is kept only as a PHC string with its own salt and cost; checking one for a user who
does not exist costs the same as for one who does; more checks than the limiter takes are refused with
BUSY at once instead of piling up; many together take no time from whoever else is served.

Leaves to others: who the user is (accounts.py), and the rules for passwords (rpc/validate.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from keypeg.errors import Busy

SALT_BYTES: Final = 16  # RFC 9106, 3.1
HASH_BYTES: Final = 32
RETRY_AFTER: Final = timedelta(seconds=2)

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """What one check costs; see settings, section passwords."""

    memory_kib: int
    iterations: int
    lanes: int


class Passwords:
    """Hashes and checks; `close` ends its threads."""

    def __init__(self, cost: Cost, *, at_once: int, waiting: int) -> None:
        self._cost = cost
        self._most = at_once + waiting
        self._under_way = 0
        self._turns = asyncio.Semaphore(at_once)
        self._threads = ThreadPoolExecutor(at_once, "keypeg-password")
        # Threads of their own: whoever has no rights may give way, and never come back from it.
        self._giving_way = ThreadPoolExecutor(at_once, "keypeg-passwords", _give_way)
        self._decoy = self._derive(os.urandom(16).hex())

    async def hashed(self, password: str) -> str:
        """The PHC string to keep."""
        return await self._in_thread(lambda: self._derive(password))

    async def matches(self, password: str, kept: str | None) -> bool:
        """Whether a password is the one of a PHC string; takes as long, and is False, when there is none."""
        right = await self._in_thread(lambda: _verify(password, kept or self._decoy))
        return right and kept is not None

    def close(self) -> None:
        for threads in (self._threads, self._giving_way):
            threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._under_way >= self._most:
            raise Busy(
                "Too many people are signing in at this moment; try again in a few seconds.",
                retry_after=RETRY_AFTER,
            )
        self._under_way += 1
        try:
            async with self._turns:
                threads = self._threads if self._under_way == 1 else self._giving_way
                return await asyncio.get_running_loop().run_in_executor(threads, work)
        finally:
            self._under_way -= 1

    def _derive(self, password: str) -> str:
        kdf = Argon2id(
            salt=os.urandom(SALT_BYTES),
            length=HASH_BYTES,
            iterations=self._cost.iterations,
            lanes=self._cost.lanes,
            memory_cost=self._cost.memory_kib,
        )
        return kdf.derive_phc_encoded(_prepared(password))


def _give_way() -> None:
    """Run this thread only when no other wants to: who guesses takes nobody's time. Linux alone."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # where a filter forbids it
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


def _verify(password: str, kept: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(_prepared(password), kept)
    except InvalidKey:
        return False
    return True


def _prepared(password: str) -> bytes:
    """The same bytes however a keyboard composes the same characters (RFC 8265, 4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8")

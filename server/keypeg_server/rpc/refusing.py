"""What becomes of a call that is refused: the log says why, and who is refused without end waits for it.

Promises: each kind of refusal that a caller who means harm meets is in the log (`call refused`), once a minute with how
often, whoever sends how many. Refusals of one caller beyond a rate are held back, each until the one before it is out, so
that who floods comes again the less often and never all at once; whoever is not refused never waits, from the same
address or not. So many at most are held, and for so long.

Leaves to others: refusing (gate.py, the services); what is counted (domain/noticing.py, domain/quota.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from keypeg.errors import KeypegError, Reason
from keypeg_server.domain.guessing import place_of
from keypeg_server.domain.noticing import Notices
from keypeg_server.domain.quota import CallRate
from keypeg_server.rpc.peer import address_of
from keypeg_server.service.ports import Clock

_LOG: Final = logging.getLogger(__name__)

TOLD: Final = frozenset(
    {
        Reason.FIELD_INVALID,
        Reason.REQUEST_ID_REUSED,
        Reason.PROTOCOL_VIOLATION,
        Reason.NOT_FOUND,
        Reason.PERMISSION_DENIED,
        Reason.LIMIT_EXCEEDED,
        Reason.SIGN_IN_REQUIRED,
        Reason.TOKEN_INVALID,
        Reason.TOKEN_EXPIRED,
        Reason.INVITATION_INVALID,
        Reason.CREDENTIAL_REVOKED,
        Reason.CREDENTIAL_EXPIRED,
        Reason.DEVICE_COPIED,
        Reason.RESUME_INVALID,
        Reason.SESSION_SUPERSEDED,
        Reason.FRAME_FORGED,
        Reason.FRAME_REPLAYED,
    }
)
"""What callers who mean harm meet, and others seldom; every refusal of a password is told where it is checked."""

FLOODS: Final = frozenset(
    {
        Reason.SIGN_IN_REQUIRED,
        Reason.TOKEN_INVALID,
        Reason.TOKEN_EXPIRED,
        Reason.CREDENTIALS_INVALID,
        Reason.INVITATION_INVALID,
        Reason.LIMIT_EXCEEDED,
        Reason.BUSY,
        Reason.FIELD_INVALID,
        Reason.NOT_FOUND,
        Reason.PERMISSION_DENIED,
    }
)
"""What is held back when it comes without end."""

RATE: Final = 100.0  # refusals a second that are answered: some percent of a core
BURST: Final = 50.0  # more than a program in error makes before somebody looks, and a sixtieth of a second of work
HELD_SECONDS: Final = (
    2.0  # at most: apps of one address whose tokens ended together are refused together
)
HELD: Final = 4_096  # at once; some 20 KiB each


class Refusals:
    """Of one server."""

    def __init__(
        self, clock: Clock, wait: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._now = clock.monotonic
        self._wait = wait
        self._rate = CallRate(RATE, BURST)
        self._notices = Notices()
        self._held = 0
        self._unread: set[asyncio.Task[Any] | None] = set()

    async def refused(self, error: KeypegError, method: str, user: str, context: Any) -> None:
        """A call of a user (name, empty for nobody) is about to be refused."""
        place = place_of(address_of(context))
        self._tell(error, method, user, place)
        if error.reason not in FLOODS:
            return
        wait = self._rate.reserve(user or place, self._now(), HELD_SECONDS)
        if wait and self._held < HELD:
            self._held += 1
            try:
                await self._wait(min(wait, HELD_SECONDS))
            finally:
                self._held -= 1

    def began(self, method: str) -> None:
        """This task serves a call from now on; its request may never come as one that is read."""
        task = asyncio.current_task()
        if task is not None:
            self._unread.add(task)
            task.add_done_callback(lambda ended: self._ended(ended, method))

    def read(self) -> None:
        """The request of this task's call is there."""
        self._unread.discard(asyncio.current_task())

    def _ended(self, task: asyncio.Task[Any], method: str) -> None:
        if task not in self._unread:
            return
        self._unread.discard(task)
        if times := self._notices.see(("unread", method), self._now()):
            why = "larger than limits.max_message_bytes, headers larger than 16 KiB, or given up"
            _LOG.info("call cut off", extra={"method": method, "why": why, "times": times})

    def tell(self, error: KeypegError, method: str, user: str, context: Any) -> None:
        """Say in the log why this call of a user (name, empty for nobody) is refused."""
        self._tell(error, method, user, place_of(address_of(context)))

    def _tell(self, error: KeypegError, method: str, user: str, place: str) -> None:
        if error.reason not in TOLD:
            return
        why = error.metadata.get("why") or error.metadata.get("limit") or ""
        kind = (error.reason, why, user or place)
        if times := self._notices.see(kind, self._now()):
            _LOG.info(
                "call refused",
                extra={
                    "reason": error.reason.name,
                    "why": why,
                    "method": method,
                    "user": user,
                    "address": place,
                    "times": times,
                },
            )

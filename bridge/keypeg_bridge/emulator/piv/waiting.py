"""Answers that take time: a touch that has to come, and keys that are long in the making.

Promises: every wait ends, by its event or its limit; an answer of a card that lost its power meanwhile is never given, as
the channel drops it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from keypeg_bridge.emulator.piv.refusal import Refused, ended
from keypeg_bridge.emulator.piv.session import Session
from keypeg_bridge.wire.apdu import Response, Status
from keypeg_bridge.wire.conversation import Pending

TOUCH_SECONDS: Final = 15.0


def with_touch(session: Session, policy: int, work: Callable[[], bytes]) -> bytes | Pending:
    """Do the work once the key is touched, if the policy wants that."""
    if session.touched(policy):
        return work()
    return _Touch(session, policy, work)


class _Touch:
    """Waits for a touch."""

    def __init__(self, session: Session, policy: int, work: Callable[[], bytes]) -> None:
        self._session = session
        self._policy = policy
        self._work = work
        self._until = session.now() + TOUCH_SECONDS
        session.waiting = True

    def poll(self) -> Response | None:
        if self._session.touched(self._policy):
            self._session.waiting = False
            return ended(self._work)
        return self.finish() if self._session.now() >= self._until else None

    def finish(self) -> Response:
        self.cancel()
        return Response(b"", Status.SECURITY_NOT_SATISFIED)

    def cancel(self) -> None:
        self._session.waiting = False


class Computing:
    """Lets a thread compute, and does the rest when it has ended."""

    def __init__(self, compute: Callable[[], bytes], then: Callable[[bytes], bytes]) -> None:
        self._compute = compute
        self._then = then
        self._result: bytes | None = None
        self._thread = threading.Thread(target=self._run, name="emulated-key", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._result = self._compute()

    def poll(self) -> Response | None:
        return None if self._thread.is_alive() else self.finish()

    def finish(self) -> Response:
        self._thread.join()

        def rest() -> bytes:
            if self._result is None:
                raise Refused(Status.UNKNOWN_ERROR)
            return self._then(self._result)

        return ended(rest)

    def cancel(self) -> None:
        """The thread ends by itself; what it has made is dropped."""

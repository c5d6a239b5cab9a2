"""The faults of the field, for a stand-in host.

Promises: every one is one call: refuse, recall, unplug, drop, drain, forget. Each may be called from any thread.

Leaves to others: serving (testing.host), and frames that are tampered with, which it does as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from keypeg import background, errors
from keypeg.errors import KeypegError
from keypeg.testing.pool import StandInPool
from keypeg.testing.sessions import StandInSession
from keypeg.v1 import error_pb2, session_pb2

_T = TypeVar("_T")


class Scripts:
    """What may befall a host, and its sessions."""

    def __init__(self, sessions: dict[str, StandInSession], pool: StandInPool) -> None:
        self.sessions = sessions
        self.pool = pool
        self._check_cloud = False
        self._refusals: list[KeypegError] = []
        self._away: KeypegError | None = None
        self._changed: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def refuse_next_open(self, *refusals: KeypegError) -> None:
        """Refuses the next `open` or `resume` with each of these, one after the other."""
        self._refusals.extend(refusals)

    def guard_cloud_session(self) -> None:
        """From now on `open` needs the account's cloud session on the app's device."""
        self._check_cloud = True

    def end(self, error: KeypegError) -> None:
        """Ends every stream with a status."""

        def ended() -> None:
            for session in self.sessions.values():
                if session.out is not None:
                    session.out.put_nowait(error)

        self._on_loop(ended)

    def drop(self) -> None:
        """Loses every stream, and what is on its way."""
        self.end(errors.Unreachable("The connection is gone."))

    def go_away(self, error: KeypegError | None = None) -> None:
        """Loses every stream and takes no new one, until `come_back`."""
        self._away = error or errors.Unreachable("The server is not there.")
        self.drop()

    def come_back(self) -> None:
        """Takes streams again."""
        self._away = None

    def forget(self) -> None:
        """Loses all sessions and seats, as if their time had run out."""

        def forgotten() -> None:
            for session in self.sessions.values():
                if session.out:
                    session.out.put_nowait(errors.Unreachable("The connection is gone."))
                self.pool.release_all(session)
            self.sessions.clear()

        self._on_loop(forgotten)

    def drain(self, closes_in: timedelta = timedelta(seconds=5)) -> None:
        """Tells every stream that the server goes away."""
        frame = session_pb2.Draining()
        frame.closes_in.FromTimedelta(closes_in)
        self._say(draining=frame)

    def recall(self, reason: str = "The administrator needs it.") -> None:
        """Takes every lease back."""

        def recalled() -> None:
            for name, (session, _) in tuple(self.pool.leases.items()):
                frame = session_pb2.Recalled(lease=name)
                frame.explanation.reason = error_pb2.REASON_LEASE_RECALLED
                frame.explanation.sentence = reason
                session.say(recalled=frame)
                self.pool.release(name)

        self._on_loop(recalled)

    def unplug(self, grace: timedelta = timedelta(seconds=30)) -> None:
        """The key is pulled."""
        frame = session_pb2.Missing(reason=error_pb2.REASON_KEY_UNPLUGGED, resource="keys/stand-in")
        frame.grace.FromTimedelta(grace)
        self._set_key(False)
        self._say(missing=frame)

    def plug_in(self) -> None:
        """The key is back."""
        self._set_key(True)
        self.change(session_pb2.CHANGE_KEY_RETURNED, "keys/stand-in")

    def change(self, change: session_pb2.Change.ValueType, resource: str = "") -> None:
        """Tells every stream that something has changed."""
        self._say(changed=session_pb2.Changed(change=change, resource=resource))

    async def until(self, holds: Callable[[], _T], timeout: float = 10.0) -> _T:
        """Waits until `holds()` is true; looked at whenever a frame, stream or call has come."""
        assert self._changed is not None
        async with asyncio.timeout(timeout):
            while not (value := holds()):
                self._changed.clear()
                await self._changed.wait()
        return value

    def wait_until(self, holds: Callable[[], _T], timeout: float = 10.0) -> _T:
        """`until`, for plain tests."""
        return background.run(self.until(holds, timeout))

    def _say(self, **frame: Any) -> None:
        def said() -> None:
            for session in self.sessions.values():
                session.say(**frame)

        self._on_loop(said)

    def _set_key(self, is_here: bool) -> None:
        for session in self.sessions.values():
            session.key_is_here = is_here

    def _on_loop(self, work: Callable[[], object]) -> None:
        if self._loop is None:  # not started: it is used without a network
            work()
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            work()
        else:
            _called(work, self._loop)


def _called(work: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
    async def called() -> None:
        work()

    done: Coroutine[Any, Any, None] = called()
    asyncio.run_coroutine_threadsafe(done, loop).result()

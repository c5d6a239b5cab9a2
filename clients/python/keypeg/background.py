"""One event loop on one thread, for everything that is used without asyncio.

Promises: the thread starts with the first need and ends with the interpreter, after those who use it have
had a bounded time to say goodbye. A forked child never touches its parent's loop: it is refused with a
sentence, since gRPC's threads do not survive a fork.

Leaves to others: what runs on the loop (session, testing).
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from keypeg.errors import KeypegError, SessionClosed

_T = TypeVar("_T")

EXIT_TIME: Final = 3.0  # s for all goodbyes together when the interpreter ends


class _Background:
    """The loop and its thread."""

    def __init__(self) -> None:
        self.process_id = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.goodbyes: dict[int, Callable[[], Awaitable[None]]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keypeg", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._ready.set)
        self.loop.run_forever()

    @property
    def is_here(self) -> bool:
        """Whether the caller is on the loop's own thread."""
        return threading.current_thread() is self._thread

    def end(self) -> None:
        """Says goodbye, within EXIT_TIME, and stops."""
        if self.process_id != os.getpid():
            return
        with contextlib.suppress(Exception):  # the interpreter is ending: nobody is left to tell
            asyncio.run_coroutine_threadsafe(self._say_goodbye(), self.loop).result(EXIT_TIME)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(EXIT_TIME)

    async def _say_goodbye(self) -> None:
        waiting = [asyncio.ensure_future(goodbye()) for goodbye in self.goodbyes.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=EXIT_TIME * 0.8)


_lock = threading.Lock()
_current: _Background | None = None


def run(
    work: Coroutine[Any, Any, _T],
    during: Callable[[concurrent.futures.Future[Any]], None] | None = None,
) -> _T:
    """Runs it on the loop and waits for it. Ctrl+C cancels it there too.

    `during` is called on the caller's thread with what is waited for, and may return before that is done.
    """
    background = _background(work)
    if background.is_here:
        work.close()
        raise RuntimeError(
            "This call would wait for itself: it is made on keypeg's own thread (from a coroutine "
            "there). Use keypeg.aio in coroutines."
        )
    future = asyncio.run_coroutine_threadsafe(work, background.loop)
    try:
        if during is not None:
            during(future)
        return future.result()
    except BaseException:
        future.cancel()
        raise


def call(work: Callable[[], _T]) -> _T:
    """Calls a function on the loop's thread and waits for what it returns."""
    if _current is not None and _current.is_here:
        return work()

    async def called() -> _T:
        return work()

    return run(called())


def at_exit(owner: object, goodbye: Callable[[], Awaitable[None]]) -> None:
    """Has `goodbye` awaited on the loop when the interpreter ends, unless taken back."""
    if _current is not None:
        _current.goodbyes[id(owner)] = goodbye


def not_at_exit(owner: object) -> None:
    """Takes it back."""
    if _current is not None:
        _current.goodbyes.pop(id(owner), None)


def check_process(process_id: int, what: str = "session") -> None:
    """SessionClosed in a process that was forked from the one that made it."""
    if os.getpid() != process_id:
        raise fork_error(process_id, what)


def fork_error(process_id: int, what: str = "session") -> KeypegError:
    """Why a forked child may not go on with what its parent made."""
    return SessionClosed(
        f"This {what} belongs to process {process_id}, and this is its forked child {os.getpid()}: "
        "a child opens its own. Start children with the 'spawn' method, or fork before the first "
        "session is opened.",
        process_id=str(process_id),
    )


def _background(work: Coroutine[Any, Any, Any]) -> _Background:
    global _current
    with _lock:
        if _current is None:
            _current = _Background()
        elif _current.process_id != os.getpid():
            work.close()
            raise fork_error(_current.process_id, "connection")
        return _current


def _end() -> None:
    if _current is not None:
        _current.end()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    if _current is not None:
        # gRPC's objects do not survive a fork: collected in the child, they crash it.
        gc.freeze()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

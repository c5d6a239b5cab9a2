"""Passwords that are hashed and checked in a process of their own, as far as nobody else wants the processor.

Promises: the process is started when it is first needed, is asked for no more at once than it does at once, and is gone
when the server is. Where it can not be had, or ends, whoever asks is told so, and the next is started seconds later.

Leaves to others: what the process does (argon2id.py), and what is done without an answer (passwords.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import sys
from asyncio.subprocess import PIPE, Process
from dataclasses import astuple
from typing import Any, Final

import structlog

from keypeg_server.service.argon2id import Cost

_LOG: Final = structlog.get_logger("keypegd")
_PROGRAM: Final = "from keypeg_server.service import argon2id; argon2id.serve({at_once})"
_PAUSE: Final = 10.0  # seconds before it is started again


class Aside:
    """The process; `close` ends it."""

    def __init__(self, at_once: int) -> None:
        self._command: tuple[str, ...] = (
            sys.executable,
            "-P",
            "-c",
            _PROGRAM.format(at_once=at_once),
        )
        self._free = asyncio.Semaphore(at_once)
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._started: asyncio.Task[Process | None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._not_before = 0.0  # seconds, of the event loop

    async def matches(self, password: str, kept: str, patience: float) -> bool | None:
        """Whether a password is the one of a PHC string; None when that is not known within so many seconds."""
        right: bool | None = await self._within(patience, password, kept)
        return right

    async def derived(self, password: str, cost: Cost, patience: float) -> str | None:
        """The PHC string to keep of a password; None when there is none within so many seconds."""
        made: str | None = await self._within(patience, password, list(astuple(cost)))
        return made

    async def close(self) -> None:
        """End it, whatever it does; nothing is known to who waits for it."""
        self._not_before = math.inf
        process = None if self._started is None else await self._started
        if process is not None and self._listening is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await self._listening

    async def _within(self, patience: float, *asked: object) -> Any:
        try:
            async with asyncio.timeout(patience):
                await self._free.acquire()
                # Its place is taken until there is an answer, whoever waits for that.
                asking = asyncio.create_task(self._ask(*asked))
                asking.add_done_callback(lambda _: self._free.release())
                return await asyncio.shield(asking)
        except TimeoutError:
            return None

    async def _ask(self, *asked: object) -> Any:
        loop = asyncio.get_running_loop()
        if self._started is None:
            if loop.time() < self._not_before:
                return None
            self._started = asyncio.create_task(self._start())
        started = self._started
        process = await started
        if process is None or process.stdin is None:
            return None
        if self._started is not started or process.stdin.is_closing():
            return None  # it ended, or is about to
        number = next(self._numbers)
        answer: asyncio.Future[Any] = loop.create_future()
        self._answers[number] = answer
        process.stdin.write(json.dumps([number, *asked]).encode() + b"\n")
        return await answer

    async def _start(self) -> Process | None:
        try:
            # In the session and the group of the server: only there its rank counts beside the server's.
            process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE)
        except Exception as error:
            self._ended(f"can not be started: {error}")
            return None
        self._listening = asyncio.create_task(self._listen(process))
        return process

    async def _listen(self, process: Process) -> None:
        """Hand out answers until it ends."""
        assert process.stdout is not None
        said = ""
        try:
            async for line in process.stdout:
                number, found = json.loads(line)
                self._answers.pop(number).set_result(found)
        except (ValueError, TypeError, KeyError):
            said = " after it said what was no answer"
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        self._ended(f"ended with {await process.wait()}{said}")

    def _ended(self, how: str) -> None:
        self._started = None
        if self._not_before != math.inf:
            self._not_before = asyncio.get_running_loop().time() + _PAUSE
            _LOG.warning("the process that checks passwords is gone", how=how)
        unknown, self._answers = self._answers, {}
        for answer in unknown.values():
            answer.set_result(None)

"""One round of load: workers that are kept busy for a while, and what came of it, as load/load.cc counts.

Promises: only what began and ended while it was recorded counts; a wrong or missing answer is an error of the result.

Leaves to others: what a worker does (python_load.py).
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Final

import grpc

from benchmarks.python_session import WrongAnswer

BUCKET: Final = math.log(1.02)  # as in load.cc
ANSWER_SECONDS: Final = 20.0

Operate = Callable[[], Awaitable[None]]


class Run:
    """One round: what was counted, and whether it goes on."""

    def __init__(self, idle: deque[Operate]) -> None:
        self.idle = idle
        self.going = True
        self.recording = False
        self.buckets: Counter[int] = Counter()
        self.errors: list[str] = []

    async def keep_busy(self) -> None:
        """One operation after the other, each by the worker that has waited longest."""
        while self.going and not self.errors:
            operate = self.idle.popleft()
            begun = time.monotonic()
            try:
                await operate()
            except (grpc.RpcError, WrongAnswer, asyncio.InvalidStateError) as error:
                self.errors.append(str(error)[:300])
                return
            if self.recording:
                took = max((time.monotonic() - begun) * 1e6, 1.0)
                self.buckets[int(math.log(took) / BUCKET)] += 1
            self.idle.append(operate)


async def run(idle: deque[Operate], outstanding: int, warm: float, seconds: float) -> None:
    """Work for a while, and say what came of it."""
    going = Run(idle)
    tasks = [asyncio.create_task(going.keep_busy()) for _ in range(outstanding)]
    await asyncio.sleep(warm)
    say(event="recording")
    begun = time.monotonic()
    going.recording = True
    await asyncio.sleep(seconds)
    going.recording = going.going = False
    took = time.monotonic() - begun
    say(event="recorded")
    _, missing = await asyncio.wait(tasks, timeout=ANSWER_SECONDS)
    if missing:
        going.errors.append("answers are missing")
    say(
        event="result",
        operations=sum(going.buckets.values()),
        seconds=took,
        errors=len(going.errors),
        first_error=(going.errors or [""])[0],
        latencies=list(going.buckets.items()),
    )


def say(**fields: object) -> None:
    """One line for who gave the command."""
    print(json.dumps(fields), flush=True)

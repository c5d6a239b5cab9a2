"""The one who waits for the seats of those who are killed.

Promises: the time of each seat is read when the SDK says that it is held, on the clock that the killer reads too.

    python -m crashing.waiter --product P --root HEX

Standard input takes `wait N`: queue for N seats, and `free`: give all seats back. Standard output tells, as lines of
JSON: `queued` once all N wait, `seat` with `at` for each, `freed`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import keypeg.aio
from keypeg import clock, events


def say(event: str, **facts: object) -> None:
    """One line of JSON."""
    print(json.dumps({"event": event, **facts}), flush=True)


class Waiter:
    """A session, and the seats that it has or waits for."""

    def __init__(self, session: keypeg.aio.Session) -> None:
        self._session = session
        self._seats: list[keypeg.aio.Seat] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: set[str] = set()
        self._wanted = 0

    async def hear(self) -> None:
        """Tell when all wait."""
        async for event in self._session.events():
            if isinstance(event, events.Queued) and event.place.name not in self._places:
                self._places.add(event.place.name)
                if len(self._places) == self._wanted:
                    say("queued")

    def wait(self, count: int) -> None:
        """Queue for so many seats."""
        self._places.clear()
        self._wanted = count
        for _ in range(count):
            seat = self._session.seat(wait=True)
            self._seats.append(seat)
            task = asyncio.create_task(self._take(seat))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take(self, seat: keypeg.aio.Seat) -> None:
        await seat.acquire()
        say("seat", at=clock.monotonic())

    async def free(self) -> None:
        """Give all seats back."""
        for seat in self._seats:
            await seat.release()
        self._seats.clear()
        say("freed")


async def play(options: argparse.Namespace) -> None:
    """Until the end of standard input."""
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
    )
    opening = keypeg.aio.open_session(
        options.product, root=options.root, app_name="waiter", locations=["site"]
    )
    async with await opening as session:
        waiter = Waiter(session)
        hearing = asyncio.create_task(waiter.hear())
        say("ready")
        while command := (await commands.readline()).decode().split():
            if command[0] == "wait":
                waiter.wait(int(command[1]))
            else:
                await waiter.free()
        hearing.cancel()


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description="Waits for seats, and tells when it gets them.")
    parser.add_argument("--product", required=True)
    parser.add_argument("--root", required=True)
    asyncio.run(play(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A network that fails on demand: a TCP proxy with a line for each client.

Promises: a line that is cut loses its connections; one that stalls delays both ways until it is healed; one that
is muted lets requests through and swallows the answers, and loses its connections when it is healed. What a client
sent on a line that was cut is not delivered later.

Leaves to others: when (run). It runs on a thread of its own; its methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, TypeVar

PIECE: Final = 65_536  # bytes
_T = TypeVar("_T")


class _Line:
    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.muted = False
        self.writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        for writer in tuple(self.writers):
            writer.transport.abort()


class Proxy:
    """Lines to one server."""

    def __init__(self, target: tuple[str, int]) -> None:
        """`target` is where the server is, whenever it runs."""
        self._target = target
        self._lines: dict[str, _Line] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()

    def line(self, name: str) -> str:
        """A new line; the address to use instead of the server's."""

        async def listen() -> str:
            line = self._lines[name] = _Line()

            async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await self._carry(line, reader, writer)

            server = await asyncio.start_server(taken, "127.0.0.1", 0)
            self._servers.append(server)
            return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

        return asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    def cut(self, name: str) -> None:
        """Break the connections of a line; new ones may be made."""
        self._call(lambda: self._lines[name].cut())

    def stall(self, name: str) -> None:
        """Let nothing through."""
        self._call(lambda: self._lines[name].open.clear())

    def mute(self, name: str) -> None:
        """Swallow the answers."""

        def mute() -> None:
            self._lines[name].muted = True

        self._call(mute)

    def heal(self, name: str) -> None:
        """Let everything through again."""

        def heal() -> None:
            line = self._lines[name]
            if line.muted:  # what was swallowed cannot be told later
                line.cut()
                line.muted = False
            line.open.set()

        self._call(heal)

    def close(self) -> None:
        """End everything."""

        async def end() -> None:
            for server in self._servers:
                server.close()
            for line in self._lines.values():
                line.open.set()
                line.cut()
            if others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others, timeout=5)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Callable[[], _T]) -> _T:
        async def run() -> _T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _carry(
        self, line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line.writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(*self._target)
            line.writers.add(upstream)
            both = [
                asyncio.ensure_future(_pump(line, reader, upstream, answers=False)),
                asyncio.ensure_future(_pump(line, answers, writer, answers=True)),
            ]
            try:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in both:
                    pump.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except OSError:
            pass  # the server is down, as it may be
        finally:
            for end in (writer, upstream):
                if end is not None:
                    line.writers.discard(end)
                    with contextlib.suppress(OSError):
                        end.close()


async def _pump(
    line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            await line.open.wait()
            if writer.transport.is_closing():
                return
            if not (answers and line.muted):
                writer.write(data)
                await writer.drain()

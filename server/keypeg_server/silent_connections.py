"""Connections to the server's ports that say nothing, as records of its log.

gRPC hangs up on them in time and says nothing of it. The system knows of each how much has come; the files of this process
are where its connections are found. Linux alone; elsewhere nothing happens.

Promises: other people's sockets are only asked, never closed nor changed; a look goes on in small pieces, between which
others have their turn, at so many connections at most.

Leaves to others: when to look, and who is silent (domain/silence.py).
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache
from typing import Final, TypeVar

import structlog

from keypeg_server.domain.guessing import place_of
from keypeg_server.domain.noticing import Notices
from keypeg_server.domain.silence import Connection, Seen, Silence
from keypeg_server.repeating import every
from keypeg_server.rpc.peer import plain

_LOG: Final = structlog.get_logger("keypegd")

T = TypeVar("T")

EVERY: Final = 5.0  # seconds
PIECE: Final = 50  # connections are looked at in 0.6 ms
PAUSE: Final = 0.01  # seconds; a look at 10,000 goes on for 4 s
REST: Final = (
    5  # looks that are left out when one has told: once in a minute is what is told at most
)
_FILES: Final = "/proc/self/fd"
# struct tcp_info of linux/tcp.h: its first byte is the state, at 128 stands tcpi_bytes_received.
_INFO_SIZE: Final = 136
_RECEIVED: Final = struct.Struct("=Q")
_RECEIVED_AT: Final = 128
_ESTABLISHED: Final = 1


class SilentConnections:
    """To these ports of this process."""

    def __init__(self, ports: Collection[int], now: Callable[[], float]) -> None:
        """`now`: seconds, monotonic."""
        self._ports = frozenset(ports)
        self._now = now
        self._silence = Silence()
        self._notices = Notices()
        self._rest = 0

    def watch(self) -> asyncio.Task[None]:
        """Look again and again."""
        return every(EVERY, self.look)

    async def look(self) -> None:
        """Tell of those that were silent at the last look and are now."""
        if self._rest:
            self._rest -= 1
            return
        try:
            if not self._silence.is_time(_count_files()):
                return
            told = await self._silent()
        except FileNotFoundError:  # no such system
            return
        if told:
            self._rest = REST
        for place, connections in told.items():
            if times := self._notices.see(place, self._now()):
                _LOG.info(
                    "connections that say nothing",
                    address=place,
                    connections=connections,
                    times=times,
                )

    async def _silent(self) -> dict[str, int]:
        there = [each for each in await _in_pieces(sockets()) if each is not None]
        unknown = self._silence.unknown(there)
        found = await _in_pieces((each, seen(each[0], self._ports)) for each in unknown)
        return self._silence.looked(there, dict(found))


def ports_of(*addresses: str) -> frozenset[int]:
    """The ports of addresses, of those that are not empty."""
    return frozenset(int(each.rpartition(":")[2]) for each in addresses if each)


def sockets() -> Iterator[Connection | None]:
    """All that this process has open; None for each other file, and for each that was closed meanwhile."""
    with os.scandir(_FILES) as files:  # a list of ten thousand would take its time
        for each in files:
            try:
                info = os.fstat(int(each.name))
            except OSError:
                yield None  # a flood ends at once: each of it is a step of the look for all that
                continue
            yield (int(each.name), info.st_ino) if stat.S_ISSOCK(info.st_mode) else None


async def _in_pieces(work: Iterable[T]) -> list[T]:
    """All of it, without haste."""
    done = []
    for number, each in enumerate(work, 1):
        done.append(each)
        if number % PIECE == 0:
            await asyncio.sleep(PAUSE)
    return done


def seen(file: int, ports: Collection[int]) -> Seen | None:
    """A connection to one of these ports; None for any other file, and for what was closed meanwhile."""
    try:
        one = socket.SocketType(
            socket.AF_INET6, socket.SOCK_STREAM, 0, file
        )  # asks nothing of what it is
    except OSError:
        return None
    try:
        info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
        if len(info) < _INFO_SIZE or info[0] != _ESTABLISHED or one.getsockname()[1] not in ports:
            return None
        (received,) = _RECEIVED.unpack_from(info, _RECEIVED_AT)
        return Seen(_place(one.getpeername()[0]), received)
    except OSError:
        return None
    finally:
        one.detach()  # it is gRPC's


@lru_cache(4_096)
def _place(host: str) -> str:
    return place_of(plain(host))


def _count_files() -> int:
    """How many this process has open: at once on Linux from 6.2 on."""
    return os.stat(_FILES).st_size or len(os.listdir(_FILES))

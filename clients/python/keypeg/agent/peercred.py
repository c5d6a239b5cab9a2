"""Who is at the other end of a Unix socket, for a grpc.aio server that can not ask by itself.

Promises: `LocalPort` listens on a public Unix socket (0600), learns the process of each connection from
the kernel (SO_PEERCRED), and relays its bytes to the server's own socket in a private directory. The
relay's end of each connection is bound to a path of its own; gRPC shows that path as `context.peer()`,
and `LocalPort.peer` turns it back into the process. What a client says about itself plays no part.

Leaves to others: the services on the server, and what is done about a process (watcher, service).
Linux only; elsewhere `LocalPort` refuses with a sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import select
import shutil
import socket
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio

_CREDENTIALS: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid
_SO_PEERPIDFD: Final = 77  # Linux 6.5: the peer's pidfd, with no window for a reused pid
_CHUNK: Final = 65_536  # bytes relayed at once
_PATH_SIZE: Final = 107  # bytes; what the kernel takes for the path of a socket
_PEER_PREFIX: Final = "unix:"


@dataclass(frozen=True)
class Peer:
    """The process at the other end. `pidfd` is open as long as its connection; -1: it is gone."""

    process_id: int
    user_id: int
    start_ticks: int  # since boot, as in /proc/PID/stat; tells two processes of one id apart
    pidfd: int

    @property
    def identity(self) -> tuple[int, int]:
        """The same for every connection of one process, and never for two processes."""
        return self.process_id, self.start_ticks


def require_linux() -> None:
    """Refuses where the kernel can not tell who is at the other end, or when a process ends."""
    if not (hasattr(os, "pidfd_open") and hasattr(socket, "SO_PEERCRED")):
        raise OSError(
            errno.ENOTSUP, "The local agent needs Linux: it watches processes through pidfd."
        )


def peer_of(connection: socket.socket) -> Peer:
    """The process at the other end of an accepted connection."""
    size = _CREDENTIALS.size
    process_id, user_id, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    pidfd = _exact_pidfd(connection)
    if pidfd < 0 and process_id > 0:
        with contextlib.suppress(ProcessLookupError):
            pidfd = os.pidfd_open(process_id)
        if pidfd >= 0 and _at_end(connection):
            # The one who connected has gone: the id may be another process by now.
            os.close(pidfd)
            pidfd = -1
    return Peer(process_id, user_id, start_ticks(process_id), pidfd)


def start_ticks(process_id: int) -> int:
    """When a process started, in clock ticks since boot; 0 when there is no such process."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    after_name = text.rpartition(")")[2].split()  # the name may hold anything, also brackets
    return int(after_name[19])  # field 22 of proc(5); the name is field 2


def has_exited(pidfd: int) -> bool:
    """True once the process has ended, reaped or not."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


def _exact_pidfd(connection: socket.socket) -> int:
    try:
        pidfd = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return -1
    os.set_inheritable(pidfd, False)
    return pidfd


def _at_end(connection: socket.socket) -> bool:
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLRDHUP)
    return any(event & (select.POLLRDHUP | select.POLLHUP) for _, event in poller.poll(0))


class LocalPort:
    """A public Unix socket in front of a grpc.aio server.

    port = LocalPort(path)
    port.add_to(server)        # before server.start()
    await server.start()
    await port.open()          # from now on clients are served
    ...
    await port.close()         # before or after server.stop()
    """

    def __init__(self, path: Path) -> None:
        require_linux()
        self.path = path
        if len(os.fsencode(path)) > _PATH_SIZE:
            raise OSError(
                errno.ENAMETOOLONG, f"The path of a socket has at most {_PATH_SIZE} bytes: {path}"
            )
        self._private = Path(tempfile.mkdtemp(prefix="keypeg-"))  # 0700
        self._inner = self._private / "s"
        self._peers: dict[str, Peer] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def target(self) -> str:
        """What clients connect to."""
        return f"unix:{self.path}"

    def add_to(self, server: grpc.aio.Server) -> None:
        """Gives the server its own end; call it before the server starts."""
        server.add_insecure_port(f"unix:{self._inner}")

    def peer(self, context_peer: str) -> Peer | None:
        """The process behind `context.peer()`; None when it did not come through this port."""
        return self._peers.get(context_peer.removeprefix(_PEER_PREFIX))

    async def open(self) -> None:
        """Listens. A socket left by a program that died is replaced; that of a living one is not."""
        listening = _listen(self.path)
        self._server = await asyncio.start_unix_server(self._relay, sock=listening)

    async def close(self) -> None:
        """Ends all connections and takes the socket away."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        shutil.rmtree(self._private, ignore_errors=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = None
        bound = ""
        try:
            connection: socket.socket = writer.get_extra_info("socket")
            peer = peer_of(connection)
            bound = str(self._private / f"c-{peer.process_id}-{next(self._numbers)}")
            self._peers[bound] = peer
            inner_reader, inner_writer = await _connect(self._inner, bound)
            try:
                await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
            finally:
                inner_writer.close()
        except OSError:
            pass  # the server is going away: the client sees its connection end
        except asyncio.CancelledError:
            pass  # the port closes; nobody awaits this task for a result, and asyncio would log it
        finally:
            writer.close()
            self._peers.pop(bound, None)
            if bound:
                _unlink(bound)
            if peer is not None and peer.pidfd >= 0:
                os.close(peer.pidfd)
            self._tasks.discard(task)


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.is_socket():
        if _answers(path):
            raise OSError(errno.EADDRINUSE, f"Another program listens on {path} already.")
        path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)  # before listen: nobody could connect until now
        listening.listen(1024)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(str(path))
        except BlockingIOError:
            return True  # a full backlog: somebody is there, only slow
        except OSError:
            return False
    return True


async def _connect(inner: Path, bound: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        end.bind(bound)
        end.setblocking(False)
        await asyncio.get_running_loop().sock_connect(end, str(inner))
        return await asyncio.open_unix_connection(sock=end, limit=_CHUNK)
    except BaseException:
        end.close()
        raise


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Moves bytes one way until the end, and passes the end on."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    except (ConnectionError, TimeoutError):
        pass  # a peer that was killed: the other side sees an end
    finally:
        with contextlib.suppress(OSError, RuntimeError):
            if writer.can_write_eof():
                writer.write_eof()


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)  # the directory may be gone already

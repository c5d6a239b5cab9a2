"""What gRPC writes on standard error, as records of the server's log.

The library tells a program nothing of connections that end before a call; it writes why, to file 2, if it is let
(GRPC_VERBOSITY). So file 2 is a file in the data directory while the server runs, and Python's own standard error a copy
of what it was. A file, not a pipe: a full pipe would hold up gRPC's threads, and a file is still there after a crash: what
is in it then are the last words of the process before, and the next start logs them.

Promises: the file is emptied each second, and gone after a clean end; of what comes in one second so much is read at most.
Where an operator has set GRPC_VERBOSITY, or there can be no such file, file 2 stays what it is.

Leaves to others: what the lines mean (domain/grpc_lines.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

import structlog

from keypeg_server.domain.grpc_lines import Record, last_words, records
from keypeg_server.domain.noticing import Notices
from keypeg_server.repeating import every

_LOG: Final = structlog.get_logger("keypegd")

FILE: Final = "grpc.log"
EVERY: Final = 1.0  # seconds
AT_ONCE: Final = 1 << 17  # bytes: some 600 handshakes that failed, in 3 ms
LINE: Final = 4_096  # bytes of a line that has not ended yet
_VERBOSITY: Final = "GRPC_VERBOSITY"
_STANDARD_ERROR: Final = 2


class GrpcWords:
    """Of one process. `begin` makes one, before gRPC has begun."""

    def __init__(self, file: int, path: Path, before: TextIO, now: Callable[[], float]) -> None:
        self._file = file
        self._path = path
        self._before = before
        self._now = now  # seconds, monotonic
        self._read = 0  # bytes of the file
        self._begun = b""  # a line that has not ended
        self._notices = Notices()
        self._said(last_words(self._new().decode(errors="replace")))
        writing = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._copy = os.fdopen(
            os.dup(_STANDARD_ERROR),
            "w",
            buffering=1,
            encoding=before.encoding,
            errors=before.errors,
        )
        _log_to(before, self._copy)
        os.dup2(writing, _STANDARD_ERROR)
        os.close(writing)

    @classmethod
    def begin(cls, data: Path, now: Callable[[], float]) -> GrpcWords | None:
        """Take what gRPC writes from now on; None where that can not be, or is not wanted."""
        if _VERBOSITY in os.environ:
            return None
        os.environ[_VERBOSITY] = "NONE"  # its own words on a fault would stand among ours
        before = sys.stderr
        path = data / FILE
        try:
            if before.fileno() != _STANDARD_ERROR:
                return None
            file = _take(path)
        except (OSError, AttributeError, ValueError):  # closed, or none
            return None
        try:
            made = cls(file, path, before, now)
        except OSError:
            os.close(file)
            return None
        os.environ[_VERBOSITY] = "INFO"
        return made

    def watch(self) -> asyncio.Task[None]:
        """Tell again and again what there is."""
        return every(EVERY, self._look)

    def end(self, *, tell: bool = True) -> None:
        """Give standard error back; nothing is left."""
        with contextlib.suppress(OSError):
            if tell:
                self.look()
            if os.stat(self._path).st_ino == os.fstat(self._file).st_ino:
                self._path.unlink()
        os.dup2(self._copy.fileno(), _STANDARD_ERROR)
        _log_to(self._copy, self._before)
        self._copy.close()
        os.close(self._file)

    async def _look(self) -> None:
        self.look()

    def look(self) -> None:
        """Tell what is new."""
        lines, end, begun = (self._begun + self._new()).rpartition(b"\n")
        if len(begun) > LINE:
            lines, begun = lines + end + begun, b""
        self._begun = begun
        for record in records(lines.decode(errors="replace")):
            self._tell(record)

    def _new(self) -> bytes:
        """What was written since the last time. A line that comes just then is lost: one of a count."""
        size = os.fstat(self._file).st_size
        if size <= self._read:
            return b""
        found = os.pread(self._file, min(size - self._read, AT_ONCE), self._read)
        if (more := size - self._read - len(found)) > 0:
            self._tell(
                Record("gRPC says more than is read", "warning", ("more",), {"bytes": str(more)})
            )
        self._read = size
        os.ftruncate(self._file, 0)
        self._read = 0
        return found

    def _tell(self, record: Record) -> None:
        if times := self._notices.see(record.kind, self._now()):
            tell = {"info": _LOG.info, "warning": _LOG.warning, "error": _LOG.error}[record.level]
            tell(record.event, **record.fields, times=times)

    def _said(self, words: str) -> None:
        if words:
            _LOG.warning("last words of the process before", said=words)


def _take(path: Path) -> int:
    """The file for this process alone; OSError when it can not be."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(file, 0o600)
        if os.stat(path).st_ino != os.fstat(file).st_ino:
            raise FileNotFoundError(path)  # another process has just ended, and removed it
    except BaseException:
        os.close(file)
        raise
    return file


def _log_to(old: TextIO, new: TextIO) -> None:
    """Python's standard error from now on, and what logs to it."""
    sys.stderr = new
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)

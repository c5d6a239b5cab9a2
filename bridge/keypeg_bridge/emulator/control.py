"""The control socket of an emulated key: one JSON object a line, in and out, on a Unix socket of its owner's.

Commands and their fields are those of `serving.Laboratory`. Every answer has `ok`; a refusal has `error`, a sentence. Both
ends are here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from keypeg_bridge.emulator.errors import EmulatorError

MAX_LINE: Final = 262_144  # bytes; a command has about 20, a script up to 10,000 steps
MAX_ANSWER: Final = 4 * 1024 * 1024  # bytes; a full history has about 400 kB
MAX_PATH: Final = 107  # bytes of a Unix socket's path on Linux

Handler = Callable[[str, dict[str, Any]], dict[str, Any]]


class ControlServer:
    """Answers commands with `handler(command, request)`, which gives the answer's fields or raises `EmulatorError`."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Bind the socket, mode 0600; a socket nobody answers on is replaced, a live one is not."""
        _clear_stale(self._path)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._accept, str(self._path), limit=MAX_LINE
            )
        except OSError as error:
            raise EmulatorError(
                f"Cannot make the control socket {self._path}: {error.strerror or error}."
                " Choose another path with --control."
            ) from error
        finally:
            os.umask(before)

    async def close(self) -> None:
        """End all connections and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for writer in list(self._writers):
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except ValueError:  # a line over the limit: there is no telling where the next begins
            writer.write(json.dumps({"ok": False, "error": "The line is too long."}).encode())
            writer.write(b"\n")
        except OSError:
            pass
        except asyncio.CancelledError:
            pass  # the server is closing; nobody awaits this task for a result
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            command = request["command"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"ok": False, "error": 'Expected a line like {"command": "status"}.'}
        if not isinstance(command, str):
            return {"ok": False, "error": "The command must be a string."}
        try:
            return {"ok": True, **self._handler(command, request)}
        except EmulatorError as error:
            return {"ok": False, "error": str(error)}


def _clear_stale(path: Path) -> None:
    if len(os.fsencode(path)) > MAX_PATH:
        raise EmulatorError(
            f"The control socket's path is longer than {MAX_PATH} bytes: {path}. Choose a shorter one."
        )
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise EmulatorError(
            f"{path} exists and is not a socket. Choose another path with --control."
        )
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise EmulatorError(
        f"Another keypeg-emukey answers on {path}. End that one, or choose another path with"
        " --control."
    )


def call(path: Path | str, command: str, /, *, timeout: float = 5, **fields: Any) -> dict[str, Any]:
    """Send one command and give the answer's fields; `EmulatorError` when refused or unreachable."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({**fields, "command": command}).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n") and len(line) < MAX_ANSWER:
                received = connection.recv(MAX_LINE)
                if not received:
                    break
                line += received
        except OSError as error:
            raise EmulatorError(
                f"No emulated key answers on {path}: {error.strerror or error}. Is keypeg-emukey"
                " serving with this --control path?"
            ) from error
    try:
        answer: dict[str, Any] = json.loads(line)
        if answer["ok"] is not True:
            raise EmulatorError(str(answer["error"]))
    except (ValueError, KeyError, TypeError) as error:
        raise EmulatorError(f"The answer on {path} is not one of keypeg-emukey.") from error
    return answer

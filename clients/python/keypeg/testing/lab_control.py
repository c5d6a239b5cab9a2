"""The client's end of an emulated key's control socket: one JSON object a line (docs/labs.md, "The control socket").

Promises: a refusal is a `LabError` with the sentence of the key; nothing hangs.

Leaves to others: what the commands are.
"""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any, Final

from keypeg.testing.lab_errors import LabError

ANSWER_SECONDS: Final = 10.0  # for what takes milliseconds, on a busy computer
MAX_ANSWER: Final = 4 * 1024 * 1024  # bytes; a full history has about 400 kB
_PIECE: Final = 65_536


def ask(path: Path | str, command: str, /, **fields: Any) -> dict[str, Any]:
    """The answer to one command."""
    line = json.dumps({**fields, "command": command}).encode() + b"\n"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(path))
            connection.sendall(line)
            answer = _line(connection)
        except OSError as error:
            raise LabError(
                f"No emulated key answers on {path}: {error.strerror or error}. Is the laboratory"
                " running?"
            ) from error
    try:
        said: dict[str, Any] = json.loads(answer)
        refused = said["ok"] is not True
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"The answer on {path} is not one of an emulated key.") from error
    if refused:
        raise LabError(str(said.get("error")))
    return said


def _line(connection: socket.socket) -> bytes:
    answer = b""
    while not answer.endswith(b"\n") and len(answer) < MAX_ANSWER:
        received = connection.recv(_PIECE)
        if not received:
            break
        answer += received
    return answer

"""What the log of a real server tells."""

from __future__ import annotations

import json
import threading

from lab.processes import START_TIMEOUT, LabError
from lab.world import World


def said(world: World, event: str, **fields: object) -> bool:
    """Whether the server's log has such an event with these fields."""
    assert world.server is not None
    for line in world.server.log.read_text().splitlines():
        found = json.loads(line) if line.startswith("{") else {}
        if found.get("event") == event and fields.items() <= found.items():
            return True
    return False


def logged(world: World, *words: str) -> str:
    """The first line of the server's log with all of these words; it is waited for."""
    assert world.server is not None
    tick = threading.Event()
    for _ in range(int(START_TIMEOUT / 0.05)):
        for line in world.server.log.read_text().splitlines():
            if all(word in line for word in words):
                return line
        tick.wait(0.05)
    raise LabError(f"the server did not log {words}.{world.server.tail()}")

"""What the log of a real server tells."""

from __future__ import annotations

import json

from lab.world import World


def said(world: World, event: str, **fields: object) -> bool:
    """Whether the server's log has such an event with these fields."""
    assert world.server is not None
    for line in world.server.log.read_text().splitlines():
        found = json.loads(line) if line.startswith("{") else {}
        if found.get("event") == event and fields.items() <= found.items():
            return True
    return False

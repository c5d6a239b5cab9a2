"""Which faults happen when: all of them from a seed, before the run begins.

Promises: pure; the same seed, clients and durations give the same plan. Everybody who is stopped, stalled or muted
goes on again within a bounded time.

Leaves to others: doing it (run), at about these times: a slow machine is late.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

KINDS: Final = {
    "kill_client": 4,
    "stop_client": 4,
    "kill_server": 3,
    "restart_server": 1,
    "stop_server": 2,
    "step_server": 2,
    "step_client": 1,
    "cut": 2,
    "stall": 2,
    "mute": 3,
}
"""Every kind of fault, and how often it is chosen beside the others."""

SERVER: Final = frozenset({"kill_server", "restart_server", "stop_server", "step_server"})
DOWN: Final = frozenset({"kill_server", "restart_server", "stop_server"})
UP: Final = (
    2.5  # grants from one outage to the next: every start gives each session a full grant again
)
NETWORK: Final = frozenset({"cut", "stall", "mute"})
PAUSE: Final = (0.3, 1.3)  # seconds between two faults
HOURS: Final = 30  # at most so far a clock is stepped


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    at: float  # seconds from the start of the faults
    kind: str
    target: str = ""  # a client's name; empty for the server
    lasting: float = 0.0  # seconds
    step: int = 0  # seconds that a clock is stepped to, from the true time


def plan(
    seed: int,
    seconds: float,
    clients: Sequence[str],
    proxied: Sequence[str],
    grant: float,
    kinds: Sequence[str] = tuple(KINDS),
) -> tuple[Fault, ...]:
    """The faults of a run; only of these kinds."""
    rng = random.Random(f"faults {seed}")
    usable = [kind for kind in kinds if (proxied if kind in NETWORK else clients)]
    weights = [KINDS[kind] for kind in usable]
    faults: list[Fault] = []
    at = rng.uniform(*PAUSE)
    quiet_until = 0.0
    while at < seconds and usable:
        (kind,) = rng.choices(usable, weights)
        if kind in DOWN and at < quiet_until:
            at += rng.uniform(*PAUSE)
            continue
        target = "" if kind in SERVER else rng.choice(proxied if kind in NETWORK else clients)
        step = rng.choice((-1, 1)) * rng.randrange(1, HOURS) * 3600 if "step" in kind else 0
        faults.append(Fault(at, kind, target, _lasting(rng, kind, grant), step))
        if kind in DOWN:
            quiet_until = at + UP * grant
        at += rng.uniform(*PAUSE)
    return tuple(faults)


def _lasting(rng: random.Random, kind: str, grant: float) -> float:
    match kind:
        case "stop_client":
            return rng.choice((rng.uniform(0.2, 0.9), rng.uniform(0.9, 1.6))) * grant
        case "stop_server":
            return rng.choice((rng.uniform(0.1, 0.6), rng.uniform(0.6, 1.4))) * grant
        case "kill_server" | "restart_server":
            return rng.choice((0.0, 0.0, rng.uniform(0.0, 1.5))) * grant
        case "stall" | "mute":
            return rng.uniform(0.2, 1.2) * grant
        case _:
            return 0.0

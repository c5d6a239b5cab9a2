"""Which faults happen when: all of them from a seed, before the run begins.

Promises: pure; the same seed, targets and durations give the same plan. Whatever is stopped, slowed, cut off or muted
goes on again within a bounded time.

Leaves to others: doing it (playing), at about these times: a slow machine is late.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how often it is chosen beside the others, and whom it strikes."""

    weight: int
    whom: str  # a group of targets
    disturbs: bool = False  # every session: after it, each may have a full grant again


KINDS: Final[Mapping[str, Kind]] = {
    "kill_client": Kind(4, "client"),
    "stop_client": Kind(4, "client"),
    "step_client": Kind(1, "client"),
    "kill_server": Kind(3, "server", disturbs=True),
    "restart_server": Kind(1, "server", disturbs=True),
    "stop_server": Kind(2, "server", disturbs=True),
    "step_server": Kind(2, "server"),
    "slow_disk": Kind(2, "disk"),
    "cut": Kind(2, "proxied"),
    "stall": Kind(2, "proxied"),
    "mute": Kind(3, "proxied"),
    "drop": Kind(2, "relayed"),
    "double": Kind(2, "relayed"),
    "part": Kind(3, "networked"),
    "part_server": Kind(3, "networked_server", disturbs=True),
    "part_database": Kind(3, "networked_server", disturbs=True),
    "kill_database": Kind(2, "database", disturbs=True),
    "stop_database": Kind(1, "database", disturbs=True),
}
"""Every kind of fault."""

GROUPS: Final = frozenset(kind.whom for kind in KINDS.values())
STEPS: Final = frozenset({"step_client", "step_server"})

UP: Final = 2.5  # grants from one disturbance to the next
PAUSE: Final = (0.3, 1.3)  # seconds between two faults
HOURS: Final = 30  # at most so far a clock is stepped
DISK: Final = (20, 1500)  # milliseconds that a slow disk takes longer


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault."""

    at: float  # seconds from the start of the faults
    kind: str
    target: str
    lasting: float = 0.0  # seconds
    amount: int = 0  # seconds that a clock is stepped to from the true time; milliseconds of a disk


def plan(
    seed: int,
    seconds: float,
    targets: Mapping[str, Sequence[str]],
    grant: float,
    kinds: Sequence[str] = tuple(KINDS),
    stretch: float = 1.0,
) -> tuple[Fault, ...]:
    """The faults of a run; only of these kinds, and only of those whose group has targets.

    They last, and all are left in peace after one that disturbs all, `stretch` times as long as usual.
    """
    rng = random.Random(f"faults {seed}")
    usable = [kind for kind in kinds if targets.get(KINDS[kind].whom)]
    weights = [KINDS[kind].weight for kind in usable]
    faults: list[Fault] = []
    at = rng.uniform(*PAUSE)
    quiet_until = 0.0
    while at < seconds and usable:
        (kind,) = rng.choices(usable, weights)
        if KINDS[kind].disturbs and at < quiet_until:
            at += rng.uniform(*PAUSE)
            continue
        target = rng.choice(targets[KINDS[kind].whom])
        lasting = stretch * _lasting(rng, kind, grant)
        faults.append(Fault(at, kind, target, lasting, _amount(rng, kind)))
        if KINDS[kind].disturbs:
            quiet_until = at + stretch * UP * grant
        at += rng.uniform(*PAUSE)
    return tuple(faults)


def _amount(rng: random.Random, kind: str) -> int:
    if kind in STEPS:
        return rng.choice((-1, 1)) * rng.randrange(1, HOURS) * 3600
    return rng.randint(*DISK) if kind == "slow_disk" else 0


def _lasting(rng: random.Random, kind: str, grant: float) -> float:
    match kind:
        case "stop_client" | "part":
            return rng.choice((rng.uniform(0.2, 0.9), rng.uniform(0.9, 1.6))) * grant
        case "stop_server" | "stop_database" | "part_server" | "part_database":
            return rng.choice((rng.uniform(0.1, 0.6), rng.uniform(0.6, 1.4))) * grant
        case "kill_server" | "restart_server" | "kill_database":
            return rng.choice((0.0, 0.0, rng.uniform(0.0, 1.5))) * grant
        case "stall" | "mute" | "drop" | "double" | "slow_disk":
            return rng.uniform(0.2, 1.2) * grant
        case _:
            return 0.0

"""What several leases share in a pool with rules, and what a change of that comes to.

Promises: what a seat is, and no more: whoever changes one counts it anew.

Leaves to others: counting (pool_book.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from keypeg_server.domain.lease import Features, Lease


class Seat:
    """What the leases of one subject take together."""

    __slots__ = ("features", "leases", "limits", "reservation", "units")

    def __init__(self) -> None:
        self.leases: dict[str, Lease] = {}
        self.units = 0
        self.features: dict[str, int] = {}
        self.reservation: int | None = None  # of the one who has been there longest
        self.limits: frozenset[tuple[int, str]] = frozenset()  # of all


@dataclass(frozen=True, slots=True)
class Delta:
    """By how much a change raises what is held."""

    units: int
    features: Features

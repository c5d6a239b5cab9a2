"""Addresses, and how one client reaches them.

Promises: plain frozen values.

Leaves to others: what lies between (ways).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Address = tuple[str, int]


@dataclass(frozen=True)
class Line:
    """How one client reaches the servers."""

    address: str  # host:port of each, with commas
    under: tuple[str, ...] = ()  # what starts its program


def joined(addresses: Iterable[Address]) -> str:
    """Addresses as clients take them."""
    return ",".join(f"{host}:{port}" for host, port in addresses)

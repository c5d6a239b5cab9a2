"""What a request for a seat says, whether it takes one (seat_take.py) or only asks about one (seat.py).

Promises: the fields that both requests have, by their names in the contract.

Leaves to others: what else each says, and sending it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from keypeg.cli.context import Cli

if TYPE_CHECKING:
    from keypeg.cli.link import Link


async def asked(
    cli: Cli,
    link: Link,
    pool: str,
    account: str | None,
    *,
    units: int,
    wanted: Iterable[tuple[str, int | None]],
    priority: int,
) -> dict[str, Any]:
    """Units and features of a pool, for this computer."""
    from keypeg.cli import resolve
    from keypeg.v1 import product_pb2, session_pb2

    return {
        "pool": await resolve.pool_name(link, pool, account),
        "units": units,
        "features": [
            product_pb2.FeatureUnits(feature=name, units=one or 1) for name, one in wanted
        ],
        "device": cli.device(),
        "app": session_pb2.App(name="keypeg seat", version=cli.version, sdk=cli.sdk),
        "priority": priority,
    }

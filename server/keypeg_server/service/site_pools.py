"""The pools of an activation at a site: one for each product that its license opens, within a unit of work.

Promises: each has the seats and the counted features of the license, its record, and its event.

Leaves to others: the activation itself (placing.py), seats (pools.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from keypeg import names
from keypeg_server.domain.events import PoolCreated
from keypeg_server.domain.license import Activation, License, SeatPool
from keypeg_server.domain.product import Product
from keypeg_server.service.store import NewPool, Unit


def with_pools(
    unit: Unit,
    license: License,
    product: Product,
    activation: Activation,
    new_id: Callable[[], str],
    now: datetime,
) -> Activation:
    """The activation, with the names of its pools, which are made."""
    counted = tuple(
        (feature.id, feature.seat_count) for feature in license.features if feature.seat_count
    )
    pools = []
    for opened in product.opens:
        id = new_id()
        pool = NewPool(
            id=id,
            account=names.ACCOUNT.build(license.account),
            product=opened,
            activation=activation.name,
            seat_count=license.seat_count,
            features=counted,
            create_time=now,
        )
        unit.licenses.add_pool(pool)
        unit.record(
            pool.account,
            "pool_created",
            pool=id,
            product=opened,
            activation=activation.name,
            seats=license.seat_count,
            features=dict(counted),
        )
        pools.append(SeatPool(names.POOL.build(id), opened))
        unit.publish(PoolCreated(names.POOL.build(id)))
    return replace(activation, pools=tuple(pools))

"""What happened in pools, from the domain's words to the contract's.

Leaves to others: who may see what (domain/pool_event.py).
"""

from __future__ import annotations

from keypeg import names
from keypeg.v1 import pool_event_pb2 as pb
from keypeg_server.domain.pool_event import PoolEvent
from keypeg_server.service import frames


def event(happened: PoolEvent) -> pb.PoolEvent:
    """An event; names where the log has ids."""
    shown = pb.PoolEvent(
        sequence=happened.sequence,
        time=frames.timestamp(happened.time_us),
        kind=happened.kind.value,  # type: ignore[arg-type]  # equal by test
        record=happened.record,
        pool=names.POOL.build(happened.pool),
        user=happened.user,
        device=happened.device,
        host_name=happened.host,
        app=happened.app,
        process_id=happened.process,
        address=happened.address,
        by=happened.by,
        units=happened.units,
        features=frames.features(happened.features),
        fencing_number=happened.fencing,
        overdraft=happened.overdraft,
        how=happened.how,
        reason=happened.reason.removeprefix("REASON_"),
        rule=happened.rule,
        count=happened.count,
        priority=happened.priority,
    )
    if happened.borrow:
        shown.resource = names.BORROW.build(happened.pool, happened.borrow)
    elif happened.lease:
        shown.resource = names.LEASE.build(happened.pool, happened.lease)
    elif happened.place:
        shown.resource = names.PLACE.build(happened.pool, happened.place)
    if happened.session:
        shown.session = names.SESSION.build(happened.session)
    if happened.since_us:
        shown.since_time.CopyFrom(frames.timestamp(happened.since_us))
    if happened.until_us:
        shown.until_time.CopyFrom(frames.timestamp(happened.until_us))
    return shown

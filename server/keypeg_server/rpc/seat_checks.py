"""What requests about seats, borrowed ones, pools and reports have to be: rules for validate.py.

Promises: as there: one rule for every field, as the contract's comments say.

Leaves to others: what a pool decides (domain/pool.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.v1.pool_event_pb2 import PoolEventKind
from keypeg_server.rpc import borrow_checks
from keypeg_server.rpc.checks import (
    PAGE,
    anything,
    duration,
    each,
    message,
    name,
    number,
    one_of,
    optional,
    text,
    timestamp,
    uuid,
)
from keypeg_server.rpc.parts import (
    ACCOUNT,
    APP,
    DEVICE,
    PERIOD,
    POOL,
    POOL_RULES,
    PRODUCT,
    UNITS,
    Fields,
)

_LEASE: Final = name(names.LEASE)
_BORROW: Final = name(names.BORROW)
_TTL: Final = duration(timedelta(seconds=10), timedelta(hours=1))

RULES: Final[Mapping[str, Fields]] = {
    "AcquireSeatRequest": {
        "request_id": uuid,
        "pool": POOL,
        "units": number(0, 10_000),
        "features": UNITS,
        "ttl": _TTL,
        "device": message(DEVICE),
        "app": message(APP),
        "wait": duration(timedelta(0), timedelta(seconds=60)),
        "priority": number(-100, 100),
    },
    "LeaveQueueRequest": {"name": name(names.PLACE)},
    "RenewSeatRequest": {"name": _LEASE, "fencing_number": anything, "ttl": _TTL},
    "ReleaseSeatRequest": {"name": _LEASE, "fencing_number": anything},
    "FreeSeatRequest": {
        "name": _LEASE,
        "request_id": uuid,
        "reason": text(1, 500),
        "hold_off": PERIOD,
    },
    "GetPoolRequest": {"name": POOL},
    "ListPoolsRequest": {"parent": ACCOUNT, "product": optional(PRODUCT), **PAGE},
    "ListLeasesRequest": {"parent": POOL, **PAGE},
    "ListQueuePlacesRequest": {"parent": POOL, **PAGE},
    "GetPoolRulesRequest": {"name": POOL},
    "UpdatePoolRulesRequest": {
        "name": POOL,
        "rules": message(POOL_RULES),
        "dry_run": anything,
    },
    "WatchPoolRequest": {"parent": name(names.POOL, names.ACCOUNT)},
    "ListPoolEventsRequest": {
        "parent": name(names.POOL, names.ACCOUNT),
        "begin_time": timestamp,
        "end_time": timestamp,
        "kinds": each(one_of(PoolEventKind), high=20, key=int),
        **PAGE,
    },
    "ExplainRequest": {
        "pool": POOL,
        "units": number(0, 10_000),
        "features": UNITS,
        "device": message(DEVICE),
        "app": message(APP),
        "wait": anything,
        "priority": number(-100, 100),
    },
    "CreateBorrowRequest": {
        "request_id": uuid,
        "pool": POOL,
        "units": number(0, 10_000),
        "features": UNITS,
        "duration": borrow_checks.borrow_duration,
        "device": message(DEVICE),
        "app": message(APP),
        "fingerprint": borrow_checks.fingerprint,
        "return_key": borrow_checks.RETURN_KEY,
    },
    "RenewBorrowRequest": {
        "name": _BORROW,
        "request_id": uuid,
        "duration": borrow_checks.borrow_duration,
    },
    "ReturnBorrowRequest": {"name": _BORROW, "statement": message(borrow_checks.ENVELOPE)},
    "WriteOffBorrowRequest": {
        "name": _BORROW,
        "request_id": optional(uuid),
        "reason": text(0, 500),
        "dry_run": anything,
    },
    "GetBorrowRequest": {"name": _BORROW},
    "ListBorrowsRequest": {"parent": name(names.POOL, names.ACCOUNT), **PAGE},
    "ExportLogRequest": {"parent": name(names.ACCOUNT, names.PUBLISHER)},
    "SimulateSeatsRequest": {
        "parent": ACCOUNT,
        "pool": POOL,
        "seat_counts": each(number(1, 1_000_000), high=16),
        "begin_time": timestamp,
        "end_time": timestamp,
        "rules": message(POOL_RULES, required=False),
    },
}

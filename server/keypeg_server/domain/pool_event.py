"""What happened in pools: records of the log as facts, as far as somebody may see them.

Promises: pure; any record of a pool becomes an event, also one of a kind or with fields that are not known
here (docs/log.md). `seen_by` leaves out who did something from what a member did not do itself.

Leaves to others: reading records (service/history.py, service/watching.py), messages (rpc/event_encode.py).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from keypeg_server.domain.caller import Caller, Right
from keypeg_server.domain.lease import Features


class Kind(enum.Enum):
    """What happened; the numbers are those of the contract's PoolEventKind."""

    OTHER = 0
    ACQUIRED = 1
    QUEUED = 2
    SERVED = 3
    LEFT = 4
    RELEASED = 5
    EXPIRED = 6
    RECALLED = 7
    REFUSED = 8
    RULES_CHANGED = 9
    CREATED = 10
    DELETED = 11
    BORROWED = 12
    RETURNED = 13
    WRITTEN_OFF = 14
    RESIZED = 15


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """One thing that happened; times in microseconds since 1970, 0 for none."""

    sequence: int  # in its account's log; 0 when not known
    time_us: int
    kind: Kind
    record: str  # the log's word
    pool: str  # the pool's id
    lease: str = ""  # its id
    place: str = ""  # its id
    borrow: str = ""  # its id, which is that of its lease
    user: str = ""
    device: str = ""
    host: str = ""
    app: str = ""
    process: int = 0
    address: str = ""
    session: str = ""  # its id
    by: str = ""
    units: int = 0
    features: Features = ()
    fencing: int = 0
    overdraft: bool = False
    since_us: int = 0
    until_us: int = 0
    how: str = ""
    reason: str = ""
    rule: str = ""
    count: int = 0
    priority: int = 0


_KINDS: Final[Mapping[str, Kind | Callable[[Mapping[str, Any]], Kind]]] = {
    "granted": lambda said: Kind.SERVED if said.get("asked") else Kind.ACQUIRED,
    "released": lambda said: Kind.EXPIRED if said.get("how") == "deadline" else Kind.RELEASED,
    "freed": Kind.RECALLED,
    "queued": Kind.QUEUED,
    "left": Kind.LEFT,
    "denied": Kind.REFUSED,
    "denied_more": Kind.REFUSED,
    "pool_rules": Kind.RULES_CHANGED,
    "pool_resized": Kind.RESIZED,
    "pool_created": Kind.CREATED,
    "pool_deleted": Kind.DELETED,
    "borrowed": Kind.BORROWED,
    "borrow_renewed": Kind.BORROWED,
    "borrow_returned": Kind.RETURNED,
    "borrow_ended": Kind.RETURNED,
    "borrow_written_off": Kind.WRITTEN_OFF,
}


def mark_of(pool: str) -> bytes:
    """What stands in every record of the pool with this id, and in others hardly ever; empty: any pool."""
    return b'"pool":"' + (f'{pool}"'.encode() if pool else b"")


def of_record(body: str | bytes, sequence: int = 0) -> PoolEvent | None:
    """The event of a record; None for one that is of no pool, or that can not be read."""
    try:
        said = json.loads(body)
        return _event(said, sequence) if isinstance(said, dict) and said.get("pool") else None
    except (ValueError, TypeError, AttributeError):
        return None


def _event(said: Mapping[str, Any], sequence: int) -> PoolEvent:
    record = str(said.get("event", ""))
    kind = _KINDS.get(record, Kind.OTHER)
    text = {
        name: str(said.get(name) or "")
        for name in (
            "lease",
            "place",
            "borrow",
            "user",
            "device",
            "host",
            "app",
            "address",
            "session",
        )
    }
    features = said.get("features") or {}
    return PoolEvent(
        sequence=sequence,
        time_us=int(said.get("time") or 0),
        kind=kind if isinstance(kind, Kind) else kind(said),
        record=record,
        pool=str(said["pool"]),
        **text,
        process=int(said.get("process") or 0),
        by=str(said.get("by") or ""),
        units=int(said.get("units") or said.get("seats") or 0),
        # Of a pool that came, this is what it has; of all else, what is held or asked for.
        features=tuple(sorted((str(name), int(units)) for name, units in features.items())),
        fencing=int(said.get("fencing") or 0),
        overdraft=bool(said.get("overdraft")),
        since_us=int(said.get("since") or said.get("asked") or 0),
        until_us=int(said.get("until") or said.get("borrowed_until") or 0),
        how=str(said.get("how") or ""),
        reason=str(said.get("reason") or ""),
        rule=str(said.get("rule") or ""),
        count=int(said.get("count") or 0),
        priority=int(said.get("priority") or 0),
    )


def seen_by(event: PoolEvent, account: str, caller: Caller) -> PoolEvent:
    """An event of this account's, as the caller may see it."""
    if caller.may(Right.PEOPLE_READ) and caller.sees_account(account):
        return event
    if event.user and event.user == caller.user:
        return replace(event, by="")
    return replace(
        event,
        user="",
        device="",
        host="",
        process=0,
        address="",
        session="",
        by="",
        # All others than these are what an administrator wrote, of or to somebody.
        reason=event.reason if event.kind is Kind.REFUSED else "",
    )

"""How pools, leases, queue places and what happened are shown.

Promises: pure; the columns of tables and CSV, and an event in a line.

Leaves to others: the commands (seat.py, seat_take.py, seat_watch.py), printing (output.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from keypeg.cli import short
from keypeg.cli.values import Column, Name, Product, State, Value, length, moment, word
from keypeg.cli.when import duration

if TYPE_CHECKING:
    from keypeg.v1 import pool_event_pb2, seat_pb2


def units(one: seat_pb2.Lease | seat_pb2.QueuePlace | pool_event_pb2.PoolEvent) -> tuple[str, ...]:
    """Features as `render=2`."""
    return tuple(f"{f.feature}={f.units}" for f in one.features)


def pool_of(name: str) -> Name:
    """The pool of a lease or of a place."""
    return Name("/".join(name.split("/")[:2]))


POOLS: Final[list[Column[seat_pb2.Pool]]] = [
    Column("POOL", lambda one: Name(one.name)),
    Column("PRODUCT", lambda one: Product(one.product)),
    Column("SEATS", lambda one: one.seat_count, right=True),
    Column("HELD", lambda one: one.held_count, right=True),
    Column("FREE", lambda one: max(0, one.seat_count - one.held_count), right=True),
    Column("WAITING", lambda one: one.waiting_count, right=True),
    Column(
        "FEATURES",
        lambda one: tuple(f"{f.feature} {f.held_count} of {f.seat_count}" for f in one.features),
    ),
]


def place_columns(logins: Mapping[str, str]) -> list[Column[seat_pb2.QueuePlace]]:
    """The columns of a queue place; users by their logins, where they are known."""
    return [
        Column("POSITION", lambda one: one.position, right=True),
        Column("POOL", lambda one: pool_of(one.name)),
        Column("UNITS", lambda one: one.units, right=True),
        Column("PRIORITY", lambda one: one.priority, right=True),
        Column("USER", lambda one: _user(logins, one.user)),
        Column("COMPUTER", lambda one: one.host_name),
        Column("APP", lambda one: one.app),
        Column("PID", lambda one: str(one.process_id or ""), right=True),
        Column("ADDRESS", lambda one: one.address),
        Column("SINCE", lambda one: moment(one, "create_time")),
        Column("ABOUT", lambda one: length(one, "estimated_wait")),
        Column("SESSION", lambda one: Name(one.session)),
        Column("FEATURES", units),
    ]


def lease_columns(logins: Mapping[str, str]) -> list[Column[seat_pb2.Lease]]:
    """The columns of a lease; users by their logins, where they are known."""
    return [
        Column("LEASE", lambda one: Name(one.name)),
        Column("POOL", lambda one: pool_of(one.name)),
        Column("UNITS", lambda one: one.units, right=True),
        Column("USER", lambda one: _user(logins, one.user)),
        Column("COMPUTER", lambda one: one.host_name),
        Column("APP", lambda one: one.app),
        Column("PID", lambda one: str(one.process_id or ""), right=True),
        Column("ADDRESS", lambda one: one.address),
        Column("SINCE", lambda one: moment(one, "acquire_time")),
        Column("LAST SEEN", lambda one: moment(one, "last_seen_time")),
        Column("ENDS", lambda one: moment(one, "expire_time")),
        Column("LOCATION", lambda one: Name(one.location)),
        Column("FENCING", lambda one: one.fencing_number, right=True),
        Column("FEATURES", units),
    ]


def event_columns(logins: Mapping[str, str]) -> list[Column[pool_event_pb2.PoolEvent]]:
    """The columns of what happened; users by their logins, where they are known."""
    return [
        Column("TIME", lambda one: moment(one, "time")),
        Column("WHAT", lambda one: State(what(one))),
        Column("POOL", lambda one: Name(one.pool)),
        Column("UNITS", lambda one: one.units or None, right=True),
        Column("USER", lambda one: _user(logins, one.user)),
        Column("COMPUTER", lambda one: one.host_name),
        Column("APP", lambda one: one.app),
        Column("PID", lambda one: str(one.process_id or ""), right=True),
        Column("ADDRESS", lambda one: one.address),
        Column("SINCE", lambda one: moment(one, "since_time")),
        Column("HOW", lambda one: one.how),
        Column("REASON", lambda one: one.reason),
        Column("RULE", lambda one: one.rule),
        Column("COUNT", lambda one: one.count or None, right=True),
        Column("BY", lambda one: _user(logins, one.by)),
        Column("UNTIL", lambda one: moment(one, "until_time")),
        Column("OF", lambda one: Name(one.resource)),
        Column("FEATURES", units),
    ]


def what(event: pool_event_pb2.PoolEvent) -> str:
    """What happened, in a word; the log's own for kinds that are not known here."""
    from keypeg.v1 import pool_event_pb2

    if not event.kind:
        return event.record.replace("_", "-")
    return word(pool_event_pb2.PoolEventKind, event.kind, "POOL_EVENT_KIND_")


def event_line(
    event: pool_event_pb2.PoolEvent, pools: Mapping[str, str], logins: Mapping[str, str]
) -> str:
    """An event in one line; `pools` are those that have a word."""
    said = [_time(moment(event, "time")), f"{what(event):<13}"]
    said.append(pools.get(event.pool) or short.last(event.pool))
    if event.units:
        said.append(f"{event.units} {'unit' if event.units == 1 else 'units'}")
    said += units(event)
    if event.user or event.app:
        said.append(_who(event.user, event.host_name, event.app, event.process_id, logins))
    since = moment(event, "since_time")
    if since is not None:
        verb = "after" if event.how else "waited"
        said.append(f"{verb} {duration(event.time.ToDatetime(since.tzinfo) - since)}")
    if event.how and event.how != "released":
        said.append(f"({event.how})")
    if event.overdraft:
        said.append("(overdraft)")
    if event.reason:
        said.append(f"{event.reason}{f' ({event.rule})' if event.rule else ''}")
    if event.count > 1:
        said.append(f"{event.count} times")
    if event.by:
        said.append(f"by {logins.get(event.by) or short.last(event.by)}")
    until = moment(event, "until_time")
    if until is not None:
        said.append(f"until {until.astimezone():%Y-%m-%d %H:%M:%S}")
    return "  ".join(said)


def lease_line(lease: seat_pb2.Lease, pool: str, logins: Mapping[str, str]) -> str:
    """Who holds, in one line."""
    who = _who(lease.user, lease.host_name, lease.app, lease.process_id, logins)
    return _held(moment(lease, "acquire_time"), "holds", pool, lease, who)


def place_line(place: seat_pb2.QueuePlace, pool: str, logins: Mapping[str, str]) -> str:
    """Who waits, in one line."""
    who = _who(place.user, place.host_name, place.app, place.process_id, logins)
    return _held(moment(place, "create_time"), f"waits ({place.position})", pool, place, who)


def place_text(place: seat_pb2.QueuePlace) -> str:
    """Where one stands in a queue, for a person who waits."""
    about = length(place, "estimated_wait")
    shown = f"Number {place.position} of {place.waiting_count} in the queue"
    return f"{shown}, about {duration(about)}." if about is not None else f"{shown}."


def _held(
    since: datetime | None,
    verb: str,
    pool: str,
    one: seat_pb2.Lease | seat_pb2.QueuePlace,
    who: str,
) -> str:
    count = f"{one.units} {'unit' if one.units == 1 else 'units'}"
    return "  ".join([_time(since), f"{verb:<13}", pool, count, *units(one), who])


def _time(at: datetime | None) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}" if at is not None else "-"


def _who(user: str, host: str, app: str, process: int, logins: Mapping[str, str]) -> str:
    who = (logins.get(user) or short.last(user)) if user else "somebody"
    inside = ", ".join(part for part in (app, f"pid {process}" if process else "") if part)
    return f"{who}{f' on {host}' if host else ''}{f' ({inside})' if inside else ''}"


def _user(logins: Mapping[str, str], user: str) -> Value:
    return logins.get(user) or Name(user)

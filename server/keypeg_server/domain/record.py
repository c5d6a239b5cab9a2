"""What the usage and audit log says of what happened: JSON objects, one function for each kind.

Promises: pure, and cheap enough to be made for every seat; each record stands by itself (docs/log.md names
its fields): the end of a lease says when it began and what it held.

Leaves to others: the chain (keypeg.log), the disk (storage/log_writer.py), counting denials (service/denials.py).
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from functools import lru_cache
from json.encoder import encode_basestring as _text
from typing import Any, Final, NamedTuple

from keypeg_server.domain.decision import Change, DropLease, DropPlace, PutLease, PutPlace
from keypeg_server.domain.lease import Features, Holder, Lease, Place
from keypeg_server.domain.pool import Pool

KNOWN_POOLS: Final = 4_096  # whose part of a record is remembered
KNOWN_HOLDERS: Final = 20_000  # as many as run at a large site; some 500 bytes each


class Ending(enum.StrEnum):
    """How a lease or a place ended."""

    RELEASED = "released"  # given back by its holder
    CLOSED = "closed"  # its session was closed by the app
    TOKEN = "token"  # its session was ended from outside, by its release token: the app crashed  # noqa: S105
    DEADLINE = "deadline"  # its holder was not heard of in time
    RECALLED = "recalled"  # taken back by an administrator
    RETURNED = "returned"  # borrowed, and given back by its computer
    WRITTEN_OFF = "written_off"  # borrowed, and given up for lost
    BORROW_ENDED = "borrow_ended"  # borrowed, and its document is over


class Entry(NamedTuple):
    """A record on its way into a log."""

    parent: str  # the account or publisher whose log it is
    time_us: int
    body: str  # a JSON object


def of_changes(
    pool: Pool, changes: Iterable[Change], now_us: int, how: Ending = Ending.RELEASED
) -> list[Entry]:
    """What the log says of a decision; `how` is how what ended by it ended."""
    entries: list[Entry] = []
    account = pool.account
    left: dict[str, Place] | None = None
    for change in changes:
        kind = type(change)
        if kind is PutLease:
            if change.before is None:  # type: ignore[union-attr]  # told by its type above
                lease: Lease = change.lease  # type: ignore[union-attr]
                place = left.pop(lease.id, None) if left else None
                entries.append(Entry(account, now_us, _granted(pool, lease, place, now_us)))
        elif kind is DropLease:
            entries.append(Entry(account, now_us, _ended(pool, change.lease, now_us, how)))  # type: ignore[union-attr]
        elif kind is PutPlace:
            entries.append(Entry(account, now_us, _queued(pool, change.place, now_us)))  # type: ignore[union-attr]
        elif kind is DropPlace:
            left = left or {}
            left[change.place.id] = change.place  # type: ignore[union-attr]
    if left:
        entries += [Entry(account, now_us, _left(pool, p, now_us, how)) for p in left.values()]
    return entries


def denied(
    pool: Pool,
    holder: Holder,
    units: int,
    features: Features,
    reason: str,
    rule: str,
    time_us: int,
    *,
    count: int = 1,
    last_us: int = 0,
) -> Entry:
    """A request that was refused, `count` times the same until `last_us`."""
    body = (
        f'{{"event":"denied","time":{time_us},{_where(pool)},{_who(holder)},'
        f'"units":{units}{_features(features)},"reason":{_text(reason)},"rule":{_text(rule)},'
        f'"count":{count},"last":{last_us or time_us}}}'
    )
    return Entry(pool.account, time_us, body)


def denied_more(pool: Pool, reason: str, time_us: int, count: int, last_us: int) -> Entry:
    """Refusals of many askers, counted together because there were too many to tell apart."""
    body = (
        f'{{"event":"denied_more","time":{time_us},{_where(pool)},"reason":{_text(reason)},'
        f'"count":{count},"last":{last_us}}}'
    )
    return Entry(pool.account, time_us, body)


def open_denied(
    account: str,
    holder: Holder,
    product: str,
    reason: str,
    time_us: int,
    *,
    count: int = 1,
    last_us: int = 0,
) -> Entry:
    """A session that was not opened, `count` times the same until `last_us`."""
    body = (
        f'{{"event":"open_denied","time":{time_us},"product":{_text(product)},{_who(holder)},'
        f'"reason":{_text(reason)},"count":{count},"last":{last_us or time_us}}}'
    )
    return Entry(account, time_us, body)


def open_denied_more(account: str, reason: str, time_us: int, count: int, last_us: int) -> Entry:
    """Sessions of many askers that were not opened, counted together because there were too many to tell apart."""
    return about(account, "open_denied_more", time_us, reason=reason, count=count, last=last_us)


def about(parent: str, event: str, time_us: int, **said: Any) -> Entry:
    """Anything else; values are what JSON has. Fields without a value are left out."""
    told = {key: value for key, value in said.items() if value not in ("", None)}
    body = json.dumps(
        {"event": event, "time": time_us, **told}, separators=(",", ":"), ensure_ascii=False
    )
    return Entry(parent, time_us, body)


def _granted(pool: Pool, lease: Lease, place: Place | None, now_us: int) -> str:
    asked = "" if place is None else f',"asked":{place.create_time_us}'
    if lease.overdraft:
        asked += ',"overdraft":true'
    return (
        f'{{"event":"granted","time":{now_us},{_where(pool)},"lease":"{lease.id}",{_who(lease.holder)},'
        f'"units":{lease.units}{_features(lease.features)},"fencing":{lease.fencing_number}{asked}{_borrowed(lease)}}}'
    )


def _ended(pool: Pool, lease: Lease, now_us: int, how: Ending) -> str:
    return (
        f'{{"event":"released","time":{now_us},{_where(pool)},"lease":"{lease.id}",{_who(lease.holder)},'
        f'"units":{lease.units}{_features(lease.features)},"since":{lease.acquire_time_us},"how":"{how.value}"}}'
    )


def _borrowed(lease: Lease) -> str:
    return f',"borrowed_until":{lease.borrowed_until_us}' if lease.borrowed_until_us else ""


def _queued(pool: Pool, place: Place, now_us: int) -> str:
    return (
        f'{{"event":"queued","time":{now_us},{_where(pool)},"place":"{place.id}",{_who(place.holder)},'
        f'"units":{place.units}{_features(place.features)},"priority":{place.priority}}}'
    )


def _left(pool: Pool, place: Place, now_us: int, how: Ending) -> str:
    return (
        f'{{"event":"left","time":{now_us},{_where(pool)},"place":"{place.id}",{_who(place.holder)},'
        f'"units":{place.units}{_features(place.features)},"since":{place.create_time_us},"how":"{how.value}"}}'
    )


def _where(pool: Pool) -> str:
    return _place_of(pool.id, pool.product, pool.activation)


@lru_cache(KNOWN_POOLS)
def _place_of(id: str, product: str, activation: str) -> str:
    return f'"pool":{_text(id)},"product":{_text(product)},"activation":{_text(activation)}'


@lru_cache(KNOWN_HOLDERS)
def _who(holder: Holder) -> str:
    address = f',"address":{_text(holder.address)}' if holder.address else ""
    return (
        f'"user":{_text(holder.user)},"device":{_text(holder.device)},"host":{_text(holder.host_name)},'
        f'"app":{_text(holder.app)},"process":{holder.process_id},"session":{_text(holder.session)}'
        f"{address}"
    )


def _features(features: Features) -> str:
    if not features:
        return ""
    return ',"features":{' + ",".join(f"{_text(id)}:{units}" for id, units in features) + "}"

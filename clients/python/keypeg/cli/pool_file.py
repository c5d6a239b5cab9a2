"""Rules of a pool as a TOML file: read, and written (docs/pool-rules.md).

Promises: `read` refuses what it does not know by its key, and what `written` writes is read as the same rules.
Users stand in files by their logins, where these are known, else by their names.

Leaves to others: whether the rules can be kept (the server), files and who is who (pool.py).
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import click

from keypeg.cli.arguments import Duration
from keypeg.errors import FieldInvalid
from keypeg.v1 import pool_rules_pb2 as pb

KINDS: Final = ("user", "group", "host", "network")
COUNTING: Final[Mapping[str, pb.SeatCounting.ValueType]] = {
    "lease": pb.SEAT_COUNTING_LEASE,
    "process": pb.SEAT_COUNTING_PROCESS,
    "session": pb.SEAT_COUNTING_SESSION,
    "user-and-host": pb.SEAT_COUNTING_USER_AND_HOST,
    "user": pb.SEAT_COUNTING_USER,
}
KEYS: Final = (
    "etag",
    "counting",
    "linger",
    "overdraft",
    "ageing",
    "queue_length",
    "allow",
    "reserve",
    "limit",
    "deny",
    "groups",
    "borrow",
    "write_off",
)
_DURATION: Final = Duration()


def read(text: str, user: Callable[[str], str]) -> pb.PoolRules:
    """The rules in a file; `user` gives the name of a user for a login. FieldInvalid says where."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FieldInvalid(f"The file is no TOML: {error}.") from None
    _only(table, KEYS, "the file")

    def who(value: Any, where: str) -> pb.PoolSubject:
        kind, sign, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if kind not in KINDS or not sign or not name:
            raise _wrong(
                where, f'is {value!r}; write for example "user:mia" or "network:10.0.0.0/8"'
            )
        subject = pb.PoolSubject()
        setattr(subject, kind, user(name) if kind == "user" and name != "*" else name)
        return subject

    rules = pb.PoolRules(
        etag=_take(table, "etag", str, ""),
        overdraft_units=_take(table, "overdraft", int, 0),
        write_off_units=_take(table, "write_off", int, 0),
        allowed=[who(one, "allow") for one in _take(table, "allow", list, [])],
    )
    counting = _take(table, "counting", str, "lease")
    if counting not in COUNTING:
        raise _wrong("counting", f"is {counting!r}, not one of {', '.join(COUNTING)}")
    rules.counting = COUNTING[counting]
    for key, field in (("linger", rules.linger), ("ageing", rules.ageing)):
        if key in table:
            field.FromTimedelta(_length(table[key], key))
    if "queue_length" in table:
        rules.queue_length = _take(table, "queue_length", int, 0)
    if "borrow" in table:
        _read_borrowing(rules.borrowing, _take(table, "borrow", dict, {}), who)
    for entry in _take(table, "reserve", list, []):
        _only(entry, ("for", "units"), "reserve")
        units = _take(entry, "units", int, 0)
        rules.reservations.add(subject=who(entry.get("for"), "reserve.for"), units=units)
    for entry in _take(table, "limit", list, []):
        _only(entry, ("for", "units"), "limit")
        if "units" not in entry:
            raise _wrong("limit.units", "is missing")
        units = _take(entry, "units", int, 0)
        rules.limits.add(subject=who(entry.get("for"), "limit.for"), units=units)
    for entry in _take(table, "deny", list, []):
        _only(entry, ("who", "cut"), "deny")
        cut = _take(entry, "cut", bool, False)
        rules.denied.add(subject=who(entry.get("who"), "deny.who"), cut=cut)
    for name, members in _take(table, "groups", dict, {}).items():
        if not isinstance(members, list):
            raise _wrong(f"groups.{name}", "is no list")
        rules.groups.add(name=name, members=[who(one, f"groups.{name}") for one in members])
    return rules


def written(rules: pb.PoolRules, logins: Mapping[str, str]) -> str:
    """A file that says these rules; `logins` are those of users by their names."""
    lines = [f"etag = {json.dumps(rules.etag)}"] if rules.etag else []
    lines.append(f"counting = {json.dumps(counting(rules))}")
    if rules.HasField("linger"):
        lines.append(f"linger = {json.dumps(_seconds(rules.linger.ToTimedelta()))}")
    if rules.overdraft_units:
        lines.append(f"overdraft = {rules.overdraft_units}")
    if rules.write_off_units:
        lines.append(f"write_off = {rules.write_off_units}")
    if rules.HasField("ageing"):
        lines.append(f"ageing = {json.dumps(_seconds(rules.ageing.ToTimedelta()))}")
    if rules.HasField("queue_length"):
        lines.append(f"queue_length = {rules.queue_length}")
    if rules.allowed:
        lines.append(f"allow = {_list(rules.allowed, logins)}")
    for reservation in rules.reservations:
        shown = json.dumps(who(reservation.subject, logins))
        lines += ["", "[[reserve]]", f"for = {shown}", f"units = {reservation.units}"]
    for limit in rules.limits:
        shown = json.dumps(who(limit.subject, logins))
        lines += ["", "[[limit]]", f"for = {shown}", f"units = {limit.units}"]
    for denial in rules.denied:
        lines += ["", "[[deny]]", f"who = {json.dumps(who(denial.subject, logins))}"]
        if denial.cut:
            lines.append("cut = true")
    if rules.HasField("borrowing"):
        lines += ["", "[borrow]", *_borrowing(rules.borrowing, logins)]
    if rules.groups:
        lines += ["", "[groups]"]
        lines += [f"{json.dumps(g.name)} = {_list(g.members, logins)}" for g in rules.groups]
    return "\n".join(lines) + "\n"


def _read_borrowing(
    lent: pb.PoolBorrowing, table: Any, who: Callable[[Any, str], pb.PoolSubject]
) -> None:
    _only(table, ("longest", "floor", "most", "allow"), "borrow")
    if "longest" not in table:
        raise _wrong("borrow.longest", 'is missing; write for example longest = "7d"')
    lent.longest.FromTimedelta(_length(table["longest"], "borrow.longest"))
    lent.floor_units = _take(table, "floor", int, 0)
    if "most" in table:
        lent.most_units = _take(table, "most", int, 0)
    lent.allowed.extend(who(one, "borrow.allow") for one in _take(table, "allow", list, []))


def _borrowing(lent: pb.PoolBorrowing, logins: Mapping[str, str]) -> list[str]:
    lines = [f"longest = {json.dumps(_seconds(lent.longest.ToTimedelta()))}"]
    if lent.floor_units:
        lines.append(f"floor = {lent.floor_units}")
    if lent.HasField("most_units"):
        lines.append(f"most = {lent.most_units}")
    if lent.allowed:
        lines.append(f"allow = {_list(lent.allowed, logins)}")
    return lines


def counting(rules: pb.PoolRules) -> str:
    """The counting as the file says it."""
    words = {number: word for word, number in COUNTING.items()}
    return words.get(rules.counting, "lease")


def who(subject: pb.PoolSubject, logins: Mapping[str, str]) -> str:
    """A subject as the file says it: `user:mia`."""
    kind = subject.WhichOneof("subject") or "user"
    name = str(getattr(subject, kind))
    return f"{kind}:{logins.get(name, name) if kind == 'user' else name}"


def _list(subjects: Sequence[pb.PoolSubject], logins: Mapping[str, str]) -> str:
    return json.dumps([who(one, logins) for one in subjects], ensure_ascii=False)


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"


def _length(value: Any, key: str) -> timedelta:
    try:
        return _DURATION.convert(value, None, None)
    except click.BadParameter as error:
        raise _wrong(key, f"is wrong: {error.message}") from None


def _take(table: Mapping[str, Any], key: str, kind: type, default: Any) -> Any:
    value: Any = table.get(key, default)
    if type(value) is not kind:
        raise _wrong(key, f"is {value!r}, not of the type {kind.__name__}")
    if isinstance(value, int) and not 0 <= value < 2**32:
        raise _wrong(key, f"is {value}, not 0 or more")
    return value


def _only(table: Any, keys: Sequence[str], where: str) -> None:
    if not isinstance(table, dict):
        raise _wrong(where, "is no table")
    unknown = sorted(set(table) - set(keys))
    if unknown:
        raise _wrong(unknown[0], f"is not known in {where}; it takes {', '.join(keys)}")


def _wrong(key: str, what: str) -> FieldInvalid:
    return FieldInvalid(f"In the rules, {key} {what}.", fields={key: what})

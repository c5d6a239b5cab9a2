"""Whether the rules of a pool can be kept.

Promises: every field that is wrong is told at once, each with what is wrong.

Leaves to others: who may set rules (service/seat_keeping.py), well-formed requests (rpc/validate.py).
"""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_network
from typing import Final

from keypeg import names
from keypeg.errors import FieldInvalid
from keypeg_server.domain.pool_rules import EVERY, Kind, PoolRules, Who

ENTRIES_LIMIT: Final = 1_000  # entries of one list: every holder is held against each once
GROUP_LIMIT: Final = 10_000  # members of one group
TIME_LIMIT_US: Final = 30 * 24 * 3_600 * 1_000_000  # of linger and ageing: 30 days
BORROW_LIMIT_US: Final = 366 * 24 * 3_600 * 1_000_000  # a year: who needs longer, renews


def check(rules: PoolRules, capacity: int) -> None:
    """FieldInvalid, with every field that is wrong, for rules that a pool of this size can not keep."""
    wrong: dict[str, str] = {}
    known = {group.name for group in rules.groups}
    if len(known) < len(rules.groups):
        wrong["groups"] = "define the same group twice"
    for index, group in enumerate(rules.groups):
        _check_list(wrong, f"groups[{index}].members", group.members, GROUP_LIMIT, frozenset())
    groups = frozenset(known)
    _check_list(wrong, "allowed", rules.allowed, ENTRIES_LIMIT, groups)
    for name, whos in (
        ("reservations", [one.who for one in rules.reservations]),
        ("denied", [one.who for one in rules.denied]),
    ):
        _check_list(wrong, name, whos, ENTRIES_LIMIT, groups)
    limited = [one.who for one in rules.limits]
    _check_list(wrong, "limits", limited, ENTRIES_LIMIT, groups, every=True)
    reserved = sum(one.units for one in rules.reservations)
    if reserved > capacity:
        wrong["reservations"] = f"keep {reserved} units in all, and the pool has {capacity}"
    if any(one.units < 1 for one in rules.reservations):
        wrong["reservations"] = "keep at least one unit each"
    if any(one.units < 0 for one in rules.limits):
        wrong["limits"] = "are 0 or more"
    for name, value in (("linger", rules.linger_us), ("ageing", rules.ageing_us)):
        if not 0 <= value <= TIME_LIMIT_US:
            wrong[name] = f"is not within {timedelta(microseconds=TIME_LIMIT_US).days} days"
    if not 0 <= rules.overdraft <= capacity:
        wrong["overdraft_units"] = (
            f"are {rules.overdraft}, and at most as many as the pool has: {capacity}"
        )
    _check_borrowing(wrong, rules, capacity, groups)
    if wrong:
        said = "; ".join(f"{field} {what}" for field, what in list(wrong.items())[:3])
        raise FieldInvalid(f"These rules can not be kept: {said}.", fields=wrong)


def _check_borrowing(
    wrong: dict[str, str], rules: PoolRules, capacity: int, groups: frozenset[str]
) -> None:
    lent = rules.borrowing
    if not 0 <= lent.longest_us <= BORROW_LIMIT_US:
        days = timedelta(microseconds=BORROW_LIMIT_US).days
        wrong["borrowing.longest"] = f"is not within {days} days"
    for name, units in (
        ("borrowing.floor_units", lent.floor),
        ("borrowing.most_units", lent.most or 0),
        ("write_off_units", rules.write_off),
    ):
        if not 0 <= units <= capacity:
            wrong[name] = f"are {units}, and at most as many as the pool has: {capacity}"
    _check_list(wrong, "borrowing.allowed", lent.allowed, ENTRIES_LIMIT, groups)


def _check_list(
    wrong: dict[str, str],
    name: str,
    whos: tuple[Who, ...] | list[Who],
    limit: int,
    groups: frozenset[str],
    *,
    every: bool = False,
) -> None:
    if len(whos) > limit:
        wrong[name] = f"have {len(whos)} entries, at most {limit} are kept"
    if len(set(whos)) < len(whos):
        wrong[name] = "name the same twice"
    for index, who in enumerate(whos):
        problem = _problem(who, groups, every)
        if problem:
            wrong[f"{name}[{index}]"] = problem


def _problem(who: Who, groups: frozenset[str], every: bool) -> str:
    if who.kind is Kind.GROUP:
        if who.name in groups:
            return ""
        return f"names the group {who.name!r}, which the rules do not define here"
    if who.name == EVERY:
        return "" if every else "is `*`, which only limits take"
    if who.kind is Kind.USER and not names.USER.matches(who.name):
        return f"is {who.name!r}, not a user such as accounts/studio/users/1a2b"
    if who.kind is Kind.HOST and not 1 <= len(who.name) <= 255:
        return "is no host name or device id"
    if who.kind is Kind.NETWORK:
        try:
            ip_network(who.name, strict=True)
        except ValueError as error:
            return f"is no network such as 10.1.0.0/16: {error}"
    return ""

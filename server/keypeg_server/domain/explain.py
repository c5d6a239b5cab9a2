"""Why a pool can not serve now, as data and as sentences.

Promises: names the rule, the holders as far as the asker may see them, what would help (the nearest first,
each with the resource that it is done to), and the earliest time where one is known; never who holds what to
someone who may not know it. The order and the words of remedies are those of docs/pool-rules.md.

Leaves to others: the decision itself (pool.py), deadlines (service/outlooks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import (
    FeatureUnknown,
    KeypegError,
    NotFound,
    PoolExhausted,
    PoolRule,
    PoolTooSmall,
    QueueFull,
)
from keypeg.v1 import error_pb2, explanation_pb2
from keypeg_server.domain.borrow_refusals import RETURN_BORROW, moment
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Ask, Obstacle
from keypeg_server.domain.lease import Lease, Place
from keypeg_server.domain.outlook import Outlook
from keypeg_server.domain.pool import Pool

HOLDERS_SHOWN: Final = 10  # an explanation must fit into the metadata of a status
BORROWERS_NAMED: Final = 3  # in its sentence

WAIT: Final = "wait"  # ask again with `wait`
RELEASE: Final = "release"  # give back, or have given back, what is named
ASK_FEWER: Final = "ask_fewer"  # metadata `capacity` says how many at most
CHOOSE_FEATURE: Final = "choose_feature"  # metadata `features` says which there are
CHANGE_RULES: Final = "change_rules"  # an administrator changes the pool's rules
TRY_LATER: Final = "try_later"
CHOOSE_POOL: Final = "choose_pool"


@dataclass(frozen=True, slots=True)
class Sight:
    """Who asks, and what the pool itself does not know."""

    caller: Caller
    outlook: Callable[[Pool], Outlook | None] = lambda _: None


def holder(pool: Pool, lease: Lease, caller: Caller) -> explanation_pb2.Holder:
    """A holder in the way, as this caller may see it."""
    shown = explanation_pb2.Holder(app=lease.holder.app, units=lease.units)
    shown.acquire_time.FromMicroseconds(lease.acquire_time_us)
    if lease.borrowed_until_us:
        shown.borrowed_until_time.FromMicroseconds(lease.borrowed_until_us)
    if caller.sees_holder(pool.account, lease.holder.user):
        shown.user = lease.holder.user
        shown.host_name = lease.holder.host_name
        shown.lease = pool.lease_prefix + lease.id
    return shown


def estimated_wait(pool: Pool, place: Place, position: int) -> timedelta | None:
    """An honest guess at how long a place waits: as if all before it took as many units as it does."""
    us = pool.usual.wait_us(position * place.units, pool.capacity)
    return None if us is None else timedelta(microseconds=us)


def why_not(
    pool: Pool, ask: Ask | Place, sight: Sight, *, position: int = 0
) -> explanation_pb2.Explanation:
    """Why this request is not served now; `position` when it waits already."""
    obstacle = pool.obstacle(ask) or Obstacle("queue_order")
    sentence = _SENTENCES[obstacle.rule](pool, ask, obstacle)
    own_rule = obstacle.rule in ("deny", "allow", "limit", "too_small")
    metadata = _metadata(pool, ask, obstacle)
    reason = error_pb2.REASON_POOL_RULE if own_rule else error_pb2.REASON_POOL_EXHAUSTED
    if position:
        sentence += f" This request is number {position} of {pool.waiting} in the queue."
        metadata["position"] = str(position)
    elif not own_rule:
        sentence += " Wait in the queue, or ask a holder to release."
    explanation = explanation_pb2.Explanation(reason=reason)
    if obstacle.rule not in ("deny", "allow"):
        leases = _in_the_way(pool, ask, obstacle)
        explanation.holders.extend(holder(pool, lease, sight.caller) for lease in leases)
        sentence += _borrowed_sentence(explanation)
    _remedies(explanation, pool, ask, obstacle, waits=bool(position))
    earliest = None if own_rule else _earliest(pool, ask, obstacle, sight, position)
    if earliest is not None:
        explanation.earliest_time.FromMicroseconds(earliest)
        when = moment(earliest)
        metadata["earliest_time"] = when
        sentence += (
            f" Unless somebody gives back before, enough can be free at {when} at the earliest;"
            " that is no promise, for holders may go on."
        )
    explanation.sentence = sentence
    explanation.metadata.update(metadata)
    return explanation


def refused(pool: Pool, ask: Ask, error: KeypegError, sight: Sight) -> KeypegError:
    """The refusal of a request by the pool, with its explanation."""
    if isinstance(error, PoolExhausted | PoolRule) and error.explanation is None:
        explanation = why_not(pool, ask, sight)
        made = type(error)(explanation.sentence, explanation=explanation)
        made.metadata.update(explanation.metadata)
        return made
    explained = _OTHERS.get(type(error))
    if explained is None or error.explanation is not None:
        return error
    rule, action, resource, sentence = explained
    explanation = explanation_pb2.Explanation(
        reason=error.reason.value,  # type: ignore[arg-type]  # equal by test
        sentence=error.sentence,
        metadata={**_metadata(pool, ask, Obstacle(rule)), **error.metadata, "rule": rule},
    )
    if isinstance(error, FeatureUnknown):
        explanation.metadata["features"] = ", ".join(sorted(pool.feature_capacity))
    explanation.remedies.add(
        action=action,
        resource=pool.account if resource == "account" else pool.name,
        sentence=sentence,
    )
    error.explanation = explanation
    error.metadata.update(explanation.metadata)
    return error


def _metadata(pool: Pool, ask: Ask | Place, obstacle: Obstacle) -> dict[str, str]:
    said = {
        "pool": pool.name,
        "rule": obstacle.rule,
        "units": str(ask.units),
        "seat_count": str(pool.capacity),
        "held_count": str(pool.held),
        "waiting_count": str(pool.waiting),
    }
    if obstacle.feature:
        said["feature"] = obstacle.feature
    if obstacle.who:
        said["who"] = obstacle.who
    if obstacle.rule in ("limit", "too_small"):
        said["limit"] = said["capacity"] = str(obstacle.limit)
    if obstacle.rule == "limit":
        said["used"] = str(obstacle.used)
    if obstacle.rule == "reserved":
        said["reserved_count"] = str(obstacle.limit)
    if pool.lingering:
        said["lingering_count"] = str(pool.lingering)
    return said


def _held_sentence(pool: Pool, ask: Ask | Place, obstacle: Obstacle) -> str:
    what, has, held = f"seats of {pool.name}", pool.most, pool.held
    if obstacle.feature:
        what = f"units of {obstacle.feature} of {pool.name}"
        has = pool.feature_capacity[obstacle.feature]
        held = pool.feature_held(obstacle.feature)
    if held >= has:
        return f"All {has} {what} are held."
    return f"{held} of {has} {what} are held, which leaves too few for {ask.units}."


_SENTENCES: Final[Mapping[str, Callable[[Pool, Ask | Place, Obstacle], str]]] = {
    "capacity": _held_sentence,
    "feature_capacity": _held_sentence,
    "queue_order": lambda pool, ask, found: f"Others wait for {pool.name} and are served first.",
    "reserved": lambda pool, ask, found: (
        f"{pool.held} of {pool.most} seats of {pool.name} are held and {found.limit} of the others are"
        f" reserved for others, which leaves too few for {ask.units}."
    ),
    "limit": lambda pool, ask, found: (
        f"The rules of {pool.name} give {found.who} at most {found.limit} units; {found.used} are held or"
        f" asked for already, and {ask.units} more would be too many. Release some, or ask an"
        " administrator to raise the limit."
    ),
    "too_small": lambda pool, ask, found: (
        f"{ask.units} units were asked of {pool.name}, of which {found.limit} at most are not reserved for"
        " others; ask for fewer."
    ),
    "deny": lambda pool, ask, found: (
        f"The rules of {pool.name} deny it to {found.who}; ask an administrator of the account to allow it."
    ),
    "allow": lambda pool, ask, found: (
        f"The rules of {pool.name} allow it only to those that they name, and do not name this user, host"
        " or network; ask an administrator of the account to add one of them."
    ),
}

# Refusals that are not about now: their rule, what would help, done to what, and that for a person.
_OTHERS: Final[Mapping[type[KeypegError], tuple[str, str, str, str]]] = {
    PoolTooSmall: ("too_small", ASK_FEWER, "pool", "Ask for no more units than there are."),
    FeatureUnknown: (
        "feature_unknown",
        CHOOSE_FEATURE,
        "pool",
        "Ask for a feature that it counts.",
    ),
    QueueFull: ("queue_length", TRY_LATER, "pool", "Ask again when fewer wait."),
    NotFound: (
        "retired",
        CHOOSE_POOL,
        "account",
        "List the pools of the account and take another.",
    ),
}


def _borrowed_sentence(explanation: explanation_pb2.Explanation) -> str:
    """Who has taken seats offline until when, as far as the asker may see it."""
    lent = [one for one in explanation.holders if one.HasField("borrowed_until_time")]
    if not lent:
        return ""
    said = [
        f"{one.units} by {one.user or 'somebody'} until {moment(one.borrowed_until_time.ToMicroseconds())}"
        for one in lent[:BORROWERS_NAMED]
    ]
    more = len(lent) - len(said)
    return f" Borrowed: {', '.join(said)}{f', and {more} more' if more else ''}."


def _borrow_of(lease: str) -> str:
    return names.BORROW.build(*names.LEASE.parse(lease))


def _in_the_way(pool: Pool, ask: Ask | Place, obstacle: Obstacle) -> list[Lease]:
    """Some leases whose end would help; the asker's own first, where its own limit is in the way."""
    if obstacle.rule == "limit" and pool.book is not None:
        return pool.book.towards(ask, HOLDERS_SHOWN)
    leases = pool.some_leases(HOLDERS_SHOWN)
    if obstacle.feature:
        holding = (
            lease
            for lease in pool.some_leases(HOLDERS_SHOWN**2)
            if obstacle.feature in dict(lease.features)
        )
        return [lease for lease, _ in zip(holding, range(HOLDERS_SHOWN), strict=False)]
    return list(leases)


def _remedies(
    explanation: explanation_pb2.Explanation,
    pool: Pool,
    ask: Ask | Place,
    obstacle: Obstacle,
    *,
    waits: bool,
) -> None:
    def add(action: str, resource: str, sentence: str) -> None:
        explanation.remedies.add(action=action, resource=resource, sentence=sentence)

    online = [one for one in explanation.holders if not one.HasField("borrowed_until_time")]
    lent = [one for one in explanation.holders if one.HasField("borrowed_until_time")]
    seen = next((one.lease for one in online if one.lease), "")
    if obstacle.rule in ("deny", "allow"):
        add(
            CHANGE_RULES, pool.name, "Ask an administrator of the account to change who may use it."
        )
        return
    if obstacle.rule == "too_small":
        add(ASK_FEWER, pool.name, f"Ask for {obstacle.limit} units at most.")
        return
    if obstacle.rule == "limit":
        if obstacle.limit >= ask.units:
            add(RELEASE, seen or pool.name, "Release a seat that counts towards the limit.")
        add(CHANGE_RULES, pool.name, "Ask an administrator of the account to raise the limit.")
        return
    if not waits:
        add(WAIT, pool.name, "Ask again with `wait`, to be served in turn.")
    if online or not lent:
        add(RELEASE, seen or pool.name, "Ask a holder to close its app.")
    if lent:
        borrow = next((_borrow_of(one.lease) for one in lent if one.lease), "")
        add(RETURN_BORROW, borrow or pool.name, "Ask a borrower to return its seat.")
    if obstacle.rule == "reserved":
        add(CHANGE_RULES, pool.name, "Ask an administrator of the account to reserve fewer.")


def _earliest(
    pool: Pool, ask: Ask | Place, obstacle: Obstacle, sight: Sight, position: int
) -> int | None:
    """When enough may be free for this and for those before it."""
    outlook = sight.outlook(pool)
    if outlook is None:
        return None
    before = position - 1 if position else pool.waiting
    if obstacle.feature:
        free = pool.feature_capacity[obstacle.feature] - pool.feature_held(obstacle.feature)
        return outlook.earliest(dict(ask.features)[obstacle.feature] - free, obstacle.feature)
    kept = obstacle.limit if obstacle.rule == "reserved" else 0
    return outlook.earliest(ask.units + before + kept + (pool.held - pool.most))

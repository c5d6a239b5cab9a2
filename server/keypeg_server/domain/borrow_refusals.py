"""Why a seat can not be borrowed, renewed or written off, as data and as sentences.

Promises: each says which rule, its number, and who can do what about it; metadata as in docs/pool-rules.md.

Leaves to others: when to refuse (pool_borrowing.py).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from keypeg.errors import DelegationExpired, LeaseExpired, LimitExceeded, PoolRule
from keypeg.v1 import error_pb2, explanation_pb2
from keypeg_server.domain.borrow import RECORDS_LIMIT, RECORDS_OF_USER_LIMIT, Borrow, State
from keypeg_server.domain.pool_state import PoolState

CHANGE_RULES: Final = "change_rules"
ASK_SHORTER: Final = "ask_shorter"  # metadata `longest` says how long at most
RETURN_BORROW: Final = "return_borrow"  # give back, or have given back, what was borrowed
WRITE_OFF: Final = "write_off"  # an administrator gives up what is lost
TRY_LATER: Final = "try_later"


def moment(time_us: int) -> str:
    """For a person; rounded up to whole seconds, so that it is true."""
    return datetime.fromtimestamp(-(-time_us // 1_000_000), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def not_lent(pool: PoolState) -> PoolRule:
    """The rules of the pool let nobody borrow."""
    return _refused(
        pool,
        "borrow",
        f"Seats of {pool.name} can not be borrowed; ask an administrator of the account to allow it.",
        (
            CHANGE_RULES,
            "Ask an administrator of the account to set how long seats may be borrowed.",
        ),
    )


def too_long(pool: PoolState, asked_us: int) -> PoolRule:
    """They may be borrowed, and not for so long."""
    longest = timedelta(microseconds=pool.rules.borrowing.longest_us)
    asked = timedelta(microseconds=asked_us)
    return _refused(
        pool,
        "borrow",
        f"{asked} is longer than seats of {pool.name} may be borrowed, which is {longest}; ask for less, and "
        "renew before the end.",
        (ASK_SHORTER, f"Ask for {longest} at most, and renew before the end."),
        (CHANGE_RULES, "Ask an administrator of the account to allow longer."),
        longest=f"{longest.total_seconds():g}s",
    )


def not_among(pool: PoolState) -> PoolRule:
    """The rules name who may borrow, and not this one."""
    return _refused(
        pool,
        "borrow_allow",
        f"The rules of {pool.name} name who may borrow its seats, and not this user, host or network; ask an "
        "administrator of the account.",
        (CHANGE_RULES, "Ask an administrator of the account to change who may borrow."),
    )


def may_not_use(pool: PoolState) -> PoolRule:
    """The rules let it not use the pool any more."""
    return _refused(
        pool,
        "deny",
        f"The rules of {pool.name} let this user, host or network not use it any more: what is borrowed ends at "
        "its time, and is not renewed.",
        (CHANGE_RULES, "Ask an administrator of the account to change who may use it."),
    )


def too_many(pool: PoolState, units: int, most: int, rule: str) -> PoolRule:
    """As many are borrowed as may be."""
    lent, kept = pool.rules.borrowing, pool.rules.borrowing.floor
    why = {
        "borrow_most": f"of which {lent.most} may be borrowed at once",
        "borrow_floor": f"of which {kept} always stay",
        "borrow_overdraft": "which are held: what is above them is not lent",
    }[rule]
    return _refused(
        pool,
        rule,
        f"{pool.name} has {pool.capacity} seats, {why}, and {pool.borrowed} are borrowed already; {units} more "
        "would be too many. Ask a borrower to return one.",
        (RETURN_BORROW, "Ask a borrower to return what is not needed."),
        (CHANGE_RULES, "Ask an administrator of the account to let more be borrowed."),
        units=str(units),
        borrowed_count=str(pool.borrowed),
        limit=str(most),
    )


def too_many_known(pool: PoolState) -> LimitExceeded:
    """So many borrows of a pool are known that no more fit."""
    return LimitExceeded(
        f"{len(pool.borrows)} borrows of {pool.name} are not over, which is its limit; wait until some have "
        "ended.",
        limit="pool.borrows",
        value=str(RECORDS_LIMIT),
        pool=pool.name,
    )


def too_many_of_user(pool: PoolState) -> LimitExceeded:
    """So many of them are of one user."""
    return LimitExceeded(
        f"{RECORDS_OF_USER_LIMIT} borrows of {pool.name} that are not over are yours, also those that were "
        "returned, which is the limit; wait until some have ended.",
        limit="pool.borrows_of_user",
        value=str(RECORDS_OF_USER_LIMIT),
        pool=pool.name,
    )


def too_late(pool: PoolState) -> DelegationExpired:
    """A document would have ended before it is made."""
    return DelegationExpired(
        f"What signs the license of {pool.name} was delegated until now, so that nothing can be borrowed; ask the "
        "publisher to renew its delegation.",
        pool=pool.name,
    )


def over(borrow: Borrow) -> LeaseExpired:
    """Nothing can be done with what is over."""
    what = {
        State.OUT: f"ended at {moment(borrow.end_us)}",
        State.RETURNED: f"was returned at {moment(borrow.state_time_us)}",
        State.WRITTEN_OFF: f"was written off at {moment(borrow.state_time_us)}",
    }[borrow.state]
    return LeaseExpired(
        f"{borrow.name} {what}; borrow a seat anew.", borrow=borrow.name, state=borrow.state.value
    )


def beyond_budget(pool: PoolState, borrow: Borrow) -> PoolRule:
    """More would be exposed than the publisher allows."""
    budget = pool.rules.write_off
    sentence = (
        f"{borrow.name} can not be written off: its document opens {borrow.units} of {pool.name} until "
        f"{moment(borrow.end_us)}, {pool.exposed} are exposed already, and the publisher allows {budget}. Ask "
        "the publisher to raise that, or wait until the document has ended."
    )
    return _refused(
        pool,
        "write_off",
        sentence,
        (CHANGE_RULES, "Ask the publisher to raise how much may be written off."),
        (TRY_LATER, f"Its seat is free by itself at {moment(borrow.free_us)}."),
        units=str(borrow.units),
        exposed_count=str(pool.exposed),
        budget_count=str(budget),
        earliest_time=moment(borrow.free_us),
    )


def is_borrowed(pool: PoolState, borrow: Borrow) -> PoolRule:
    """A seat that is offline can not be taken back, renewed or released like another one."""
    return _refused(
        pool,
        "borrowed",
        f"{pool.lease_prefix}{borrow.id} is borrowed by {borrow.holder.user} on {borrow.holder.host_name} until "
        f"{moment(borrow.end_us)}, and works there without a connection: nobody can take it back from here. Have "
        "it returned, or write it off when it is lost.",
        (RETURN_BORROW, "Have it returned, from its computer or by the file that it writes."),
        (WRITE_OFF, "An administrator writes it off when it is lost."),
        resource=borrow.name,
        borrow=borrow.name,
        until=moment(borrow.end_us),
    )


def _refused(
    pool: PoolState,
    rule: str,
    sentence: str,
    *remedies: tuple[str, str],
    resource: str = "",
    **said: str,
) -> PoolRule:
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_POOL_RULE,
        sentence=sentence,
        metadata={"pool": pool.name, "rule": rule, **said},
    )
    for action, words in remedies:
        explanation.remedies.add(action=action, resource=resource or pool.name, sentence=words)
    error = PoolRule(sentence, explanation=explanation)
    error.metadata.update(explanation.metadata)
    return error

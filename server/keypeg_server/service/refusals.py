"""Refusals that several use cases of pools and sessions share.

Promises: each says what is refused, which, and what to do next. What passes by itself is of a class that
clients answer by connecting again (UNAVAILABLE).

Leaves to others: when to refuse.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from keypeg.errors import (
    MemberRemoved,
    MemberSuspended,
    NotFound,
    PoolRule,
    ServerDraining,
    TokenInvalid,
)
from keypeg.v1 import error_pb2, explanation_pb2
from keypeg_server.domain.events import MemberCutOff
from keypeg_server.domain.pool import Pool

HOLDERS_NAMED: Final = 10  # in a refusal to retire a pool
AGAIN_AFTER: Final = timedelta(seconds=1)


def signed_out() -> TokenInvalid:
    """What ends the streams of a sign-in that has ended."""
    return TokenInvalid("This sign-in has ended; sign in again.")


def cut_off(event: MemberCutOff) -> MemberRemoved | MemberSuspended:
    """What ends the streams of a member who was removed from a group, or may use its cloud no more."""
    if event.suspended:
        return MemberSuspended(
            f"An administrator of {event.account} has suspended {event.member} there ({event.suspended}); ask there.",
            account=event.account,
            why=event.suspended,
        )
    return MemberRemoved(
        f"{event.member} was removed from {event.account}, and runs nothing by its licenses any more.",
        account=event.account,
    )


def no_pool(name: str) -> NotFound:
    """The refusal for a pool that is not there, or not the caller's."""
    return NotFound(
        f"There is no pool {name} that you can use; list the pools of your account.", resource=name
    )


def in_use(pool: Pool) -> PoolRule:
    """The refusal to end a pool in which someone holds or waits; names who holds."""
    held, waiting = pool.held, pool.waiting
    sentence = (
        f"{pool.name} is in use: {held} of its seats are held and {waiting} wait; "
        "end those sessions first."
    )
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_POOL_RULE,
        sentence=sentence,
        metadata={
            "pool": pool.name,
            "rule": "in_use",
            "held_count": str(held),
            "waiting_count": str(waiting),
        },
    )
    for lease in pool.some_leases(HOLDERS_NAMED):
        shown = explanation.holders.add(
            user=lease.holder.user,
            host_name=lease.holder.host_name,
            app=lease.holder.app,
            units=lease.units,
            lease=pool.lease_prefix + lease.id,
        )
        shown.acquire_time.FromMicroseconds(lease.acquire_time_us)
    return PoolRule(sentence, explanation=explanation, pool=pool.name, rule="in_use")


def role_changed() -> ServerDraining:
    """The end of a stream whose user has another role: it is opened again at once."""
    return ServerDraining("Your role here has changed; connect again.", retry_after=timedelta(0))


def draining() -> ServerDraining:
    """The refusal of a server that ends."""
    return ServerDraining(
        "The server is going away; connect again, elsewhere or a little later, and resume.",
        retry_after=AGAIN_AFTER,
    )


def elsewhere(account: str) -> ServerDraining:
    """The refusal for an account that this server serves no more."""
    return ServerDraining(
        f"Another server serves {account} from now on; connect again, and go on there.",
        retry_after=AGAIN_AFTER,
        account=account,
    )


def doubtful() -> ServerDraining:
    """The refusal of a server that can not be sure at the moment that nobody else gives the same seats."""
    return ServerDraining(
        "This server can not reach its database, and promises no more time until it does; connect again, "
        "to another server or a little later.",
        retry_after=AGAIN_AFTER,
    )

"""Why a pool can not serve now, as data and as a sentence.

Promises: names the rule, the holders as far as the asker may see them, and what would help; never who
holds what to someone who may not know it.

Leaves to others: the decision itself (pool.py).
"""

from __future__ import annotations

from typing import Final

from keypeg.errors import KeypegError, PoolExhausted
from keypeg.v1 import error_pb2, explanation_pb2
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.decision import Obstacle
from keypeg_server.domain.lease import Features, Lease
from keypeg_server.domain.pool import Pool

HOLDERS_SHOWN: Final = 10  # an explanation must fit into the metadata of a status


def holder(pool: Pool, lease: Lease, caller: Caller) -> explanation_pb2.Holder:
    """A holder in the way, as this caller may see it."""
    shown = explanation_pb2.Holder(app=lease.holder.app, units=lease.units)
    shown.acquire_time.FromMicroseconds(lease.acquire_time_us)
    if caller.sees_holder(pool.account, lease.holder.user):
        shown.user = lease.holder.user
        shown.host_name = lease.holder.host_name
        shown.lease = pool.lease_prefix + lease.id
    return shown


def why_not(
    pool: Pool,
    units: int,
    features: Features,
    priority: int,
    caller: Caller,
    *,
    position: int = 0,
) -> explanation_pb2.Explanation:
    """Why a request for these seats is not served now; `position` when it waits already."""
    obstacle = pool.obstacle(units, features, priority) or Obstacle("queue_order")
    what, has, held = f"seats of {pool.name}", pool.capacity, pool.held
    if obstacle.rule == "feature_capacity":
        what = f"units of {obstacle.feature} of {pool.name}"
        has, held = pool.feature_capacity[obstacle.feature], pool.feature_held(obstacle.feature)
    if obstacle.rule == "queue_order":
        sentence = f"Others wait for {pool.name} and are served first."
    elif held >= has:
        sentence = f"All {has} {what} are held."
    else:
        sentence = f"{held} of {has} {what} are held, which leaves too few for {units}."
    if position:
        sentence += f" This request is number {position} of {pool.waiting} in the queue."
    else:
        sentence += " Wait in the queue, or ask a holder to release."
    explanation = explanation_pb2.Explanation(
        reason=error_pb2.REASON_POOL_EXHAUSTED,
        sentence=sentence,
        metadata={
            "pool": pool.name,
            "rule": obstacle.rule,
            "units": str(units),
            "seat_count": str(pool.capacity),
            "held_count": str(pool.held),
            "waiting_count": str(pool.waiting),
        },
        holders=[holder(pool, lease, caller) for lease in pool.some_leases(HOLDERS_SHOWN)],
    )
    if obstacle.feature:
        explanation.metadata["feature"] = obstacle.feature
    if not position:
        explanation.remedies.add(
            action="wait",
            resource=pool.name,
            sentence="Ask again with `wait`, to be served in turn.",
        )
    seen = next((shown.lease for shown in explanation.holders if shown.lease), pool.name)
    explanation.remedies.add(
        action="release", resource=seen, sentence="Ask a holder to close its app."
    )
    return explanation


def exhausted(
    pool: Pool, units: int, features: Features, priority: int, caller: Caller
) -> KeypegError:
    """The refusal of a request that does not wait, with its explanation."""
    explanation = why_not(pool, units, features, priority, caller)
    error = PoolExhausted(explanation.sentence, explanation=explanation)
    error.metadata.update(explanation.metadata)
    return error

"""What administrators do with seats and pools: free a seat, look at rules, set them.

Promises: only for administrators of the account and the publisher's staff; nobody learns of another account's
pools. An overdraft is raised by the publisher alone, for it gives more than the license does.

Leaves to others: what follows for holders (freeing.py, recalls.py), the rules (domain/pool_rules.py).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import NotFound, PermissionDenied
from keypeg_server.domain import pool_rules_check
from keypeg_server.domain.caller import Caller, Right
from keypeg_server.domain.freed import Freed
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_effects import Effect, effects
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.service import frames
from keypeg_server.service.commits import RequestKey
from keypeg_server.service.pool_keeping import check_etag
from keypeg_server.service.pools import Engine
from keypeg_server.service.refusals import no_pool

_US: Final = timedelta(microseconds=1)


class SeatKeeping:
    """The use cases."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def free(
        self, caller: Caller, request_id: str, name: str, reason: str, hold_off: timedelta
    ) -> int | None:
        """Take a lease back; until when its user gets none of the pool, None when it may at once."""
        pool_id, id = names.LEASE.parse(name)
        pool = self._engine.by_id(pool_id)
        if pool is None or not caller.sees_account(pool.account):
            raise NotFound(f"There is no {name} that you can see.", resource=name)
        if not caller.may(Right.SEATS_FREE):
            raise PermissionDenied(
                f"Only administrators of {pool.account} free seats that others hold; ask one.",
                resource=name,
            )
        now_us = self._engine.now_us()
        lease = pool.lease(id)
        user = "" if lease is None else lease.holder.user
        freed = Freed(id, user, caller.login, reason, now_us, now_us + hold_off // _US)
        request = RequestKey(caller.user, request_id, frames.digest("free", name, reason, hold_off))
        until_us = await self._engine.free(pool, freed, request)
        return until_us or None

    async def rules(self, caller: Caller, name: str) -> PoolRules:
        """The rules of a pool; for its administrators."""
        await self._engine.present((name,), caller)
        pool = self._managed(caller, name)
        return await self._engine.looked(lambda: pool.rules)

    async def set_rules(
        self, caller: Caller, name: str, rules: PoolRules, etag: str, *, dry_run: bool
    ) -> tuple[Pool, list[Effect]]:
        """Other rules for a pool, and what they change for whom; nothing is changed by a dry run."""
        await self._engine.present((name,), caller)
        pool = self._managed(caller, name)
        pool_rules_check.check(rules, pool.capacity)
        if rules.overdraft > pool.rules.overdraft and not caller.may(Right.LICENSES_WRITE):
            raise PermissionDenied(
                f"Only the publisher may raise the overdraft of {pool.name}, which is"
                f" {pool.rules.overdraft}: it gives more seats than the license does. Ask them.",
                resource=pool.name,
                overdraft=str(pool.rules.overdraft),
            )
        if rules.write_off > pool.rules.write_off and not caller.may(Right.LICENSES_WRITE):
            raise PermissionDenied(
                f"Only the publisher may raise how much of {pool.name} may be written off, which is"
                f" {pool.rules.write_off}: it gives more seats than the license does. Ask them.",
                resource=pool.name,
                write_off=str(pool.rules.write_off),
            )
        if not dry_run:
            return pool, await self._engine.set_rules(pool, rules, etag, caller.user)

        def look() -> list[Effect]:
            check_etag(pool, etag)
            return effects(pool, rules, self._engine.now_us())

        return pool, await self._engine.looked(look)

    def _managed(self, caller: Caller, name: str) -> Pool:
        pool = self._engine.pool(name)
        if pool is None or not caller.sees_account(pool.account):
            raise no_pool(name)
        if not caller.may(Right.SEATS_MANAGE):
            raise PermissionDenied(
                f"Only administrators of {pool.account} see and change the rules of {name}; ask one.",
                resource=name,
            )
        return pool

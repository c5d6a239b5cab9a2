"""Which borrows a caller sees: their own, and administrators those of their account.

Promises: nobody learns of another account's borrows; what is not the caller's and what is not there look the same.

Leaves to others: what is done with them (borrows.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from keypeg import names
from keypeg.errors import NotFound, PermissionDenied
from keypeg_server.domain.borrow import Borrow
from keypeg_server.domain.caller import Caller, Right
from keypeg_server.domain.pool import Pool
from keypeg_server.service.pools import Engine


@dataclass(frozen=True, slots=True)
class Known:
    """A borrow and its pool."""

    pool: Pool
    borrow: Borrow


class Sight:
    """The borrows of a server, as its callers see them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def any(self, caller: Caller, name: str) -> tuple[Pool, Borrow]:
        """A borrow of an account that the caller sees, whoever's it is."""
        pool_id, id = names.BORROW.parse(name)
        pool = self._engine.by_id(pool_id)
        borrow = None if pool is None else pool.borrows.get(id)
        if pool is None or borrow is None or not caller.sees_account(pool.account):
            raise no_borrow(name)
        return pool, borrow

    def known(self, caller: Caller, name: str) -> Known:
        """A borrow of the caller's own, or of its account for administrators."""
        known = Known(*self.any(caller, name))
        if not list(seen(caller, (known,))):
            raise no_borrow(name)
        return known

    def to_write_off(self, caller: Caller, name: str) -> Known:
        """One that the caller may write off; PermissionDenied when they only see it."""
        known = self.known(caller, name)
        if not caller.may(Right.SEATS_MANAGE):
            raise PermissionDenied(
                f"Only administrators of {known.pool.account} write off what is borrowed; ask one.",
                resource=name,
            )
        return known


def seen(caller: Caller, found: Iterable[Known]) -> Iterable[Known]:
    """Those that the caller may see."""
    return (one for one in found if caller.sees_holder(one.pool.account, one.borrow.holder.user))


def no_borrow(name: str) -> NotFound:
    """The refusal of one that is over, or not for the caller."""
    return NotFound(
        f"There is no {name} that you can see; it may be over, which needs nothing more.",
        resource=name,
    )

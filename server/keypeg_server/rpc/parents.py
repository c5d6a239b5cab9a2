"""To whom a call belongs: the account or publisher (its *parent*) whose home serves it.

Promises: as the method's route says (routes.py); the account of a pool is asked for once.

Leaves to others: whose home a parent is (service/cluster.py), carrying calls there (relay.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final

from keypeg import names
from keypeg_server.domain.caller import Caller
from keypeg_server.rpc.calls import new_account
from keypeg_server.rpc.routes import By, Route

KNOWN_COUNT: Final = 100_000  # pools whose account is remembered; it never changes

AccountOfPool = Callable[[str], Awaitable[str | None]]
AccountOfSession = Callable[[Any], Awaitable[str | None]]
ParentOfPerson = Callable[[Any, Caller | None], Awaitable[str | None]]


class Routes:
    """Finds the parents of calls."""

    def __init__(
        self,
        account_of_pool: AccountOfPool,
        account_of_session: AccountOfSession,
        parent_of_person: ParentOfPerson,
    ) -> None:
        """The account (name) of a pool by its id, and of the session that a request is about; None when none.

        `parent_of_person`: in whose log it is what a request, or its caller, does with a sign-in; None when it is nobody.
        """
        self._account_of_pool = account_of_pool
        self._account_of_session = account_of_session
        self._parent_of_person = parent_of_person
        self._known: OrderedDict[str, str] = OrderedDict()  # by pool id

    async def parent(self, route: Route, request: Any, caller: Caller | None) -> str | None:
        """The parent (name) of a call that passed the gate; None when it is served anywhere.

        `request` is None for a stream of requests, whose parent none of them names.
        """
        match route.by:
            case By.NAME:
                return _parent(getattr(request, route.field))
            case By.POOL:
                return await self._pool(getattr(request, route.field))
            case By.CALLER:
                return None if caller is None else caller.account
            case By.NEW_ACCOUNT:
                return names.ACCOUNT.build(new_account(request))
            case By.SESSION:
                return await self._account_of_session(request)
            case By.PERSON:
                return await self._parent_of_person(request, caller)
            case By.ANYWHERE:
                return None

    async def _pool(self, name: str) -> str | None:
        """Of a pool that is not there: None, and whoever is asked says so."""
        kind, _, rest = name.partition("/")
        id = rest.partition("/")[0]
        if kind == "accounts":
            return _parent(name)
        if kind != "pools" or not id:
            return None
        account = self._known.get(id)
        if account is None:
            account = await self._account_of_pool(id)
            if account is not None:
                self._known[id] = account
                if len(self._known) > KNOWN_COUNT:
                    self._known.popitem(last=False)
        return account


def _parent(name: str) -> str | None:
    """`accounts/a` of `accounts/a/licenses/l`."""
    parent = "/".join(name.split("/", 2)[:2])
    return parent if names.ACCOUNT.matches(parent) or names.PUBLISHER.matches(parent) else None

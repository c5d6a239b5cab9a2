"""To whom identities at outside providers are linked; one use case a method.

Promises: who links one themselves has proven it a moment ago, shows their password, and has just signed in with the second
factor that they have: there may be providers that are asked for none. An administrator's word counts until somebody
proves otherwise (domain/identity.py). Each change is one transaction with its record in the log.

Leaves to others: proving (provider_sign_ins.py), who may call what (rpc/authorization.py).
"""

from __future__ import annotations

from collections.abc import Callable

from keypeg import names
from keypeg.errors import AlreadyExists, FieldInvalid, LimitExceeded
from keypeg_server.domain import people
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.identity import IDENTITIES_LIMIT, Identity, ProviderSignIn
from keypeg_server.service.accounts import not_found, owner_count
from keypeg_server.service.people import NO_PASSWORD, Joining, PeopleService
from keypeg_server.service.ports import Clock
from keypeg_server.service.provider_ports import Providers
from keypeg_server.service.provider_sign_ins import ProviderSignIns
from keypeg_server.service.second_factors import SecondFactors
from keypeg_server.service.sign_ins import SignIns, parent_of
from keypeg_server.service.store import Request, Store, Unit
from keypeg_server.service.tokens import NewTokens


class Identities:
    """See the contract's IdentityService. Accounts are ids; NO_ACCOUNT is that of the publisher's people."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        new_id: Callable[[], str],
        providers: Providers,
        sign_ins: SignIns,
        proofs: ProviderSignIns,
        people: PeopleService,
        factors: SecondFactors,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._providers = providers
        self._sign_ins = sign_ins
        self._proofs = proofs
        self._people = people
        self._factors = factors

    async def link(self, caller: Caller, secret: str, password: str, address: str) -> Identity:
        """A proven identity is the caller's."""
        await self._store.read(lambda unit: self._proofs.proven(unit, secret))
        shown = await self._sign_ins.again(caller, password, address)

        def link(unit: Unit) -> Identity:
            user = _user(unit, *names.USER.parse(shown.name))
            self._factors.check_again(unit, caller, user)
            found = self._proofs.proven(unit, secret)
            self._proofs.use_up(unit, found)
            return self._link_proven(unit, user, found)

        return await self._store.write(link)

    async def accept(self, account: str, id: str, who: Joining, secret: str) -> NewTokens:
        """Join by an invitation as a proven identity, and sign in."""

        def join(unit: Unit) -> NewTokens:
            found = self._proofs.proven(unit, secret)
            user = self._people.join(unit, account, id, who, NO_PASSWORD)
            self._link_proven(unit, user, found)
            return self._proofs.sign_in(unit, found, user)

        return await self._store.write(join)

    async def create(
        self,
        request: Request[Identity],
        caller: Caller,
        account: str,
        id: str,
        provider: str,
        subject: str,
    ) -> bytes:
        """An administrator says who somebody is."""
        issuer = self._providers.provider(provider).issuer

        def create(unit: Unit) -> Identity:
            user = _user(unit, account, id)
            people.check_gives(caller.role, user.role, owner_count(unit, user.account))
            return self._link(unit, user, issuer, subject, caller.user, proven=False)

        return await self._store.once(request, create)

    async def list(self, account: str, id: str) -> list[Identity]:
        """Those of a user, oldest first."""

        def look(unit: Unit) -> list[Identity]:
            return unit.identities.of_user(_user(unit, account, id).id)

        return await self._store.read(look)

    async def delete(
        self, request: Request[None], caller: Caller, account: str, id: str, identity: str
    ) -> bytes:
        """Nobody signs in by it any more."""

        def delete(unit: Unit) -> None:
            user = _user(unit, account, id)
            if user.name != caller.user:
                people.check_gives(caller.role, user.role, owner_count(unit, user.account))
            for one in unit.identities.of_user(user.id):
                if one.id == identity:
                    unit.identities.delete(one.id)
                    _record(unit, user, "identity_unlinked", one)
                    return
            raise not_found(names.IDENTITY.build(account, id, identity))

        return await self._store.once(request, delete)

    def _link_proven(self, unit: Unit, user: User, found: ProviderSignIn) -> Identity:
        for one, owner in unit.identities.of_subject(found.issuer, found.subject):
            if one.proven and owner.name != user.name:
                raise AlreadyExists(
                    f"{found.subject} of {found.issuer} is somebody else's here already; sign in with it, and unlink it "
                    "there first (keypeg identity unlink).",
                    issuer=found.issuer,
                    subject=found.subject,
                )
        return self._link(unit, user, found.issuer, found.subject, user.name, proven=True)

    def _link(
        self, unit: Unit, user: User, issuer: str, subject: str, creator: str, *, proven: bool
    ) -> Identity:
        if user.service:
            what = "is a program, which signs in with API keys"
            raise FieldInvalid(f"{user.name} {what}; name a person.", fields={"parent": what})
        there = unit.identities.of_user(user.id)
        for one in there:
            if (one.issuer, one.subject) != (issuer, subject):
                continue
            if one.proven or not proven:
                raise AlreadyExists(f"{subject} of {issuer} is linked to {user.name} already.")
            unit.identities.delete(one.id)
            there.remove(one)
            break  # there is one at most
        if len(there) >= IDENTITIES_LIMIT:
            raise LimitExceeded(
                f"{user.name} has {IDENTITIES_LIMIT} identities, which is the limit; unlink one that is not used.",
                limit="people.identities",
                value=str(IDENTITIES_LIMIT),
            )
        now = self._clock.wall()
        made = Identity(user.name, self._new_id(), issuer, subject, creator, now, proven)
        unit.identities.add(made)
        _record(unit, user, "identity_linked", made)
        return made


def _user(unit: Unit, account: str, id: str) -> User:
    user = unit.accounts.user(account, id)
    if user is None:
        raise not_found(names.USER.build(account, id))
    return user


def _record(unit: Unit, user: User, event: str, identity: Identity) -> None:
    unit.record(
        parent_of(user),
        event,
        user=user.name,
        issuer=identity.issuer,
        subject=identity.subject,
        proven=identity.proven,
    )

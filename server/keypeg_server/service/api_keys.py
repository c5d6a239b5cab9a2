"""API keys: made, rotated, revoked, and recognized.

Promises: a key is told once and kept as its digest; it has the rights of its user that are among its scopes, as they
are at the time of each call, and none from the moment on that it is revoked, has ended, or its user is gone. When it
was used last is known to ten minutes. Known keys are answered from memory.

Leaves to others: tokens of who signs in (tokens.py), reading the metadata (rpc/gate.py).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from keypeg import names
from keypeg.errors import (
    FieldInvalid,
    LimitExceeded,
    StorageUnavailable,
    TokenExpired,
    TokenInvalid,
)
from keypeg_server.domain.access import KEYS_LIMIT, USE_EVERY, ApiKey
from keypeg_server.domain.account import User
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.events import ApiKeyChanged, TokenRevoked
from keypeg_server.domain.people import check_gives
from keypeg_server.domain.rights import RIGHTS, Right
from keypeg_server.service import labeled
from keypeg_server.service.accounts import not_found, owner_count
from keypeg_server.service.people_ports import FoundKey
from keypeg_server.service.ports import Clock
from keypeg_server.service.store import Request, Store, Unit
from keypeg_server.service.tokens import SignedIn

API_KEY_START: Final = f"{labeled.API_KEY}_"
KNOWN_COUNT: Final = 65_536  # keys kept in memory: about 1 KiB each


@dataclass(frozen=True)
class NewKey:
    """A key that was just made: the only time that its text is there."""

    key: ApiKey
    text: str = field(repr=False)
    previous: ApiKey | None = None


class ApiKeys:
    """Makes keys and recognizes them; an `Authenticator` for them (rpc/gate.py)."""

    def __init__(self, store: Store, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._known: OrderedDict[bytes, FoundKey] = OrderedDict()
        self._epoch = 0  # grows with every revocation

    # Recognizing.

    def known(self, text: str) -> SignedIn | None:
        """Who sent this key, when it is in memory and needs no look at its end or use; None else."""
        found = self._known.get(labeled.digest(text))
        if found is None or self._looked_at_again(found.key):
            return None
        return _signed_in(found)

    async def authenticate(self, text: str) -> SignedIn:
        """Who sent this key; TokenInvalid or TokenExpired when nobody may have."""
        if not labeled.is_one(labeled.API_KEY, text):
            raise _invalid()
        digest = labeled.digest(text)
        found = self._known.get(digest) or await self._find(digest)
        now = self._clock.wall()
        if now >= found.key.expire_time:
            self._known.pop(digest, None)
            raise TokenExpired(f"The API key {found.key.name} has ended; make another.")
        if self._looked_at_again(found.key):
            found = await self._used(found)
        return _signed_in(found)

    def forget(self, id: str) -> None:
        """A key was changed or revoked."""
        self._drop(lambda found: found.key.id == id)

    def forget_user(self, user: str) -> None:
        """A user (name) is another, or gone."""
        self._drop(lambda found: found.user.name == user)

    def forget_all(self) -> None:
        """Any key may have been revoked."""
        self._drop(lambda _: True)

    def _looked_at_again(self, key: ApiKey) -> bool:
        now, used = self._clock.wall(), key.last_use_time
        return now >= key.expire_time or used is None or now - used >= USE_EVERY

    async def _find(self, digest: bytes) -> FoundKey:
        epoch = self._epoch
        found = await self._store.read(lambda unit: unit.people.key_by_digest(digest))
        if found is None:
            raise _invalid()
        if epoch == self._epoch:  # else it may be the one that was revoked meanwhile
            self._keep(found)
        return found

    async def _used(self, found: FoundKey) -> FoundKey:
        """The key as used now; as it is when the disk is away."""
        now = self._clock.wall()

        def use(unit: Unit) -> FoundKey | None:
            there = unit.people.key_by_digest(found.digest)
            if there is None:
                return None
            used = replace(there.key, last_use_time=now)
            unit.people.update_key(used)
            return replace(there, key=used)

        try:
            there = await self._store.write(use)
        except StorageUnavailable:
            return found
        if there is None:
            raise _invalid()
        if found.digest in self._known:  # else it was revoked meanwhile
            self._keep(there)
        return there

    def _keep(self, found: FoundKey) -> None:
        self._known[found.digest] = found
        if len(self._known) > KNOWN_COUNT:
            self._known.popitem(last=False)

    def _drop(self, gone: Callable[[FoundKey], bool]) -> None:
        self._epoch += 1
        for digest in [digest for digest, found in self._known.items() if gone(found)]:
            del self._known[digest]

    # Managing.

    async def create(
        self,
        request: Request[NewKey],
        caller: Caller,
        user: str,
        display_name: str,
        scopes: Collection[str],
        ttl: timedelta,
    ) -> bytes:
        wanted = _scopes(scopes)

        def create(unit: Unit) -> NewKey:
            owner = _managed(unit, caller, user, making=True)
            lacking = sorted(one.value for one in wanted - RIGHTS[owner.role])
            if lacking:
                what = f"has what {owner.role.name.lower()}s may not: {', '.join(lacking)}"
                raise FieldInvalid(f"The list of scopes {what}.", fields={"scopes": what})
            return self._added(unit, owner, display_name, wanted, ttl, "api_key_created")

        return await self._store.once(request, create)

    async def listed(self, caller: Caller, user: str) -> list[ApiKey]:
        def look(unit: Unit) -> list[ApiKey]:
            return unit.people.keys_of(_managed(unit, caller, user))

        return await self._store.read(look)

    async def rotate(
        self,
        request: Request[NewKey],
        caller: Caller,
        user: str,
        id: str,
        overlap: timedelta,
        ttl: timedelta,
    ) -> bytes:
        now = self._clock.wall()

        def rotate(unit: Unit) -> NewKey:
            owner = _managed(unit, caller, user, making=True)
            old = _key(unit, owner, id)
            ended = replace(old, expire_time=min(old.expire_time, now + overlap))
            unit.people.update_key(ended)
            unit.publish(ApiKeyChanged(id))
            if overlap <= timedelta(0):
                unit.publish(TokenRevoked(id))
            scopes = old.scopes & RIGHTS[owner.role]
            new = self._added(
                unit, owner, old.display_name, scopes, ttl, "api_key_rotated", previous=old.name
            )
            return replace(new, previous=ended)

        return await self._store.once(request, rotate)

    async def revoke(self, request: Request[None], caller: Caller, user: str, id: str) -> bytes:
        def revoke(unit: Unit) -> None:
            owner = _managed(unit, caller, user)
            key = _key(unit, owner, id)
            unit.people.delete_key(id)
            unit.publish(TokenRevoked(id))
            unit.publish(ApiKeyChanged(id))
            _record(unit, "api_key_revoked", key)

        return await self._store.once(request, revoke)

    def _added(
        self,
        unit: Unit,
        owner: User,
        display_name: str,
        scopes: frozenset[Right],
        ttl: timedelta,
        event: str,
        **said: str,
    ) -> NewKey:
        if len(unit.people.keys_of(owner)) >= KEYS_LIMIT:
            raise LimitExceeded(
                f"{owner.name} has {KEYS_LIMIT} API keys, which is the limit; revoke one.",
                limit="people.api_keys",
                value=str(KEYS_LIMIT),
            )
        now, text = self._clock.wall(), labeled.new(labeled.API_KEY)
        key = ApiKey(owner.name, self._new_id(), display_name, scopes, now, now + ttl)
        unit.people.add_key(key, labeled.digest(text))
        _record(unit, event, key, **said)
        return NewKey(key, text)


def _scopes(asked: Collection[str]) -> frozenset[Right]:
    known = {right.value: right for right in Right}
    unknown = sorted(set(asked) - set(known))
    if unknown:
        what = f"has {', '.join(unknown)}, which are none; there are {', '.join(known)}"
        raise FieldInvalid(f"The list of scopes {what}.", fields={"scopes": what})
    return frozenset(known[one] for one in asked)


def _managed(unit: Unit, caller: Caller, user: str, *, making: bool = False) -> User:
    """The user (name) whose keys the caller manages: themself, or one whose role the caller gives.

    Others make keys for service users alone: a key of a person is as good as that person.
    """
    found = unit.accounts.user(*names.USER.parse(user))
    if found is None:
        raise not_found(user)
    if user == caller.user:
        return found
    check_gives(caller.role, found.role, owner_count(unit, found.account))
    if making and not found.service:
        what = "is a person, who makes their own keys"
        raise FieldInvalid(f"{user} {what}; name a service user.", fields={"parent": what})
    return found


def _key(unit: Unit, user: User, id: str) -> ApiKey:
    for key in unit.people.keys_of(user):
        if key.id == id:
            return key
    raise not_found(names.API_KEY.build(*names.USER.parse(user.name), id))


def _record(unit: Unit, event: str, key: ApiKey, **said: str) -> None:
    account, _ = names.USER.parse(key.user)
    scopes = sorted(scope.value for scope in key.scopes)
    parent = names.ACCOUNT.build(account)
    unit.record(parent, event, key=key.name, called=key.display_name, scopes=scopes, **said)


def _signed_in(found: FoundKey) -> SignedIn:
    user, key = found.user, found.key
    caller = Caller(
        user.name, user.login, user.account_name, user.role, key.id, user.acts_for, key.scopes
    )
    return SignedIn(caller, user, key.expire_time)


def _invalid() -> TokenInvalid:
    return TokenInvalid("This API key is not known here, or was revoked; use another.")

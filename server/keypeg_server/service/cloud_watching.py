"""Who watches a cloud session: how it is, and what happens to it.

Promises: a watcher is told how it is at once, then again after every change that is on disk, with the changes;
what it is told of its state is never older than the changes. Its memory is bounded: of one that reads slowly the
oldest changes are dropped, and it is told how many. Whose user was removed, or has signed out, is told nothing
more. What is watched costs nothing where nobody watches.

Leaves to others: messages and who may watch (rpc), the log itself (storage).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from keypeg import names
from keypeg.errors import KeypegError, LimitExceeded, TokenInvalid
from keypeg_server.domain import cloud_change
from keypeg_server.domain.caller import Caller
from keypeg_server.domain.cloud_change import CloudChange
from keypeg_server.domain.credential import revoked
from keypeg_server.domain.events import (
    AccountAbandoned,
    CredentialEnded,
    LogRecorded,
    MemberCutOff,
    TokenRevoked,
    UserChanged,
    UserRemoved,
)
from keypeg_server.service.accounts import not_found
from keypeg_server.service.cloud import CloudView
from keypeg_server.service.cloud_of import Whose
from keypeg_server.service.events import EventHub
from keypeg_server.service.refusals import cut_off, draining, elsewhere, role_changed, signed_out

UNREAD_LIMIT: Final = 200  # changes of one watcher: some 50 KiB; the state says the rest
WATCHERS_LIMIT: Final = 5_000  # of the server: each is a stream
OF_USER_LIMIT: Final = 20  # a person with a few screens, and not a loop that forgets to close them


@dataclass(frozen=True, slots=True)
class CloudNews:
    """A cloud session, and what has happened to it since it was told last."""

    view: CloudView
    changes: tuple[CloudChange, ...] = ()
    missed_count: int = 0


class _Watcher:
    """One who watches the cloud session of an account (name), or in a group that of a member (name)."""

    def __init__(self, caller: Caller, account: str, member: str, unread_limit: int) -> None:
        self.caller = caller
        self.account = account
        self.member = member
        self.error: KeypegError | None = None
        self.woken = asyncio.Event()
        self._unread: deque[CloudChange] = deque(maxlen=unread_limit)
        self._missed = 0

    def put(self, change: CloudChange) -> None:
        if len(self._unread) == self._unread.maxlen:
            self._missed += 1
        self._unread.append(change)
        self.woken.set()

    def take(self) -> tuple[tuple[CloudChange, ...], int]:
        """What it has not been told yet, and how much of it was dropped."""
        taken = tuple(self._unread), self._missed
        self._unread.clear()
        self._missed = 0
        return taken

    def end(self, error: KeypegError) -> None:
        self.error = self.error or error
        self.woken.set()


class CloudWatching:
    """All who watch cloud sessions on this server."""

    def __init__(
        self,
        look: Callable[[Whose], Awaitable[CloudView]],
        hub: EventHub,
        *,
        unread_limit: int = UNREAD_LIMIT,
    ) -> None:
        """`look` says how a cloud session is now."""
        self._look = look
        self._unread_limit = unread_limit
        self._watchers: dict[str, set[_Watcher]] = {}  # by account
        self._count = 0
        self._draining = False
        hub.subscribe(LogRecorded, self._recorded)
        hub.subscribe(AccountAbandoned, self._abandoned)
        hub.subscribe(MemberCutOff, self._member_cut_off)
        hub.subscribe(UserRemoved, self._user_removed)
        hub.subscribe(UserChanged, self._user_changed)
        hub.subscribe(TokenRevoked, self._token_revoked)
        hub.subscribe(CredentialEnded, self._credential_ended)

    async def watch(self, caller: Caller, whose: Whose) -> AsyncGenerator[CloudNews, None]:
        """How a cloud session is, and what happens to it; the caller may see it."""
        watcher = self._enter(caller, whose)
        try:
            changes: tuple[CloudChange, ...] = ()
            missed = 0
            while True:
                view = await self._look(whose)
                if watcher.error is not None:
                    raise watcher.error
                yield CloudNews(view, changes, missed)
                await watcher.woken.wait()
                watcher.woken.clear()
                if watcher.error is not None:
                    raise watcher.error
                changes, missed = watcher.take()
        finally:
            self._leave(watcher)

    def stop(self) -> None:
        """The server goes away: end all streams."""
        self._draining = True
        for watcher in self._everyone():
            watcher.end(draining())

    def _enter(self, caller: Caller, whose: Whose) -> _Watcher:
        if self._draining:
            raise draining()
        own = sum(one.caller.user == caller.user for one in self._everyone())
        for count, limit, which in (
            (own, OF_USER_LIMIT, "of yours"),
            (self._count, WATCHERS_LIMIT, "on this server"),
        ):
            if count >= limit:
                raise LimitExceeded(
                    f"{limit} streams {which} watch cloud sessions already, which is the limit; end one of them.",
                    limit="watch.cloud_streams",
                    value=str(limit),
                )
        account, id = names.ACCOUNT.build(whose.account), whose.member or whose.asker
        member = names.USER.build(whose.account, id) if id else ""
        watcher = _Watcher(caller, account, member, self._unread_limit)
        self._watchers.setdefault(account, set()).add(watcher)
        self._count += 1
        return watcher

    def _leave(self, watcher: _Watcher) -> None:
        watchers = self._watchers[watcher.account]
        watchers.discard(watcher)
        self._count -= 1
        if not watchers:
            del self._watchers[watcher.account]

    def _everyone(self) -> Iterator[_Watcher]:
        for watchers in self._watchers.values():
            yield from watchers

    def _recorded(self, event: LogRecorded) -> None:
        if not self._watchers:
            return
        for entry, number in zip(event.entries, event.numbers, strict=True):
            watchers = self._watchers.get(entry.parent)
            if watchers and (change := cloud_change.of_record(entry.body, number)) is not None:
                for watcher in watchers:
                    if change.member in ("", watcher.member):
                        watcher.put(change)

    def _abandoned(self, event: AccountAbandoned) -> None:
        for watcher in self._watchers.get(event.account, ()):
            watcher.end(elsewhere(event.account))

    def _member_cut_off(self, event: MemberCutOff) -> None:
        for watcher in self._watchers.get(event.account, ()):
            mine = watcher.caller.user == event.member
            if not event.suspended and (mine or watcher.member == event.member):
                watcher.end(cut_off(event) if mine else not_found(event.member))

    def _user_removed(self, event: UserRemoved) -> None:
        for watcher in self._everyone():
            if watcher.caller.user == event.user:
                watcher.end(
                    TokenInvalid(
                        f"{event.user} was removed; sign in as another user.", user=event.user
                    )
                )

    def _user_changed(self, event: UserChanged) -> None:
        for watcher in self._everyone():
            if watcher.caller.user == event.user:
                watcher.end(role_changed())

    def _token_revoked(self, event: TokenRevoked) -> None:
        for watcher in self._everyone():
            if watcher.caller.token == event.token:
                watcher.end(signed_out())

    def _credential_ended(self, event: CredentialEnded) -> None:
        for watcher in self._everyone():
            caller = watcher.caller
            if caller.credential == event.credential and event.device in ("", caller.device):
                watcher.end(revoked(event.credential))

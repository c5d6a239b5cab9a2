"""The operations by which a pool is kept: other rules, the end of lingering, a look, a note in the log.

Promises: each keeps to service/commits.py, and calls its `done` exactly once.

Leaves to others: what holders ask for (pool_operations.py), what rules change (domain/pool_effects.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

from keypeg.errors import ChangedMeanwhile, KeypegError
from keypeg_server.domain import record
from keypeg_server.domain.decision import Change, Decision
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.pool_effects import Effect, effects
from keypeg_server.domain.pool_rules import PoolRules
from keypeg_server.domain.record import Entry
from keypeg_server.service.commits import Operation
from keypeg_server.service.pool_operation import PoolOperation
from keypeg_server.service.pool_reports import Reports, follow

_T = TypeVar("_T")


class Lingered(PoolOperation):
    """The end of a seat's lingering."""

    __slots__ = ("_id",)

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        id: str,
        done: Callable[[KeypegError | None], None],
    ) -> None:
        super().__init__(reports, pool, done)
        self._id = id

    def decide(self) -> Sequence[Change]:
        self._now_us = self._reports.now_us()
        self._decision = self._pool.lingered(self._id, self._now_us)
        return self._decision.changes

    def answer(self) -> None:
        self._done(None)
        follow(self._reports, self._pool, self._decision)


class SetRules(PoolOperation):
    """Other rules for a pool; ChangedMeanwhile when it has not those that the asker has seen."""

    __slots__ = ("_by", "_effects", "_etag", "_rules")

    def __init__(
        self,
        reports: Reports,
        pool: Pool,
        rules: PoolRules,
        etag: str,
        by: str,
        done: Callable[[list[Effect] | KeypegError], None],
    ) -> None:
        super().__init__(reports, pool, done)
        self._rules = rules
        self._etag = etag
        self._by = by

    def decide(self) -> Sequence[Change]:
        pool, rules = self._pool, self._rules
        self._now_us = self._reports.now_us()
        self._decision = Decision(None, [], [], False)
        self._effects: list[Effect] = []
        if pool.rules == rules:  # the same request again
            return ()
        check_etag(pool, self._etag)
        self._effects = effects(pool, rules, self._now_us)
        self._decision = pool.set_rules(rules, self._now_us)
        return self._decision.changes

    def records(self) -> Sequence[Entry]:
        if not self._decision.changes:
            return ()
        said = record.about(
            self._pool.account,
            "pool_rules",
            self._now_us,
            pool=self._pool.id,
            by=self._by,
            rules=json.loads(self._rules.to_json() or "{}"),
        )
        return [said, *super().records()]

    def undo(self) -> None:
        self._pool.undo(self._decision.changes)
        self._reports.queue_moved(self._pool)

    def answer(self) -> None:
        self._done(self._effects)
        follow(self._reports, self._pool, self._decision)
        if self._decision.changes:
            self._reports.ruled(self._pool)


class Note(Operation):
    """Records of the log that change nothing else."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.request = None
        self._entries = entries

    def decide(self) -> Sequence[Change]:
        return ()

    def records(self) -> Sequence[Entry]:
        return self._entries

    def parents(self) -> Collection[str]:
        return {entry.parent for entry in self._entries}

    def undo(self) -> None:
        pass

    def answer(self) -> None:
        pass

    def refuse(self, error: KeypegError) -> None:
        """The disk is away, and its log says so; the next refusal of the kind is recorded again."""


class Look(Operation, Generic[_T]):
    """What is there, told when it is on disk; `undo` takes back what `read` may have set."""

    __slots__ = ("_done", "_found", "_read", "_undo")

    def __init__(
        self,
        read: Callable[[], _T],
        done: Callable[[_T | KeypegError], None],
        undo: Callable[[], None] | None = None,
    ) -> None:
        self.request = None
        self._read = read
        self._done = done
        self._undo = undo

    def decide(self) -> Sequence[Change]:
        self._found = self._read()
        return ()

    def undo(self) -> None:
        if self._undo is not None:
            self._undo()

    def answer(self) -> None:
        self._done(self._found)

    def refuse(self, error: KeypegError) -> None:
        self._done(error)


def check_etag(pool: Pool, etag: str) -> None:
    """ChangedMeanwhile when a pool has other rules than those with this etag; empty for any."""
    if etag and etag != pool.rules.etag:
        raise ChangedMeanwhile(
            f"The rules of {pool.name} have changed since they were read; read them again, and change those.",
            resource=pool.name,
            etag=pool.rules.etag,
        )

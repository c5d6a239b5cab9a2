"""Bugs for the checker of seat servers to find: loaded by a keypegd that has this folder on its PYTHONPATH.

SEATCHECK_PLANT names the bug; the server's own code is not touched. The stepped wall clock, which has a file of
the same name, is loaded as well.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import time
from pathlib import Path
from typing import Any

LAG = 1.5  # seconds from an answer until it is on disk, for grant_before_commit


def grant_before_commit() -> None:
    """Answers go out at once, and to the disk later."""
    from keypeg_server.storage.committer import BatchCommitter

    take, end = BatchCommitter._take, BatchCommitter._end
    told: set[int] = set()

    def taken(self: Any, operation: Any, *more: Any) -> None:
        before = len(self._pending)
        take(self, operation, *more)
        if len(self._pending) > before and self._pending[-1].error is None:
            item = self._pending[-1]
            told.add(id(item))
            asyncio.get_running_loop().call_soon(end, self, item)

    def ended(self: Any, item: Any) -> None:
        if id(item) in told:
            told.discard(id(item))
        else:
            end(self, item)

    def schedule(self: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(LAG, self._start, loop)

    BatchCommitter._take = taken  # type: ignore[assignment,method-assign]
    BatchCommitter._end = ended  # type: ignore[method-assign]
    BatchCommitter._schedule = schedule  # type: ignore[method-assign]


def early_expiry() -> None:
    """A session's seats go to others after half of the time that its app was told."""
    from keypeg_server.service.deadlines import server_deadline

    def deadline(now: float, valid_for: Any) -> float:
        return float(now + valid_for.total_seconds() / 2)

    server_deadline.__code__ = deadline.__code__  # whoever has imported it


def double_grant() -> None:
    """Request ids are forgotten: a repeated request is a new one."""
    from keypeg_server.service.pool_operations import Acquire

    made = Acquire.__init__

    def forgetting(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        self.request = None

    Acquire.__init__ = forgetting  # type: ignore[method-assign]


def forgotten_release() -> None:
    """Giving back is answered and not done."""
    from keypeg_server.domain.decision import Decision
    from keypeg_server.service.pool_operations import Release

    decide = Release.decide

    def decided(self: Any) -> Any:
        lease = self._pool.lease(self._id)
        if lease is None:
            return decide(self)
        self._decision = Decision(lease, [], [], False)
        return ()

    Release.decide = decided  # type: ignore[method-assign]


def clock_use() -> None:
    """Deadlines are on the wall clock."""
    from keypeg_server.clock import SystemClock

    SystemClock.monotonic = lambda self: time.time()  # type: ignore[method-assign]


def renews_after_takeover() -> None:
    """A server whose homes others may have taken goes on from its memory."""
    from keypeg_server.service.cluster import Cluster
    from keypeg_server.service.cluster_acting import Acting

    async def died(self: Any) -> None:
        pass

    Acting.may = lambda self: not self._left  # type: ignore[method-assign]
    Acting._suspend = lambda self: None  # type: ignore[method-assign]
    Cluster._died = died  # type: ignore[method-assign]


def writes_after_takeover() -> None:
    """The same, and it writes as well: nobody looks whose home it is."""
    from keypeg_server.storage.fence import Fence

    renews_after_takeover()
    Fence.epochs = lambda self, parents: {}  # type: ignore[method-assign]


def takeover_without_grant() -> None:
    """Who takes over, or starts again, gives nobody time to come back."""
    from keypeg_server.service import sessions

    sessions.server_deadline = lambda now, valid_for: now  # type: ignore[attr-defined]


_TOOLS = Path(__file__).resolve().parents[2] / "tools"
runpy.run_path(str(_TOOLS / "seatchecker" / "clockstep" / "sitecustomize.py"))
_PLANTS = {
    plant.__name__: plant
    for plant in (
        *(grant_before_commit, early_expiry, double_grant, forgotten_release, clock_use),
        *(renews_after_takeover, writes_after_takeover, takeover_without_grant),
    )
}
if _planted := os.environ.get("SEATCHECK_PLANT"):
    _PLANTS[_planted]()

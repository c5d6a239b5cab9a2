"""The operation by which a place in a queue is given up.

Promises: ends a place only; when it was served in the same moment, its lease is left alone.

Leaves to others: whose place it is, and when nobody asks for it any more (seats.py, polls.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from keypeg_server.domain.decision import Change, Decision
from keypeg_server.service.pool_operations import Release


class Leave(Release):
    """The end of a place."""

    __slots__ = ()

    def decide(self) -> Sequence[Change]:
        if self._pool.place(self._id) is not None:
            return super().decide()
        self._now_us = self._reports.now_us()
        self._decision = Decision(None, [], [], False)
        return ()

    def answer(self) -> None:
        if self._decision.outcome is None:
            self._done(None)
        else:
            super().answer()

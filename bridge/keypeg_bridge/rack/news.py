"""Telling what became of keys: one line in the log for each change, and everyone who listens.

Promises: in the order in which it happened, within the turn of the event loop in which it happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from keypeg_bridge.rack.shelf import KeyChange
from keypeg_bridge.rack.states import Happening

_LOG = structlog.get_logger(__name__)
Listener = Callable[[KeyChange], None]


class News:
    """Who is told of changes."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each change; the answer ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, changes: Iterable[KeyChange]) -> None:
        """Log and tell each."""
        for change in changes:
            record = change.record
            report = _LOG.warning if change.happening is Happening.FAILED else _LOG.info
            report(
                "key",
                key=record.name,
                happening=change.happening.value,
                before=change.before.name.lower(),
                after=record.state.name.lower(),
                place=str(record.place) if record.place else None,
                fault=record.fault or None,
            )
            for listener in list(self._listeners):
                listener(change)

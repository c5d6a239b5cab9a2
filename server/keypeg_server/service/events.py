"""The hub: who did something tells it, who must react hears it at once.

Promises: `publish` calls every subscriber of the event's class, in the order in which they subscribed,
before it returns; a subscriber that fails is logged and keeps no other from hearing. One event loop.

Leaves to others: publishing only after the commit; work that takes time (a subscriber starts a task).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from keypeg_server.domain.events import Event

_LOG: Final = logging.getLogger(__name__)
_E = TypeVar("_E")


class EventHub:
    """Carries events from use cases to whoever subscribed."""

    def __init__(self) -> None:
        self._subscribers: dict[type[Any], list[Callable[[Any], None]]] = {}

    def subscribe(self, event: type[_E], handler: Callable[[_E], None]) -> Callable[[], None]:
        """Call `handler` with every event of this class; call what is returned to stop that."""
        handlers = self._subscribers.setdefault(event, [])
        handlers.append(handler)
        return lambda: handlers.remove(handler) if handler in handlers else None

    def publish(self, event: Event) -> None:
        """Tell all subscribers now."""
        for handler in tuple(self._subscribers.get(type(event), ())):
            try:
                handler(event)
            except Exception:  # one listener's fault is not the publisher's
                _LOG.exception("event handler failed", extra={"event": type(event).__name__})

"""All ways to keys together: looked at by threads, and put together in the event loop.

Promises: everything public is called in the event loop and nothing blocks, but `join`; a way that hangs or fails delays no other, and
what it showed last stays as it is. What is plugged in is `plugs`; what becomes of it is the rack's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from keypeg_bridge.rack.plugs import Plug, Plugs
from keypeg_bridge.rack.ports import KeySource, Look, Place, Time, Timer
from keypeg_bridge.rack.scanner import Scanner

_LOG = structlog.get_logger(__name__)
Post = Callable[..., None]
"""Brings a call with its arguments from any thread into the event loop."""


class Ways:
    """What is plugged into this computer, over all its ways."""

    def __init__(
        self,
        sources: Sequence[KeySource],
        time: Time,
        interval: float,
        post: Post,
        changed: Callable[[], None],
    ) -> None:
        self._time = time
        self._post = post
        self._changed = changed
        """Called after each look, and when something has become ripe."""
        self._plugs = Plugs([source.name for source in sources])
        self._scanners = [
            Scanner(source, interval, lambda: self._plugs.departures, self._saw)
            for source in sources
        ]
        self._problems: dict[str, tuple[str, ...]] = {}
        self._unseen = {source.name for source in sources}
        self._ripening: Timer | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to look."""
        for scanner in self._scanners:
            scanner.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        for scanner in self._scanners:
            scanner.stop()
        self._cancel()

    def join(self, timeout: float) -> None:
        """Blocks until the threads have ended, or that time is over: they share it."""
        for scanner in self._scanners:
            scanner.join(timeout / max(1, len(self._scanners)))

    @property
    def are_settled(self) -> bool:
        """Whether each has been looked at once, and nothing waits for another way to show it."""
        return not self._unseen and self._ripening is None

    def problems(self) -> tuple[str, ...]:
        """Ways that do not work at the moment, one sentence each."""
        return tuple(sentence for each in self._problems.values() for sentence in each)

    def shows(self, place: Place) -> Plug | None:
        """What is plugged in there."""
        return self._plugs.get(place)

    def ripe(self) -> list[Plug]:
        """What is plugged in and can be opened; calls back when there is more."""
        now = self._time.monotonic()
        self._cancel()
        waits = [
            self._plugs.ripe_at(plug)
            for plug in self._plugs.all()
            if not self._plugs.is_ripe(plug, now)
        ]
        if waits and not self._stopped:
            self._ripening = self._time.call_later(max(0.0, min(waits) - now), self._ripen)
        return [plug for plug in self._plugs.all() if self._plugs.is_ripe(plug, now)]

    def left(self, place: Place) -> None:
        """A key was reported as unplugged."""
        self._plugs.left(place, self._time.monotonic())

    def _saw(self, *report: Any) -> None:
        """A scanner's report, from its thread."""
        self._post(self._looked, *report)

    def _looked(self, source: KeySource, look: Look | None, problem: str, departures: int) -> None:
        if self._stopped:
            return
        sentences = (problem,) if look is None else look.problems
        if sentences != self._problems.get(source.name, ()):
            _LOG.warning("way to keys", source=source.name, problems=sentences or "none any more")
        self._problems[source.name] = sentences
        self._unseen.discard(source.name)
        if look is not None:  # else nothing is known: neither new nor gone
            self._plugs.looked(source.name, look, departures, self._time.monotonic())
        self._changed()

    def _ripen(self) -> None:
        self._ripening = None
        self._changed()

    def _cancel(self) -> None:
        if self._ripening is not None:
            self._ripening.cancel()
            self._ripening = None

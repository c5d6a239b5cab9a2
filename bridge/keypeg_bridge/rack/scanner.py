"""Looks at one way to keys again and again, on a thread of its own.

Promises: a way that hangs or fails delays no other; it is looked at less often while it fails. What is new or not there
any more is for the rack to say: each look is reported whole.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from keypeg.errors import KeypegError
from keypeg_bridge.rack.ports import KeySource, Look

FAILING_FACTOR: Final = 5
"""A way that fails is looked at so many times less often."""

_LOG = structlog.get_logger(__name__)

NOTICE_LIMIT: Final = 5.0
"""Seconds between two looks at a way that tells by itself: for what it may have missed."""
Report = Callable[[KeySource, Look | None, str, int], None]
"""A source, what was seen there (or None and a sentence that says why nothing could be), and how many departures were known
before the look."""


class Scanner:
    """The thread of one way to keys."""

    def __init__(
        self, source: KeySource, interval: float, departures: Callable[[], int], report: Report
    ) -> None:
        self.source = source
        self._departures = departures
        self._interval = interval
        self._report = report
        self._wake = threading.Event()
        self._stopping = False
        self._known = ""
        """The failure that is in the log already."""
        self._thread = threading.Thread(target=self._run, name=f"scan {source.name}", daemon=True)

    def start(self) -> None:
        """Begin to look, at once."""
        self._thread.start()

    def look_now(self) -> None:
        """Look again without waiting for the interval."""
        self._wake.set()
        notices = self.source.notices
        if notices is not None:
            notices.wake()

    def stop(self) -> None:
        """Look no more."""
        self._stopping = True
        self.look_now()

    def join(self, timeout: float) -> bool:
        """Wait for the end of the thread; False when it is still looking."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping:
            if self._look():
                self._pause()
            else:
                self._wake.wait(self._interval * FAILING_FACTOR)
            self._wake.clear()

    def _look(self) -> bool:
        """Look once; whether that worked."""
        departures = self._departures()
        try:
            self._report(self.source, self.source.look(), "", departures)
        except (KeypegError, OSError) as error:
            self._report(self.source, None, str(error), departures)
            return False
        except Exception as error:  # the boundary to backends: one that breaks hides no other
            if repr(error) != self._known:
                _LOG.error("looking for keys failed", source=self.source.name, exc_info=error)
            self._known = repr(error)
            sentence = f"{self.source.name} failed; the bridge's log says how."
            self._report(self.source, None, sentence, departures)
            return False
        return True

    def _pause(self) -> None:
        """Until it is time for the next look."""
        notices = self.source.notices
        if notices is None:
            self._wake.wait(self._interval)
        elif not self._wake.is_set():
            notices.wait(NOTICE_LIMIT)

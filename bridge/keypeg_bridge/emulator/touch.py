"""The finger on an emulated key: there whenever it is wanted, never, or when the control socket says so.

Promises: one press serves one request; a press that nobody wanted is forgotten after a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

PRESS_SECONDS: Final = 2.0  # that a press lasts: U2F hosts ask again and again, and must meet it


class TouchPolicy(StrEnum):
    """When the key is touched."""

    ALWAYS = "always"
    NEVER = "never"
    COMMAND = "command"


class Finger:
    """Touches one key."""

    def __init__(self, policy: TouchPolicy, clock: Callable[[], float]) -> None:
        self.policy = policy
        self._clock = clock
        self._until: float | None = None

    def press(self) -> None:
        """Touch the key now; only the policy `command` heeds it."""
        self._until = self._clock() + PRESS_SECONDS

    def take(self) -> bool:
        """Whether the key is touched; uses the press up."""
        if self.policy is not TouchPolicy.COMMAND:
            return self.policy is TouchPolicy.ALWAYS
        until, self._until = self._until, None
        return until is not None and self._clock() < until

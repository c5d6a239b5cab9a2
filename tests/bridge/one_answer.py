"""A security key that gives one answer to everything, for tests of what its driver makes of answers."""

from __future__ import annotations


class Link:
    """Its channel; keeps no time."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def cbor(self, request: bytes, timeout: float, *, touch: bool = False) -> bytes:
        """The answer."""
        return self._answer

"""A bounded queue that is fair to its callers: each in turn, however much one of them asks.

Promises: round robin over the callers that wait, first in first out for each; limits per caller and in all. Not safe for
threads by itself: the worker holds the lock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

T = TypeVar("T")

PER_CALLER: Final = 16
"""Jobs one caller may have waiting: an app has one proof under way, a write a few steps."""
IN_ALL: Final = 4_096
"""Jobs waiting for one key: at half a millisecond each, two seconds of work."""


class QueueFull(Exception):
    """A limit is reached."""


class FairQueue(Generic[T]):
    """What waits for one key."""

    def __init__(self, per_caller: int = PER_CALLER, in_all: int = IN_ALL) -> None:
        self._per_caller = per_caller
        self._in_all = in_all
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, caller: str, item: T) -> None:
        """Add at the caller's end; a new caller is the last in turn. Raises QueueFull."""
        own = self._waiting.get(caller)
        if self._count >= self._in_all or (own is not None and len(own) >= self._per_caller):
            raise QueueFull
        if own is None:
            own = self._waiting[caller] = deque()
        own.append(item)
        self._count += 1

    def pop(self) -> T:
        """The first of the caller whose turn it is; that caller then is the last in turn. IndexError when empty."""
        if not self._waiting:
            raise IndexError("pop from an empty queue")
        caller, own = next(iter(self._waiting.items()))
        item = own.popleft()
        self._count -= 1
        if own:
            self._waiting.move_to_end(caller)
        else:
            del self._waiting[caller]
        return item

    def drain(self) -> Iterator[T]:
        """Take everything out, in turn."""
        while self._waiting:
            yield self.pop()

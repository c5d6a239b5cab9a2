"""Work that must not stop half way when whoever asked for it goes away.

Promises: `to_its_end` runs a coroutine to its end whatever becomes of the awaiting call, and gives that
call its result or error as long as it is there.

Leaves to others: what the work is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_UNDER_WAY: Final[set[asyncio.Task[Any]]] = (
    set()
)  # the event loop itself keeps only weak references


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; when this is canceled, `work` goes on."""
    task = asyncio.ensure_future(work)
    _UNDER_WAY.add(task)
    task.add_done_callback(_UNDER_WAY.discard)
    return await asyncio.shield(task)

"""Frames of a session that are plainly right: the quick way past the rules, for those that come most.

Promises: whatever passes here passes the rules (validate.FRAMES) too; what does not may still be right, and is
for the rules to judge and to explain.

Leaves to others: the rules themselves (validate.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from keypeg import names

_SEQUENCES: Final = 2**63  # above all of them
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_KNOWN_POOLS: Final = 4_096  # whose names are not looked at again

_is_pool: Final = lru_cache(_KNOWN_POOLS)(names.POOL.matches)
_is_uuid: Final = _UUID.fullmatch
_is_lease: Final = names.LEASE.matches


def _renew(frame: Any) -> bool:
    return 0 < frame.sequence < _SEQUENCES and len(frame.mac) == 16 and len(frame.nonce) in (0, 32)


def _acquire(frame: Any) -> bool:
    pool = frame.pool
    return (
        0 < frame.sequence < _SEQUENCES
        and _is_uuid(frame.request_id) is not None
        and (not pool or (len(pool) <= names.NAME_LENGTH and _is_pool(pool)))
        and frame.units <= 10_000
        and not frame.features
        and -100 <= frame.priority <= 100
    )


def _release(frame: Any) -> bool:
    return 0 < frame.sequence < _SEQUENCES and _is_lease(frame.name)


PLAINLY_RIGHT: Final[Mapping[str, Callable[[Any], bool]]] = {
    "renew": _renew,
    "acquire": _acquire,
    "release": _release,
}

"""Frames and requests that are plainly right: the quick way past the rules, for those that come most.

Promises: whatever passes here passes the rules (parts.FRAMES, validate.RULES) too; what does not may still be right, and is
for the rules to judge and to explain.

Leaves to others: the rules themselves (validate.py, parts.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from keypeg import names
from keypeg.v1.seat_service_pb2 import AcquireSeatRequest, ReleaseSeatRequest, RenewSeatRequest

_SEQUENCES: Final = 2**63  # above all of them
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_DEVICE_ID: Final = re.compile(r"[a-z0-9-]{8,64}", re.ASCII)
_PLAIN_TEXT: Final = re.compile(r"[ -~]*", re.ASCII)
_PLAIN_VERSION: Final = re.compile(r"(?:\d{1,9}(?:\.\d{1,9}){0,7})?", re.ASCII)
_TTL_SECONDS: Final = (10, 3_600)
_WAIT_SECONDS: Final = 60
_KNOWN_APPS: Final = 4_096
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


@lru_cache(_KNOWN_APPS)
def _is_computer_and_app(id: str, host_name: str, app: str, version: str, sdk: str) -> bool:
    return (
        _DEVICE_ID.fullmatch(id) is not None
        and len(host_name) <= 255
        and len(app) <= 128
        and len(sdk) <= 128
        and _PLAIN_TEXT.fullmatch(host_name) is not None
        and _PLAIN_TEXT.fullmatch(app) is not None
        and _PLAIN_TEXT.fullmatch(sdk) is not None
        and _PLAIN_VERSION.fullmatch(version) is not None
    )


def _ttl(request: Any) -> bool:
    if not request.HasField("ttl"):
        return True
    ttl = request.ttl
    right: bool = ttl.nanos == 0 and _TTL_SECONDS[0] <= ttl.seconds <= _TTL_SECONDS[1]
    return right


def _acquire_seat(request: Any) -> bool:
    if not (request.HasField("device") and request.HasField("app") and _ttl(request)):
        return False
    if request.HasField("wait"):
        wait = request.wait
        if wait.nanos or not 0 <= wait.seconds <= _WAIT_SECONDS:
            return False
    pool, device, app = request.pool, request.device, request.app
    return (
        _is_uuid(request.request_id) is not None
        and len(pool) <= names.NAME_LENGTH
        and _is_pool(pool)
        and request.units <= 10_000
        and not request.features
        and -100 <= request.priority <= 100
        and not app.HasField("release_time")
        and _is_computer_and_app(device.id, device.host_name, app.name, app.version, app.sdk)
    )


def _renew_seat(request: Any) -> bool:
    return _is_lease(request.name) and _ttl(request)


def _release_seat(request: Any) -> bool:
    return _is_lease(request.name)


PLAINLY_RIGHT: Final[Mapping[str, Callable[[Any], bool]]] = {
    "renew": _renew,
    "acquire": _acquire,
    "release": _release,
}

REQUESTS_PLAINLY_RIGHT: Final[Mapping[Any, Callable[[Any], bool]]] = {
    AcquireSeatRequest: _acquire_seat,
    RenewSeatRequest: _renew_seat,
    ReleaseSeatRequest: _release_seat,
}

"""Loaded by every Python program that has this folder on its PYTHONPATH: a wall clock that can be stepped.

Promises: the seconds in the file that SEATCHECK_CLOCK_STEP names are added to the wall clock at each reading,
whether it is read through `time` or through `datetime`. The monotonic clocks stay as they are, as when an
administrator or NTP steps a real computer's clock.

Leaves to others: clocks that are read outside of Python, such as those of TLS.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from typing import Any

_FILE = os.environ.get("SEATCHECK_CLOCK_STEP", "")
_time, _time_ns = time.time, time.time_ns
_RealDatetime = datetime.datetime
_RealDate = datetime.date


def step() -> int:
    """Seconds that are added now."""
    try:
        with open(_FILE) as file:
            return int(file.read() or 0)
    except (OSError, ValueError):
        return 0


def _stepped() -> float:
    """The time; the true one for gRPC, which makes deadlines of it that its core holds against the real clock."""
    if str(sys._getframe(1).f_globals.get("__name__")).startswith("grpc."):
        return _time()
    return _time() + step()


class _AsReal(type):
    """A stepped class accepts every real date, also those that C code has made."""

    real: type

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.real)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, cls.real)


class _Datetime(_RealDatetime, metaclass=_AsReal):
    real = _RealDatetime

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Any:
        return _RealDatetime.now(tz) + datetime.timedelta(seconds=step())

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Any:
        return cls.now()


class _Date(_RealDate, metaclass=_AsReal):
    real = _RealDate

    @classmethod
    def today(cls) -> Any:
        return _Datetime.now().date()


if _FILE:
    time.time = _stepped
    time.time_ns = lambda: _time_ns() + step() * 1_000_000_000
    datetime.datetime = _Datetime  # type: ignore[misc]  # a stand-in for this process
    datetime.date = _Date  # type: ignore[misc]  # likewise

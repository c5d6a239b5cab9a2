"""Times and durations as people read them.

Promises: pure functions; a time is shown in the computer's own zone with how far it is from `now`.

Leaves to others: reading the clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
NOW: Final = timedelta(seconds=5)  # nearer than this is `now`


def duration(length: timedelta) -> str:
    """The two largest units of a length: `2 d 4 h`, `3 min`, `45 s`, `250 ms`."""
    seconds = abs(length.total_seconds())
    sign = "-" if length < timedelta(0) else ""
    if seconds == 0:
        return "0 s"
    if seconds < 1:
        return f"{sign}{round(seconds * 1000)} ms"
    parts: list[str] = []
    rest = round(seconds)
    for size, unit in UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return sign + " ".join(part for part in parts if part)


def hint(moment: datetime, now: datetime) -> str:
    """How far away: `in 3 d`, `2 h ago`, `now`. One unit, rounded, is enough for a hint."""
    away = moment - now
    if abs(away) < NOW:
        return "now"
    seconds = abs(away.total_seconds())
    size, unit = next((size, unit) for size, unit in UNITS if seconds >= size or size == 1)
    text = f"{round(seconds / size)} {unit}"
    return f"in {text}" if away > timedelta(0) else f"{text} ago"


def local(moment: datetime, now: datetime, zone: tzinfo | None = None) -> str:
    """A time in the computer's zone, to the minute, with its hint."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M} ({hint(moment, now)})"


def iso(moment: datetime) -> str:
    """A time for programs: UTC, ISO 8601."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")

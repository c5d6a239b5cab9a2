"""Times and durations of signed documents, which may be anything that a stranger wrote.

Promises: comparing never raises, whatever the Timestamp says; what is no time and no duration of Python's is
DocumentMalformed.

Leaves to others: which clock `now` comes from (docs/formats.md, "Clocks").
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from keypeg.errors import DocumentMalformed

# How much earlier than its time something signed is taken. Device clocks are off by minutes; a key that
# is used minutes early harms nobody, an app that does not start does. Ends have no tolerance.
BEGIN_TOLERANCE: Final = timedelta(minutes=5)


def instant(timestamp: Timestamp) -> datetime:
    """A Timestamp of a document as a time in UTC; DocumentMalformed when there is no such time."""
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise DocumentMalformed(
            "The document has a time that does not exist; ask its publisher for a new one."
        ) from error


def span(duration: Duration) -> timedelta:
    """A Duration of a document; DocumentMalformed when it is none."""
    try:
        return duration.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise DocumentMalformed(
            "The document has a duration that does not exist; ask its publisher for a new one."
        ) from error


def after(now: datetime, moment: Timestamp) -> bool:
    """Whether `now` is at or past a moment; whole numbers, since a foreign moment may be no datetime."""
    since = now - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(microseconds=1) * 1000 >= moment.seconds * 10**9 + moment.nanos


def time_text(moment: Timestamp) -> str:
    """A moment for people and metadata, in UTC to the second."""
    try:
        return moment.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return f"second {moment.seconds}"

"""One running app at the bridge, and the settings of all of them. Values; what happens to them is `sessions`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg.versions import UNTOLD, Release
from keypeg_bridge.rack.ports import Timer
from keypeg_bridge.rpc.outbox import Outbox
from keypeg_bridge.rpc.protocol import Phase

LATEST: Final = 253_402_300_800  # s since 1970: the year 10000

Stream = Outbox[HoldSessionResponse]


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """How sessions behave."""

    valid_for: timedelta = timedelta(seconds=30)
    renew_interval: timedelta = timedelta(seconds=10)
    limit: int = 4_096
    """Sessions at once: more than apps on any computer."""


@dataclass(eq=False, slots=True)
class Session:
    """One running app. Its ticket is a secret: repr shows none."""

    name: str
    product: str
    key: str
    activation: str
    grace: timedelta
    ticket: bytes
    sequence: int
    stream: Stream | None
    release: Release = UNTOLD
    phase: Phase = Phase.RUNNING
    timer: Timer | None = None
    away_until: float = 0.0
    """The end of the grace, on the monotonic clock."""
    pending: session_pb2.Resume | None = None
    """A resume that waits for the key to come back."""

    def __repr__(self) -> str:
        return f"Session({self.name}, key={self.key}, {self.phase.value})"


def release_of(app: session_pb2.App) -> Release:
    """What the app says of itself; a time that does not exist is none, for the app judges by its own."""
    seconds = app.release_time.seconds
    if not app.HasField("release_time") or not 0 <= seconds < LATEST:
        return Release(app.version)
    return Release(app.version, datetime.fromtimestamp(seconds, UTC))

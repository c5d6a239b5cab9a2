"""What the session machine takes and gives: who asks, moments, effects, and the frames that start a stream.

Promises: values only. An effect is something to be done by whoever has a stream and a timer.

Leaves to others: deciding (session_machine), doing (aio).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from keypeg import events, protocol
from keypeg.device_mark import Mark
from keypeg.seat import SeatRecord
from keypeg.session_guard import Pinned
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest


@dataclass(frozen=True)
class Moment:
    """A time on both clocks: `monotonic` for durations, `wall` for the terms of documents."""

    monotonic: float
    wall: datetime


@dataclass(frozen=True)
class Asking:
    """Who asks for what."""

    pinned: Pinned
    host_name: str = ""
    app_name: str = ""
    process_id: int = 0
    location_kinds: tuple[int, ...] = ()
    to_bridge: bool = False
    protocols: Mapping[int, str] = field(default_factory=lambda: protocol.SPOKEN)
    mark: Mark | None = None  # of this session, where it has one


@dataclass(frozen=True)
class Connect:
    """Open a stream now; call `connected` right before its first frame is written."""


@dataclass(frozen=True)
class HangUp:
    """Drop the stream; nothing of it counts any more."""


@dataclass(frozen=True)
class Send:
    """Write a frame."""

    frame: HoldSessionRequest


@dataclass(frozen=True)
class Prove:
    """Look for the mark of another session, and answer with `SessionMachine.device_proof`."""

    mark: str
    session: str  # of this side
    nonce: bytes


@dataclass(frozen=True)
class Tell:
    """Tell the app."""

    event: events.Event


@dataclass(frozen=True)
class SeatChanged:
    """A seat stands elsewhere now."""

    key: str
    record: SeatRecord


Effect = Connect | HangUp | Send | Prove | Tell | SeatChanged


@dataclass(frozen=True)
class Held:
    """What of an open session is worth knowing outside."""

    session: str
    location: str
    pools: tuple[str, ...]
    release_token: bytes = field(repr=False)


def open_frame(
    asking: Asking, version: int, sequence: int, nonce: bytes, key_share: bytes
) -> HoldSessionRequest:
    """The frame that opens a new session."""
    frame = session_pb2.Open(
        sequence=sequence,
        protocol_version=version,
        device=session_pb2.Device(id=asking.pinned.device, host_name=asking.host_name),
        app=session_pb2.App(
            name=asking.app_name,
            version=asking.pinned.release.version,
            sdk=protocol.SDK,
            process_id=asking.process_id,
        ),
        product=asking.pinned.product,
        nonce=nonce,
        key_share=key_share,
        location_kinds=asking.location_kinds,  # type: ignore[arg-type]  # numbers of the enum
        mark=_mark(asking),
    )
    released = asking.pinned.release.time
    if released is not None:
        frame.app.release_time.FromDatetime(released)
    return HoldSessionRequest(open=frame)


def _mark(asking: Asking) -> session_pb2.DeviceMark | None:
    mark = asking.mark
    return None if mark is None else session_pb2.DeviceMark(id=mark.id, secret=mark.secret)


def resume_frame(
    asking: Asking,
    version: int,
    session: str,
    ticket: bytes,
    sequence: int,
    nonce: bytes,
    key_share: bytes,
    mac: bytes,
) -> HoldSessionRequest:
    """The frame that goes on with a session."""
    frame = session_pb2.Resume(
        sequence=sequence,
        protocol_version=version,
        session=session,
        resume_ticket=ticket,
        nonce=nonce,
        key_share=key_share,
        mac=mac,
        mark=_mark(asking),
    )
    return HoldSessionRequest(resume=frame)

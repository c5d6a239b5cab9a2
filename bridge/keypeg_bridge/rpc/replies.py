"""The frames that a session answers and pushes. Pure."""

from __future__ import annotations

from datetime import timedelta

from keypeg import status
from keypeg.errors import KeypegError
from keypeg.v1 import error_pb2, proof_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_bridge.rpc.session import Session, SessionSettings


def opened(
    session: Session,
    settings: SessionSettings,
    proof: proof_pb2.Proof,
    location: str,
    release_token: bytes,
    sequence: int,
    *,
    resumed: bool,
) -> HoldSessionResponse:
    """The session is open, or goes on."""
    frame = session_pb2.Opened(
        sequence=sequence,
        session=session.name,
        proof=proof,
        resume_ticket=session.ticket,
        release_token=release_token,
        resumed=resumed,
        location=location,
    )
    frame.renew_interval.FromTimedelta(settings.renew_interval)
    frame.valid_for.FromTimedelta(settings.valid_for)
    return HoldSessionResponse(opened=frame)


def renewed(
    settings: SessionSettings, proof: proof_pb2.Proof, sequence: int
) -> HoldSessionResponse:
    """More time."""
    frame = session_pb2.Renewed(sequence=sequence, proof=proof)
    frame.valid_for.FromTimedelta(settings.valid_for)
    return HoldSessionResponse(renewed=frame)


def changed(change: session_pb2.Change.ValueType, resource: str) -> HoldSessionResponse:
    """Something that the app should look at."""
    return HoldSessionResponse(changed=session_pb2.Changed(change=change, resource=resource))


def draining(closes_in: timedelta) -> HoldSessionResponse:
    """The bridge goes away."""
    frame = session_pb2.Draining()
    frame.closes_in.FromTimedelta(closes_in)
    return HoldSessionResponse(draining=frame)


def missing(session: Session, grace: timedelta) -> HoldSessionResponse:
    """The key was unplugged; the app may go on for the grace."""
    frame = session_pb2.Missing(reason=error_pb2.REASON_KEY_UNPLUGGED, resource=session.key)
    frame.grace.FromTimedelta(grace)
    return HoldSessionResponse(missing=frame)


def denied(sequence: int, request_id: str, error: KeypegError) -> HoldSessionResponse:
    """No, and why."""
    explanation = status.explain(error)
    frame = session_pb2.Denied(sequence=sequence, request_id=request_id, explanation=explanation)
    return HoldSessionResponse(denied=frame)

"""How a part of the applet says no, or not yet."""

from __future__ import annotations

from collections.abc import Callable

from keypeg_bridge.wire.apdu import Response, Status
from keypeg_bridge.wire.conversation import Pending
from keypeg_bridge.wire.errors import MalformedFrame


class Refused(Exception):
    """A command that is answered with a status word alone."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


def need(condition: bool, status: int = Status.WRONG_DATA) -> None:
    """Refuse with this status unless the condition holds."""
    if not condition:
        raise Refused(status)


def answered(work: Callable[[], bytes | Pending]) -> Response | Pending:
    """What the work gives, its refusals as status words."""
    try:
        found = work()
    except Refused as refusal:
        return Response(b"", refusal.status)
    except MalformedFrame:
        return Response(b"", Status.WRONG_DATA)
    return Response(found, Status.OK) if isinstance(found, bytes) else found


def ended(work: Callable[[], bytes]) -> Response:
    """`answered`, for work that cannot wait."""
    response = answered(work)
    assert isinstance(response, Response)
    return response

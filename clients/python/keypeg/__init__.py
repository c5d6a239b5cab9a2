"""keypeg: the SDK for a protected app.

    import keypeg

    with keypeg.open_session("cad", root=ROOT) as session:
        session.require()

Promises: the names below are the public API; what they give is typed. Importing this package imports neither
grpc nor protobuf: each name is loaded when it is first used.

Leaves to others: the command line (keypeg.cli), tests of apps (keypeg.testing), the agent (keypeg.agent).
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Final

from keypeg._version import __version__

if TYPE_CHECKING:
    from keypeg import aio, errors, events
    from keypeg.cloud import CloudState
    from keypeg.cloud_twin import CloudSession
    from keypeg.errors import KeypegError, Reason
    from keypeg.events import Event
    from keypeg.launch_steps import Answer, Progress, Step
    from keypeg.launch_twin import Launch, launch
    from keypeg.seat import Lease, Place, SeatStage
    from keypeg.session import Seat, Session, open_session
    from keypeg.session_state import State

# What gRPC starts in a forked child, so that it could go on with its parent's connections, crashes one child
# in four once grpc.aio was used. A child opens its own sessions; gRPC reads this when it is first used.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

__all__ = [
    "Answer",
    "CloudSession",
    "CloudState",
    "Event",
    "KeypegError",
    "Launch",
    "Lease",
    "Place",
    "Progress",
    "Reason",
    "Seat",
    "SeatStage",
    "Session",
    "State",
    "Step",
    "__version__",
    "aio",
    "errors",
    "events",
    "launch",
    "open_session",
]

_MODULES: Final = frozenset({"aio", "errors", "events"})
_HOMES: Final = {
    "Answer": "keypeg.launch_steps",
    "CloudSession": "keypeg.cloud_twin",
    "CloudState": "keypeg.cloud",
    "Event": "keypeg.events",
    "KeypegError": "keypeg.errors",
    "Launch": "keypeg.launch_twin",
    "Lease": "keypeg.seat",
    "Place": "keypeg.seat",
    "Progress": "keypeg.launch_steps",
    "Reason": "keypeg.errors",
    "Seat": "keypeg.session",
    "SeatStage": "keypeg.seat",
    "Session": "keypeg.session",
    "State": "keypeg.session_state",
    "Step": "keypeg.launch_steps",
    "launch": "keypeg.launch_twin",
    "open_session": "keypeg.session",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"keypeg.{name}")
    if (home := _HOMES.get(name)) is not None:
        value: object = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'keypeg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

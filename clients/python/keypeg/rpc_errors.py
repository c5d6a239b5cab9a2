"""The errors of gRPC calls as ours.

Promises: an error of a call becomes the KeypegError of its reason, never a text to compare; one without our
details becomes the one that its code stands for.

Leaves to others: making calls (calls), and repeating them (failover).
"""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio

from keypeg import errors, status

# What grpc.aio itself says, on this side, when a stream ends while a message is on its way out: the status that
# the other side gave is lost by that.
_ENDED_UNDER_WRITE: Final = "Internal error from Core"


def translate(error: grpc.RpcError | grpc.aio.AioRpcError) -> errors.KeypegError:
    """The error of a call as the error of its reason."""
    code = _code(error)
    text = str(getattr(error, "details", lambda: "")() or "")
    metadata = getattr(error, "trailing_metadata", lambda: None)()
    return status.from_trailing_metadata(metadata) or from_code(code, text)


def from_code(code: grpc.StatusCode, text: str) -> errors.KeypegError:
    """The error for a status without our details: made by gRPC itself, or by something in between."""
    name = code.name
    said = f" ({text})" if text else ""
    match code:
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            return errors.Unreachable(
                f"The other side can not be reached{said}; check its address, and that it runs.",
                code=name,
            )
        case grpc.StatusCode.INTERNAL if text.startswith(_ENDED_UNDER_WRITE):
            return errors.Unreachable(
                "The other side ended the call while it was written to; try again.", code=name
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.TimedOut(f"The other side did not answer in time{said}.", code=name)
        case grpc.StatusCode.UNIMPLEMENTED:
            return errors.ProtocolUnsupported(
                f"The other side does not serve this call{said}; is it a keypeg server of this "
                "version?",
                code=name,
            )
        case grpc.StatusCode.UNAUTHENTICATED:
            return errors.SignInRequired(f"Sign in first{said}.", code=name)
        case grpc.StatusCode.PERMISSION_DENIED:
            return errors.PermissionDenied(f"This may not be done{said}.", code=name)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return errors.Busy(f"The other side has too much to do{said}.", code=name)
        case _:
            return errors.Internal(f"The call failed with {name}{said}.", code=name)


def _code(error: grpc.RpcError) -> grpc.StatusCode:
    code = getattr(error, "code", lambda: None)()
    return code if isinstance(code, grpc.StatusCode) else grpc.StatusCode.UNKNOWN

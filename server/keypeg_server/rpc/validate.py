"""Whether a request is well-formed: one rule for every field, as the contract's comments say.

Promises: every message of the contract that this server takes has a table, here or in what is taken in here, every
field of it a rule (a test walks the descriptors); all that is wrong is said at once, field by field, in FieldInvalid.
`frame` is cheap for the frame that comes most, `renew`.

Leaves to others: what only the server's data can tell (services), who may ask (authorization.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from keypeg import names
from keypeg.errors import FieldInvalid, ProtocolViolation
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg_server.rpc import (
    account_checks,
    certificate_checks,
    cloud_checks,
    credential_checks,
    identity_checks,
    key_checks,
    license_checks,
    life_checks,
    people_checks,
    seat_checks,
)
from keypeg_server.rpc.checks import message, name, size_between, value_of
from keypeg_server.rpc.frame_checks import PLAINLY_RIGHT, REQUESTS_PLAINLY_RIGHT
from keypeg_server.rpc.parts import FRAMES, Fields
from keypeg_server.rpc.quotas import TooLarge

PACKAGE: Final = "keypeg.v1"

RULES: Final[Mapping[str, Fields]] = {
    **account_checks.RULES,
    **people_checks.RULES,
    **identity_checks.RULES,
    **credential_checks.RULES,
    **certificate_checks.RULES,
    **license_checks.RULES,
    **life_checks.RULES,
    **cloud_checks.RULES,
    **key_checks.RULES,
    **seat_checks.RULES,
    "HoldSessionRequest": {kind: message(fields) for kind, fields in FRAMES.items()},
    "CloseSessionRequest": {"session": name(names.SESSION), "release_token": size_between(1, 64)},
}


def request(request: Any) -> None:
    """Refuse a request of the contract that is not well-formed; requests of others pass."""
    plainly_right = REQUESTS_PLAINLY_RIGHT.get(type(request))
    if plainly_right is not None and plainly_right(request):
        return
    descriptor = request.DESCRIPTOR
    if descriptor.file.package == PACKAGE:
        _check(request, RULES[descriptor.name])


def frame(frame: HoldSessionRequest | TooLarge) -> None:
    """Refuse a frame of a session that is not well-formed, or was too large to be parsed."""
    if isinstance(frame, TooLarge):
        raise frame.refusal()
    kind = frame.WhichOneof("frame")
    if kind is None:
        raise ProtocolViolation(
            "The frame is empty, or of a kind that is not known here; send one that is known.",
            frame="none",
        )
    plainly_right = PLAINLY_RIGHT.get(kind)
    if plainly_right is not None and plainly_right(getattr(frame, kind)):
        return
    _check(getattr(frame, kind), FRAMES[kind])


def _check(holder: Any, fields: Fields) -> None:
    problems: dict[str, str] = {}
    for field, check in fields.items():
        for path, what in check(value_of(holder, field)):
            problems.setdefault(field + path, what)
    if problems:
        said = "; ".join(f"{field} {what}" for field, what in list(problems.items())[:3])
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise FieldInvalid(f"The request is not well-formed: {said}{more}.", fields=problems)

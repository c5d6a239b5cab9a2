"""What a request about borrowed seats has to be: the checks of its own kinds of fields, for validate.py.

Promises: as checks.py. What passes here can be put into a document that every verifier accepts.

Leaves to others: which request has which of them (validate.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from keypeg.fingerprint import COMPONENT_COUNT, SALT_BYTES, required_of
from keypeg.v1.document_pb2 import KEY_ALGORITHM_ED25519, KeyAlgorithm
from keypeg_server.rpc.checks import (
    Check,
    Problem,
    duration,
    each,
    matching,
    message,
    number,
    one_of,
    size,
    size_between,
    text,
)

SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=366)


def _kind(component: Any) -> str:
    kind: str = component.kind
    return kind


_DURATION = duration(SHORTEST, LONGEST)
COMPONENT: Final = {
    "kind": matching(r"[a-z0-9_]{1,32}", "1 to 32 characters of [a-z0-9_]"),
    "digest": size(32),
}
FINGERPRINT: Final = {
    "salt": size(SALT_BYTES),
    "components": each(message(COMPONENT), low=1, high=COMPONENT_COUNT, key=_kind),
    "required_count": number(1, COMPONENT_COUNT),
}
SIGNATURE: Final = {"key_id": text(0, 32), "signature": size_between(0, 8_192)}
ENVELOPE: Final = {
    "payload": size_between(1, 65_536),
    "payload_type": text(1, 128),
    "signatures": each(message(SIGNATURE), low=1, high=8),
}
_PARTS = message(FINGERPRINT, required=False)
RETURN_KEY: Final[Check] = message(
    {"algorithm": one_of(KeyAlgorithm, KEY_ALGORITHM_ED25519), "key": size(32)}
)


def borrow_duration(value: Any) -> Iterable[Problem]:
    """For how long; has to be said."""
    return (("", "is missing"),) if value is None else _DURATION(value)


def whole_fingerprint(value: Any) -> Iterable[Problem]:
    """The parts of a computer; has to be said, and two thirds have to be found again."""
    if value is None:
        yield ("", "is missing")
        return
    yield from fingerprint(value)
    wanted = required_of(len(value.components))
    if value.required_count != wanted:
        yield (".required_count", f"is {value.required_count}, and two thirds are {wanted}")


def fingerprint(value: Any) -> Iterable[Problem]:
    """The parts of a computer, or unset; one that could fit any computer is refused."""
    yield from _PARTS(value)
    if value is not None and value.required_count > len(value.components):
        yield (
            ".required_count",
            f"is {value.required_count}, and there are {len(value.components)} components",
        )

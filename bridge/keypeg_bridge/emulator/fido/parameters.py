"""Reading the parameters of CTAP commands: what is missing, of the wrong type or not offered gets the status for it.

Promises: a value comes back with the type that was asked for, or `Refused` is raised (CTAP 2.1, section 6 and 8.2). A
boolean is never taken for a number. Unknown parameters are passed over, as the specification wants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from keypeg_bridge.emulator.fido.state import User
from keypeg_bridge.wire.ctap import Status

T = TypeVar("T")
Map = Mapping[Any, Any]
HASH_BYTES: Final = 32
MAX_USER_ID: Final = 64  # bytes (WebAuthn, section 5.4.3)
MAX_NAME: Final = 64  # characters kept of a name; longer ones are cut, as the specification allows
KEY_TYPE: Final = "public-key"


class Refused(Exception):
    """A command that is answered with a status alone."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


def optional(parameters: Map, key: int | str, kind: type[T]) -> T | None:
    """The value, or None when it is not there."""
    if key not in parameters:
        return None
    value = parameters[key]
    if type(value) is not kind:
        raise Refused(Status.CBOR_UNEXPECTED_TYPE)
    return value


def required(parameters: Map, key: int | str, kind: type[T]) -> T:
    """The value."""
    value = optional(parameters, key, kind)
    if value is None:
        raise Refused(Status.MISSING_PARAMETER)
    return value


def digest(parameters: Map, key: int) -> bytes:
    """A SHA-256 digest."""
    value = required(parameters, key, bytes)
    if len(value) != HASH_BYTES:
        raise Refused(Status.INVALID_LENGTH)
    return value


def options(parameters: Map, key: int) -> Mapping[str, bool]:
    """The options, all of them booleans under text."""
    given: dict[Any, Any] = optional(parameters, key, dict) or {}
    if any(type(k) is not str or type(v) is not bool for k, v in given.items()):
        raise Refused(Status.CBOR_UNEXPECTED_TYPE)
    return given


def descriptor(value: Any) -> bytes | None:
    """The id in a credential descriptor; None when it is of a type that nobody has here."""
    if type(value) is not dict:
        raise Refused(Status.CBOR_UNEXPECTED_TYPE)
    kind = required(value, "type", str)
    identifier = required(value, "id", bytes)
    return identifier if kind == KEY_TYPE else None


def descriptors(parameters: Map, key: int, most: int) -> list[bytes] | None:
    """The ids in a list of descriptors; None when there is no list, or nothing in it."""
    given: list[Any] | None = optional(parameters, key, list)
    if not given:
        return None
    if len(given) > most:
        raise Refused(Status.LIMIT_EXCEEDED)
    return [found for found in map(descriptor, given) if found is not None]


def user(value: Map) -> User:
    """The user entity."""
    identifier = required(value, "id", bytes)
    if not 1 <= len(identifier) <= MAX_USER_ID:
        raise Refused(Status.INVALID_LENGTH)
    return User(identifier, name(value, "name"), name(value, "displayName"))


def name(value: Map, key: str) -> str | None:
    """A text for people, cut to what is kept."""
    text = optional(value, key, str)
    return None if text is None else text[:MAX_NAME]

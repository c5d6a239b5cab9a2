"""A FIDO2 key's commands, one method each, and what its refusals mean (CTAP 2.1, section 6; docs/protocols.md, "FIDO2").

Promises: foreign bytes come out as values, or as `MalformedReply`; refusals as the error they mean. Which command to give
when, and what to believe of its answer, is the driver's business, in `fido2.py`.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fido2 import cbor
from fido2.webauthn import AuthenticatorData

from keypeg.possession import FIDO2_RP_ID
from keypeg.v1 import document_pb2
from keypeg_bridge.keys.ctap import CtapLink
from keypeg_bridge.keys.errors import (
    KeyDriverError,
    MalformedReply,
    NotSupported,
    NotTouched,
    StorageFull,
)

COMMAND_SECONDS: Final = 2.5  # silent ones; below what a proof may take
TOUCH_SECONDS: Final = (
    15.0  # for a person to touch the key; below what one step of a write may take
)
DEFAULT_MESSAGE: Final = 1_024  # bytes, for keys that name no limit (section 6.4)

_MAKE_CREDENTIAL: Final = 0x01
_GET_ASSERTION: Final = 0x02
_GET_INFO: Final = 0x04

_UNKNOWN_CREDENTIAL: Final = frozenset({0x22, 0x2E})
# Status bytes that a caller decides differently about; anything else is a plain KeyDriverError.
_REFUSALS: Final[dict[int, tuple[type[KeyDriverError], str]]] = {
    0x26: (NotSupported, "The key knows neither P-256 nor Ed25519."),
    0x27: (NotTouched, "The key was not touched, or refused. Begin again, and touch it."),
    0x28: (StorageFull, "The key has no room for another credential."),
    0x2B: (NotSupported, "The key does not know an option that keypeg needs."),
    0x2C: (NotSupported, "The key does not know an option that keypeg needs."),
    0x2D: (NotTouched, "The key was told to give up."),
    0x2F: (
        NotTouched,
        "The key was not touched in time. Begin again, and touch it when it blinks.",
    ),
    0x33: (NotSupported, "The key wants its PIN for this."),
    0x36: (NotSupported, "The key wants its PIN for this."),
    0x3B: (NotSupported, "The key wants a touch before it signs."),
}
# COSE: label 3 is the algorithm, -2 and -3 are coordinates (RFC 9053).
_ES256: Final = -7
_EDDSA: Final = -8


@dataclass(frozen=True, slots=True)
class Info:
    """What authenticatorGetInfo told."""

    versions: tuple[str, ...]
    options: Mapping[str, bool]
    extensions: tuple[str, ...]
    max_message: int
    max_credentials: int  # in one list
    max_credential_id: int | None

    @property
    def speaks_ctap2(self) -> bool:
        """Whether it knows the commands here."""
        return any(version.startswith("FIDO_2_") for version in self.versions)


@dataclass(frozen=True, slots=True)
class NewCredential:
    """What authenticatorMakeCredential made."""

    id: bytes = field(repr=False)
    algorithm: int  # a keypeg.v1.KeyAlgorithm
    public_key: bytes
    attested: bool  # its maker vouches for the key, with a certificate


@dataclass(frozen=True, slots=True)
class Signed:
    """What authenticatorGetAssertion signed."""

    credential: bytes | None = field(repr=False)  # None: the only one asked for
    data: bytes  # the authenticator data
    signature: bytes


class Fido2Key:
    """The commands of one key."""

    def __init__(self, link: CtapLink) -> None:
        self._link = link
        self._max_message = DEFAULT_MESSAGE

    def info(self) -> Info:
        """What the key says of itself."""
        reply = self._call(_GET_INFO, None, COMMAND_SECONDS)
        with _readable():
            limit = reply.get(8)
            info = Info(
                versions=tuple(str(one) for one in reply[1]),
                options={str(k): v is True for k, v in dict(reply.get(4, {})).items()},
                extensions=tuple(str(one) for one in reply.get(2, ())),
                max_message=max(DEFAULT_MESSAGE, int(reply.get(5, DEFAULT_MESSAGE))),
                max_credentials=max(1, int(reply.get(7, 1))),
                max_credential_id=None if limit is None else int(limit),
            )
        self._max_message = info.max_message
        return info

    def make_credential(self, user: bytes, client_data_hash: bytes) -> NewCredential:
        """A new credential that the key does not keep itself; waits for a touch."""
        reply = self._call(
            _MAKE_CREDENTIAL,
            {
                1: client_data_hash,
                2: {"id": FIDO2_RP_ID, "name": "keypeg"},
                3: {"id": user, "name": "keypeg", "displayName": "keypeg"},
                4: [{"alg": one, "type": "public-key"} for one in (_ES256, _EDDSA)],
            },
            TOUCH_SECONDS,
            touch=True,
        )
        with _readable():
            made = AuthenticatorData(_bytes(reply[2])).credential_data
            if made is None:
                raise ValueError("no credential in it")
            algorithm, public_key = _public_key(made.public_key)
            statement = reply.get(3, {})
            attested = bool(statement.get("x5c")) or reply[1] == "fido-u2f"
            return NewCredential(bytes(made.credential_id), algorithm, public_key, attested)

    def get_assertion(self, credentials: Sequence[bytes], client_data_hash: bytes) -> Signed | None:
        """A silent signature by one of `credentials`; None when the key knows none of them.

        `TouchWanted` or `NotSupported` when the key does not sign silently.
        """
        request = {
            1: FIDO2_RP_ID,
            2: client_data_hash,
            3: [{"id": one, "type": "public-key"} for one in credentials],
            5: {"up": False},
        }
        reply = self._call(_GET_ASSERTION, request, COMMAND_SECONDS, absent=_UNKNOWN_CREDENTIAL)
        if reply is _ABSENT:
            return None
        with _readable():
            named = reply.get(1)
            credential = None if named is None else _bytes(named["id"])
            return Signed(credential, _bytes(reply[2]), _bytes(reply[3]))

    def room_for(self, credentials: Sequence[bytes], info: Info) -> Iterator[Sequence[bytes]]:
        """`credentials` in as few lists as the key takes."""
        group: list[bytes] = []
        size = 0
        for one in credentials:
            if info.max_credential_id is not None and len(one) > info.max_credential_id:
                continue  # another key's
            length = len(one) + 32  # its map around it
            full = len(group) == info.max_credentials or size + length > info.max_message - 256
            if group and full:
                yield group
                group, size = [], 0
            group.append(one)
            size += length
        if group:
            yield group

    def close(self) -> None:
        """Let go of the key."""
        self._link.close()

    def _call(
        self,
        command: int,
        fields: Mapping[int, Any] | None,
        timeout: float,
        *,
        touch: bool = False,
        absent: frozenset[int] = frozenset(),
    ) -> Mapping[int, Any]:
        request = bytes((command,)) + (b"" if fields is None else cbor.encode(fields))
        if len(request) > self._max_message:
            raise NotSupported("The key does not take messages as long as keypeg's.")
        answer = self._link.cbor(request, timeout, touch=touch)
        status = answer[0]
        if status in absent:
            return _ABSENT
        if status:
            kind, text = _REFUSALS.get(status, (KeyDriverError, "The key refused the command."))
            raise kind(f"{text} (CTAP status {status:02X})")
        with _readable():
            decoded = cbor.decode(answer[1:])
            if not isinstance(decoded, Mapping):
                raise TypeError("no map")
            return decoded


_ABSENT: Final[Mapping[int, Any]] = {}


def _public_key(cose: Mapping[int, Any]) -> tuple[int, bytes]:
    match cose[3]:
        case -7:
            x, y = cose[-2], cose[-3]
            if len(x) != 32 or len(y) != 32:
                raise ValueError("not a point of P-256")
            return document_pb2.KEY_ALGORITHM_FIDO2_P256, b"\x04" + x + y
        case -8:
            if len(cose[-2]) != 32:
                raise ValueError("not an Ed25519 key")
            return document_pb2.KEY_ALGORITHM_FIDO2_ED25519, bytes(cose[-2])
    raise ValueError(f"algorithm {cose[3]!r}")


def _bytes(value: object) -> bytes:
    """`value`, if it is bytes: a number would make bytes() reserve as many as it says."""
    if not isinstance(value, bytes):
        raise TypeError("not bytes")
    return value


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Whatever a parser makes of foreign bytes: an answer that cannot be read."""
    try:
        yield
    except (
        AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
        struct.error,
    ) as error:  # fmt: skip
        raise MalformedReply(
            f"The key's answer cannot be read: {type(error).__name__}: {error}."
        ) from error

"""U2F on CTAPHID_MSG: register, authenticate, version (FIDO U2F raw message formats 1.2), with CTAP's credentials.

Promises: every message ends in a status word; the counter is on disk before the answer. U2F never waits for a touch: without
one the answer is 6985, and the host asks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from keypeg_bridge.emulator.fido.core import Core
from keypeg_bridge.emulator.fido.credential import Credential, Trait
from keypeg_bridge.emulator.fido.parameters import Refused
from keypeg_bridge.wire.apdu import Command, Response, Status
from keypeg_bridge.wire.ctap import Flag
from keypeg_bridge.wire.errors import MalformedFrame

REGISTER: Final = 0x01
AUTHENTICATE: Final = 0x02
VERSION: Final = 0x03
CHECK_ONLY: Final = 0x07
ENFORCE_PRESENCE: Final = 0x03
NO_PRESENCE: Final = 0x08
_HASHES: Final = 64  # bytes of challenge and application


class _Word(Exception):
    """A message that is answered with a status word alone."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name)
        self.status = status


class U2f:
    """The U2F commands of one key; `touched` takes the touch of a moment ago, if there was one."""

    def __init__(self, core: Core, touched: Callable[[], bool]) -> None:
        self._core = core
        self._touched = touched
        self._commands = {
            REGISTER: self._register,
            AUTHENTICATE: self._authenticate,
            VERSION: self._version,
        }

    def answer(self, message: bytes) -> bytes:
        """The response to one raw message."""
        try:
            command = Command.decode(_without_empty_length(message))
            if command.cla != 0:
                raise _Word(Status.CLA_NOT_SUPPORTED)
            if command.ins not in self._commands:
                raise _Word(Status.INS_NOT_SUPPORTED)
            return Response(self._commands[command.ins](command), Status.OK).encode()
        except _Word as word:
            return Response(b"", word.status).encode()
        except MalformedFrame:
            return Response(b"", Status.WRONG_LENGTH).encode()
        except Refused:  # the contents could not be stored
            return Response(b"", Status.MEMORY_FAILURE).encode()

    def _version(self, command: Command) -> bytes:
        if command.data:
            raise _Word(Status.WRONG_LENGTH)
        return b"U2F_V2"

    def _register(self, command: Command) -> bytes:
        if len(command.data) != _HASHES:
            raise _Word(Status.WRONG_LENGTH)
        self._need_touch()
        core = self._core
        challenge, application = command.data[:32], command.data[32:]
        state = core.state.counted()
        credential = core.wallet.make(application, Trait(0), state.counter)
        core.commit(state)
        point = credential.point()
        signed = b"\x00" + application + challenge + credential.id + point
        handle = bytes((len(credential.id),)) + credential.id
        attestation = core.attestation
        return b"\x05" + point + handle + attestation.certificate + attestation.sign(signed)

    def _authenticate(self, command: Command) -> bytes:
        data, mode = command.data, command.p1
        if len(data) < _HASHES + 1 or len(data) != _HASHES + 1 + data[_HASHES]:
            raise _Word(Status.WRONG_LENGTH)
        if mode not in (CHECK_ONLY, ENFORCE_PRESENCE, NO_PRESENCE):
            raise _Word(Status.WRONG_P1P2)
        credential = self._find(data[_HASHES + 1 :], data[32:_HASHES])
        if mode == CHECK_ONLY:
            raise _Word(Status.CONDITIONS_NOT_SATISFIED)  # which says: it is mine
        silent = mode == NO_PRESENCE and self._core.profile.silent
        if not silent:
            self._need_touch()
        core = self._core
        core.commit(core.state.counted())
        head = core.header(b"", 0 if silent else Flag.USER_PRESENT)
        return head + credential.sign(credential.rp_id_hash + head + data[:32])

    def _find(self, handle: bytes, application: bytes) -> Credential:
        credential = self._core.open(handle, application)
        usable = credential is not None and credential.protection < 3
        if credential is None or not usable or Trait.EDDSA in credential.traits:
            raise _Word(Status.WRONG_DATA)
        return credential

    def _need_touch(self) -> None:
        if not self._touched():
            raise _Word(Status.CONDITIONS_NOT_SATISFIED)


def _without_empty_length(message: bytes) -> bytes:
    """Wide-spread hosts write a length of no data before the expected length, which ISO 7816-4 has not; keys take it."""
    empty = len(message) == 9 and message[4:7] == bytes(3)
    return message[:4] + b"\x00" + message[7:] if empty else message

"""The smartkey applet of an emulated key: the reference implementation of docs/key-protocol.md.

Promises: `handle` answers every command with the status word that the protocol names for it; the counter is raised on
disk before the signature that carries it is answered, and a change of a slot is there whole or not at all; what a host is
allowed ends with `power_off` and with a new SELECT.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from keypeg_bridge.emulator import smartkey_state
from keypeg_bridge.emulator.smartkey_state import FACTORY_KEY, SLOT_BYTES, SLOTS, SmartkeyState
from keypeg_bridge.wire import smartkey
from keypeg_bridge.wire.apdu import Command, Response, Status
from keypeg_bridge.wire.errors import MalformedFrame


@dataclass(frozen=True, slots=True)
class _Staged:
    """A write that has begun, in memory until it is whole."""

    slot: int
    size: int
    data: bytes = b""


class _Refused(Exception):
    """A command that is answered with a status word alone."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04X}")
        self.status = status


class SmartkeyApplet:
    """One key's applet; `save` is called with the new contents before a change is answered."""

    def __init__(
        self,
        seed: str,
        state: SmartkeyState,
        save: Callable[[SmartkeyState], None],
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.state = state
        self.told: Callable[[int], int] = lambda counter: counter  # what signatures say of it
        self._seed = seed
        self._save = save
        self._random = random
        self._commands: Final[dict[int, Callable[[Command], bytes]]] = {
            smartkey.INS_INFO: self._info,
            smartkey.INS_READ: self._read,
            smartkey.INS_WRITE: self._write,
            smartkey.INS_CHALLENGE: self._give_challenge,
            smartkey.INS_AUTHENTICATE: self._authenticate,
            smartkey.INS_SET_MANAGEMENT_KEY: self._set_management_key,
            smartkey.INS_GENERATE: self._generate,
            smartkey.INS_SIGN: self._sign,
        }
        self._key: tuple[int, ec.EllipticCurvePrivateKey] | None = None
        self.power_off()

    def answers_to(self, name: bytes) -> bool:
        """Whether SELECT with this name means this applet: its whole name, and nothing shorter."""
        return name == smartkey.AID

    def deselect(self) -> None:
        """Another applet was selected: forget what was allowed, and what was begun."""
        self._selected = False
        self._forget()

    def power_off(self) -> None:
        """Forget everything but the contents."""
        self.deselect()

    def _forget(self) -> None:
        self._allowed = False
        self._challenge: bytes | None = None
        self._staged: _Staged | None = None

    def handle(self, command: Command) -> Response:
        """Answer one whole command."""
        try:
            if command.cla == 0 and command.ins == smartkey.INS_SELECT:
                return Response(self._select(command), Status.OK)
            if not self._selected:
                raise _Refused(Status.CONDITIONS_NOT_SATISFIED)
            if command.cla != smartkey.CLA:
                raise _Refused(Status.CLA_NOT_SUPPORTED)
            if command.ins not in self._commands:
                raise _Refused(Status.INS_NOT_SUPPORTED)
            return Response(self._commands[command.ins](command), Status.OK)
        except _Refused as refusal:
            return Response(b"", refusal.status)
        except MalformedFrame:  # a data field of another length than the command's
            return Response(b"", Status.WRONG_LENGTH)

    def _select(self, command: Command) -> bytes:
        if (command.p1, command.p2) != (smartkey.P1_BY_NAME, 0):
            raise _Refused(Status.WRONG_P1P2)
        if not self.answers_to(command.data):
            raise _Refused(Status.NOT_FOUND)
        self._forget()
        self._selected = True
        return smartkey.Selected(smartkey.EMULATED_LABEL).encode()

    # Who it is, and what it holds

    def _info(self, command: Command) -> bytes:
        _need_parameters(command)
        _need_length(command, 0)
        state = self.state
        return smartkey.Info(
            management_algorithm=state.management_algorithm,
            management_is_default=state.management_key == FACTORY_KEY,
            slots=SLOTS,
            slot_bytes=SLOT_BYTES,
            room=state.room,
            card_id=state.card_id,
            counter=state.counter,
            public_key=_point(self._identity_key()) if state.keys_made else None,
        ).encode()

    def _read(self, command: Command) -> bytes:
        slot = _slot(command)
        if command.p2 != 0:
            raise _Refused(Status.WRONG_P1P2)
        asked = smartkey.Read.decode(command.data)
        data = self.state.slots.get(slot, b"")
        if asked.offset > len(data):
            raise _Refused(Status.WRONG_P1P2_ALONE)
        return data[asked.offset : asked.offset + asked.count]

    def _write(self, command: Command) -> bytes:
        slot = _slot(command)
        match command.p2:
            case smartkey.P2_BEGIN:
                size = smartkey.decode_size(command.data)
                self._need_authorization()
                self._begin(slot, size)
            case smartkey.P2_PIECE:
                piece = smartkey.Piece.decode(command.data)
                self._need_authorization()
                self._add(slot, piece)
            case _:
                raise _Refused(Status.WRONG_P1P2)
        return b""

    def _begin(self, slot: int, size: int) -> None:
        self._staged = None
        if size > SLOT_BYTES or size > self.state.room_beside(slot):
            raise _Refused(Status.NO_SPACE)
        if size:
            self._staged = _Staged(slot, size)
        else:
            self._commit(self.state.with_slot(slot, b""))

    def _add(self, slot: int, piece: smartkey.Piece) -> None:
        staged, self._staged = self._staged, None
        if staged is None or staged.slot != slot:
            self._staged = staged
            raise _Refused(Status.CONDITIONS_NOT_SATISFIED)
        data = staged.data + piece.data
        if piece.offset != len(staged.data) or len(data) > staged.size:
            raise _Refused(Status.WRONG_DATA)
        if len(data) == staged.size:
            self._commit(self.state.with_slot(slot, data))
        else:
            self._staged = replace(staged, data=data)

    # Who may change it

    def _give_challenge(self, command: Command) -> bytes:
        _need_parameters(command)
        _need_length(command, 0)
        self._challenge = self._random(self._block_bytes)
        return self._challenge

    def _authenticate(self, command: Command) -> bytes:
        _need_parameters(command)
        _need_length(command, self._block_bytes)
        challenge, self._challenge = self._challenge, None
        self._allowed, self._staged = False, None
        if challenge is None:
            raise _Refused(Status.CONDITIONS_NOT_SATISFIED)
        expected = _encrypted(self.state.management_key, challenge)
        if not hmac.compare_digest(command.data, expected):
            raise _Refused(Status.SECURITY_NOT_SATISFIED)
        self._allowed = True
        return b""

    def _set_management_key(self, command: Command) -> bytes:
        if command.p1 not in smartkey.MANAGEMENT_SIZES or command.p2 != 0:
            raise _Refused(Status.WRONG_P1P2)
        _need_length(command, smartkey.MANAGEMENT_SIZES[command.p1][0])
        self._need_authorization()
        self._commit(
            replace(self.state, management_algorithm=command.p1, management_key=command.data)
        )
        self._challenge = None  # it was for the key before
        return b""

    @property
    def _block_bytes(self) -> int:
        return smartkey.MANAGEMENT_SIZES[self.state.management_algorithm][1]

    def _need_authorization(self) -> None:
        if not self._allowed:
            raise _Refused(Status.SECURITY_NOT_SATISFIED)

    # Proving

    def _generate(self, command: Command) -> bytes:
        _need_parameters(command)
        _need_length(command, 0)
        self._need_authorization()
        self._commit(self.state.with_new_key())
        return _point(self._identity_key())

    def _sign(self, command: Command) -> bytes:
        _need_parameters(command)
        _need_length(command, smartkey.CHALLENGE_BYTES)
        if not self.state.keys_made:
            raise _Refused(Status.REFERENCE_NOT_FOUND)
        if self.state.counter >= smartkey.MAX_COUNTER:
            raise _Refused(Status.MEMORY_FAILURE)
        self._commit(self.state.counted())
        counter = self.told(self.state.counter)
        message = smartkey.signed_message(counter, command.data)
        signature = self._identity_key().sign(message, ec.ECDSA(hashes.SHA256()))
        return smartkey.Proof(counter, signature).encode()

    def _identity_key(self) -> ec.EllipticCurvePrivateKey:
        number = self.state.keys_made
        if self._key is None or self._key[0] != number:
            self._key = (number, smartkey_state.private_key(self._seed, number))
        return self._key[1]

    def _commit(self, state: SmartkeyState) -> None:
        try:
            self._save(state)
        except OSError:
            raise _Refused(Status.MEMORY_FAILURE) from None
        self.state = state


def _encrypted(key: bytes, block: bytes) -> bytes:
    """One block under a management key."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - one random block
    return encryptor.update(block) + encryptor.finalize()


def _need_parameters(command: Command) -> None:
    if (command.p1, command.p2) != (0, 0):
        raise _Refused(Status.WRONG_P1P2)


def _need_length(command: Command, length: int) -> None:
    if len(command.data) != length:
        raise _Refused(Status.WRONG_LENGTH)


def _slot(command: Command) -> int:
    if command.p1 >= SLOTS:
        raise _Refused(Status.WRONG_P1P2)
    return command.p1


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )

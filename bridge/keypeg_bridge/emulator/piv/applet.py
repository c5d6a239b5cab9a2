"""The PIV applet of an emulated key (NIST SP 800-73-4 part 2, and the wide-spread vendor extensions).

Promises: `handle` answers every command with a status word, or later; a change is durable before it is answered; security
state ends with `power_off`, and with a new SELECT where the profile says so. Command chaining is done before a command
gets here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from keypeg_bridge.emulator.piv import management, objects, pins, private, vendor
from keypeg_bridge.emulator.piv.refusal import Refused, answered, need
from keypeg_bridge.emulator.piv.session import Profile, Session
from keypeg_bridge.emulator.piv.state import PivState
from keypeg_bridge.emulator.touch import Finger
from keypeg_bridge.wire import piv, tlv
from keypeg_bridge.wire.apdu import Command, Response, Status
from keypeg_bridge.wire.conversation import Pending

_SECURE_MESSAGING: Final = 0x0C  # bits of the class
_CHANNEL: Final = 0x03
_Do = Callable[[Session, Command], "bytes | Pending"]

COMMANDS: Final[dict[int, _Do]] = {
    piv.INS_VERIFY: pins.verify,
    piv.INS_CHANGE_REFERENCE: pins.change,
    piv.INS_RESET_RETRY: pins.unblock,
    piv.INS_GENERATE: private.generate,
    piv.INS_AUTHENTICATE: private.authenticate,
    piv.INS_GET_DATA: objects.get,
    piv.INS_PUT_DATA: objects.put,
}
VENDOR_COMMANDS: Final[dict[int, _Do]] = {
    piv.INS_MOVE_KEY: private.move,
    piv.INS_GET_METADATA: vendor.metadata,
    piv.INS_GET_SERIAL: vendor.serial,
    piv.INS_ATTEST: vendor.attest,
    piv.INS_SET_RETRIES: pins.set_retries,
    piv.INS_RESET: vendor.reset,
    piv.INS_GET_VERSION: vendor.version,
    piv.INS_IMPORT: private.import_key,
    piv.INS_SET_MANAGEMENT_KEY: management.change,
}


class PivApplet:
    """One card's applet; `save` is called with the new contents before a change is answered."""

    def __init__(
        self,
        state: PivState,
        profile: Profile,
        save: Callable[[PivState], None],
        random: Callable[[int], bytes] = os.urandom,
        *,
        seed: str = "",
        serial: int = 0,
        finger: Finger | None = None,
        now: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.session = Session(
            state, profile, save, random, seed=seed, serial=serial, finger=finger, now=now
        )
        self._commands = COMMANDS | (VENDOR_COMMANDS if profile.vendor_commands else {})
        self._selected = False

    @property
    def state(self) -> PivState:
        """The contents."""
        return self.session.state

    @state.setter
    def state(self, state: PivState) -> None:
        self.session.state = state

    @property
    def wants_touch(self) -> bool:
        """Whether a command waits for a touch."""
        return self.session.waiting

    def answers_to(self, name: bytes) -> bool:
        """Whether this is PIV's name: in full, or as much of its beginning as the profile takes."""
        return len(name) >= self.session.profile.aid_least and piv.AID.startswith(name)

    def deselect(self) -> None:
        """Forget what was proved."""
        self._selected = False
        self.session.forget()

    def power_off(self) -> None:
        """Forget everything but the contents."""
        self._selected = False
        self.session.power_off()

    def handle(self, command: Command) -> Response | Pending:
        """Answer one whole command."""
        return answered(lambda: self._do(command))

    def _do(self, command: Command) -> bytes | Pending:
        need(command.cla & 0xE0 == 0, Status.CLA_NOT_SUPPORTED)
        need(not command.cla & _SECURE_MESSAGING, Status.SECURE_MESSAGING_NOT_SUPPORTED)
        need(not command.cla & _CHANNEL, Status.CHANNEL_NOT_SUPPORTED)
        if command.ins == piv.INS_SELECT:
            return self._select(command)
        need(self._selected, Status.CONDITIONS_NOT_SATISFIED)
        chosen = self._commands.get(command.ins)
        if chosen is None:
            raise Refused(Status.INS_NOT_SUPPORTED)
        return chosen(self.session, command)

    def _select(self, command: Command) -> bytes:
        need((command.p1, command.p2) == (0x04, 0x00), Status.WRONG_P1P2)
        need(self.answers_to(command.data), Status.NOT_FOUND)
        if self.session.profile.select_forgets or not self._selected:
            self.session.forget()
        self._selected = True
        identifier = tlv.encode(0x4F, piv.AID[5:])
        authority = tlv.encode(0x79, tlv.encode(0x4F, piv.AID[:5]))
        label = tlv.encode(piv.TAG_LABEL, piv.EMULATED_LABEL)
        return tlv.encode(piv.TAG_APPLICATION, identifier + authority + label)

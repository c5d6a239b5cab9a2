"""Whole CTAP2 requests to one FIDO key, over a pipe of reports (CTAP 2.1, sections 8 and 11.2; docs/protocols.md, "FIDO2").

Promises: a request ends by its time limit, and one that was given up is canceled, so that the next one finds a clean
channel; a key that wants a touch where none is to be asked for is told to forget it. Other programs may use the key at
the same time: a busy key is waited for. What requests mean is left to `fido2_commands.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from keypeg_bridge.keys.errors import MalformedReply, NotSupported, NotTouched, TouchWanted
from keypeg_bridge.transport.errors import DeviceBusy, DeviceTimeout, TransportError
from keypeg_bridge.transport.ports import HidPipe, Monotonic
from keypeg_bridge.wire import ctaphid, ctaphid_host
from keypeg_bridge.wire.errors import MalformedFrame

OPEN_SECONDS: Final = 1.0  # for a channel
CANCEL_SECONDS: Final = 1.0  # for a key to give up what it was told to
BUSY_PAUSE: Final = 0.05  # between tries while another program uses the key
MAX_STRAY: Final = 4_096  # reports for nobody, in one request: a key that only babbles


class CtapLink:
    """One channel of one key. One thread at a time."""

    def __init__(
        self,
        pipe: HidPipe,
        now: Monotonic,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._pipe = pipe
        self._now = now
        self._random = random
        self._link = ctaphid_host.HostLink()
        self._clean = False

    @property
    def gone(self) -> bool:
        """Whether the key was seen to disappear."""
        return self._pipe.gone

    def open(self) -> None:
        """Get a channel, or clean our own; `NotSupported` when the key speaks only U2F."""
        packets = self._link.open(self._random(ctaphid.NONCE_BYTES))
        deadline = self._now() + OPEN_SECONDS
        event = self._exchange(packets, deadline)
        while (
            isinstance(event, ctaphid_host.Failed) and event.code == ctaphid.ErrorCode.CHANNEL_BUSY
        ):
            self._rest(deadline)
            event = self._exchange(self._link.open(self._random(ctaphid.NONCE_BYTES)), deadline)
        if isinstance(event, ctaphid_host.Failed):
            raise TransportError(f"No channel to the key: {ctaphid.describe_error(event.code)}.")
        info = self._link.info
        assert info is not None  # an answer to INIT carries it
        if not info.capabilities & ctaphid.Capability.CBOR:
            raise NotSupported(
                "The key speaks only U2F, which keypeg does not use. It needs FIDO2."
            )
        self._clean = True

    def cbor(self, request: bytes, timeout: float, *, touch: bool = False) -> bytes:
        """The answer to a request, its status byte first.

        Without `touch`, `TouchWanted` as soon as the key asks for one; with it, `NotTouched` when nobody did in time.
        """
        deadline = self._now() + timeout
        while True:
            if not self._clean:
                self.open()
            self._clean = False
            packets = self._link.request(ctaphid.Command.CBOR, request)
            event = self._exchange(packets, deadline, touch=touch)
            self._clean = True
            if isinstance(event, ctaphid_host.Answer):
                if not event.payload:
                    raise MalformedReply("The key gave an empty answer.")
                return event.payload
            if event.code != ctaphid.ErrorCode.CHANNEL_BUSY:
                self._clean = False
                raise TransportError(
                    f"The key ended the request: {ctaphid.describe_error(event.code)}."
                )
            self._rest(deadline)

    def close(self) -> None:
        """Let go of the key."""
        self._pipe.close()

    def _exchange(
        self, packets: list[bytes], deadline: float, *, touch: bool = True
    ) -> ctaphid_host.Answer | ctaphid_host.Failed:
        for packet in packets:
            self._pipe.write(packet, self._left(deadline))
        asked = False
        for _ in range(MAX_STRAY):
            try:
                event = self._receive(deadline)
            except DeviceTimeout:
                if not asked:
                    raise
                self._give_up()
                raise NotTouched(
                    "The key was not touched in time. Begin again, and touch it when it blinks."
                ) from None
            if isinstance(event, ctaphid_host.Keepalive):
                if event.status == ctaphid.KeepaliveStatus.UP_NEEDED:
                    asked = True
                    if not touch:
                        self._give_up()
                        raise TouchWanted("The key wants a touch before it signs.")
            elif event is not None:
                return event
        raise MalformedReply("The key sends reports without end, and no answer.")

    def _give_up(self) -> None:
        """Have the key end the open request, and take its answer to that."""
        deadline = self._now() + CANCEL_SECONDS
        for packet in self._link.cancel():
            self._pipe.write(packet, self._left(deadline))
        try:
            for _ in range(MAX_STRAY):
                if isinstance(self._receive(deadline), ctaphid_host.Answer | ctaphid_host.Failed):
                    self._clean = True
                    return
        except (DeviceTimeout, MalformedReply):
            return  # the next request begins with a new channel

    def _receive(self, deadline: float) -> ctaphid_host.HostEvent | None:
        try:
            return self._link.receive(self._pipe.read(self._left(deadline)))
        except MalformedFrame as error:
            raise MalformedReply(f"The key's answer cannot be read: {error}.") from error

    def _rest(self, deadline: float) -> None:
        """Let the other program finish; what comes meanwhile is for it."""
        if self._now() + BUSY_PAUSE >= deadline:
            raise DeviceBusy("Another program uses the key. Close it, or wait until it is done.")
        until = self._now() + BUSY_PAUSE
        while (left := until - self._now()) > 0:
            try:
                self._pipe.read(left)
            except DeviceTimeout:
                return

    def _left(self, deadline: float) -> float:
        left = deadline - self._now()
        if left <= 0:
            raise DeviceTimeout("The key did not answer in time.")
        return left

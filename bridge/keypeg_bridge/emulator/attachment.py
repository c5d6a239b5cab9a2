"""One host's hold on the key: its USB/IP transfers in, their answers out, without I/O.

Promises: every SUBMIT is answered once, at once or when data is there, unless it was unlinked; every UNLINK is answered;
an error inside the key's code stalls that transfer and nothing else. What waits is bounded.
"""

from __future__ import annotations

import errno
import logging
from typing import Final

from keypeg_bridge.emulator.usb_device import Stall, UsbKey
from keypeg_bridge.wire import usb, usbip
from keypeg_bridge.wire.errors import MalformedFrame

MAX_PENDING: Final = 64  # IN transfers a host may have waiting; drivers use one or two an endpoint

_log = logging.getLogger(__name__)


class Attachment:
    """The transfers of one importer of `key`."""

    def __init__(self, key: UsbKey) -> None:
        self._key = key
        self._pending: dict[int, usbip.Submit] = {}

    def handle(self, message: usbip.Submit | usbip.Unlink) -> list[usbip.Returned | usbip.Unlinked]:
        """Take one message; the answers that are due now, in order."""
        if isinstance(message, usbip.Unlink):
            taken_back = self._pending.pop(message.target, None) is not None
            status = -errno.ECONNRESET if taken_back else 0
            return [usbip.Unlinked(message.sequence, status)]
        if message.sequence in self._pending:
            raise MalformedFrame("USB/IP", f"transfer {message.sequence} is open already")
        answer = self._try(message)
        answers: list[usbip.Returned | usbip.Unlinked] = [] if answer is None else [answer]
        if answer is None:
            if len(self._pending) >= MAX_PENDING:
                raise MalformedFrame("USB/IP", f"more than {MAX_PENDING} transfers are waiting")
            self._pending[message.sequence] = message
        if message.is_in and message.endpoint:
            return answers
        return answers + self._settle()

    @property
    def deadline(self) -> float | None:
        """When `poll` has something to do at the latest."""
        return self._key.deadline

    def poll(self) -> list[usbip.Returned | usbip.Unlinked]:
        """Let the key do what is due; the answers of transfers that end by it."""
        self._key.poll()
        return self._settle()

    def _settle(self) -> list[usbip.Returned | usbip.Unlinked]:
        """Answers of waiting transfers that can end now."""
        settled: list[usbip.Returned | usbip.Unlinked] = []
        for sequence, waiting in list(self._pending.items()):
            answer = self._try(waiting)
            if answer is not None:
                del self._pending[sequence]
                settled.append(answer)
        return settled

    def _try(self, submit: usbip.Submit) -> usbip.Returned | None:
        try:
            return self._transfer(submit)
        except Stall:
            return usbip.Returned(submit.sequence, -errno.EPIPE)
        except MalformedFrame:
            return usbip.Returned(submit.sequence, -errno.EPIPE)
        except Exception:
            _log.exception("transfer stalled by an error inside the emulated key")
            return usbip.Returned(submit.sequence, -errno.EPIPE)

    def _transfer(self, submit: usbip.Submit) -> usbip.Returned | None:
        if submit.endpoint == 0:
            setup = usb.Setup.decode(submit.setup)
            if setup.is_in != submit.is_in:
                raise Stall
            data = self._key.control(setup, submit.data)[: submit.length]
            done = len(data) if submit.is_in else len(submit.data)
            return usbip.Returned(submit.sequence, 0, done, data)
        if not submit.is_in:
            self._key.write(submit.endpoint, submit.data)
            return usbip.Returned(submit.sequence, 0, len(submit.data))
        read = self._key.read(submit.endpoint, min(submit.length, usbip.MAX_IN_DATA))
        return None if read is None else usbip.Returned(submit.sequence, 0, len(read), read)

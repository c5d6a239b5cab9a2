"""The FIDO interface of an emulated key: reports in and out, with all that happens between them, without I/O.

Promises: every whole request ends in an answer, an error or an abort; while it waits for a touch, or is made to take its
time, keepalives go out every 100 ms; what waits to be read is bounded. `poll` is to be called at `deadline`, and whenever
the finger moved.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from keypeg_bridge.emulator.fido.authenticator import Authenticator
from keypeg_bridge.emulator.fido.core import Core
from keypeg_bridge.emulator.fido.u2f import U2f
from keypeg_bridge.emulator.touch import Finger
from keypeg_bridge.wire.ctap import Status
from keypeg_bridge.wire.ctaphid import Capability, Command, ErrorCode, KeepaliveStatus
from keypeg_bridge.wire.ctaphid_device import Cancel, DeviceEvent, DeviceLink, Reply, Request

VERSION: Final = (1, 0, 0)
KEEPALIVE_SECONDS: Final = 0.1  # section 11.2.9.1.8: at least every 100 ms
TOUCH_SECONDS: Final = 30.0  # until a request without its touch ends in USER_ACTION_TIMEOUT
MAX_WAITING: Final = 512  # reports that the host has not read; the longest message has 129

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Wait:
    """Why an open request is not answered: for a touch, or on purpose with its answer ready."""

    until: float
    keepalive_at: float
    answer: bytes | None = None


class FidoHid:
    """One FIDO interface. `answer_seconds` is how long every CBOR answer is held back."""

    def __init__(self, core: Core, finger: Finger) -> None:
        self.core = core
        self.finger = finger
        self.answer_seconds = 0.0
        self.winks = 0
        self._authenticator = Authenticator(core)
        self._u2f = U2f(core, finger.take)
        self._link = DeviceLink(VERSION, Capability.CBOR | Capability.WINK)
        self._steps: Generator[None, bool, bytes] | None = None
        self._wait: _Wait | None = None
        self._reports: deque[bytes] = deque()

    def power_up(self) -> None:
        """As after plugging in."""
        self.reset()
        self.core.power_up()

    def reset(self) -> None:
        """As after a bus reset: no channels, nothing asked, nothing to say."""
        self._drop()
        self._link.reset()
        self._reports.clear()

    @property
    def full(self) -> bool:
        """Whether the host should read before it writes more."""
        return len(self._reports) >= MAX_WAITING

    @property
    def wants_touch(self) -> bool:
        """Whether a request waits for the finger."""
        return self._wait is not None and self._wait.answer is None

    @property
    def deadline(self) -> float | None:
        """When `poll` has something to do at the latest."""
        times = [] if self._wait is None else [self._wait.until, self._wait.keepalive_at]
        if self._link.deadline is not None:
            times.append(self._link.deadline)
        return min(times, default=None)

    def take(self) -> bytes | None:
        """The next report for the host."""
        return self._reports.popleft() if self._reports else None

    def receive(self, report: bytes) -> None:
        """Take one report; `MalformedFrame` when it has not 64 bytes."""
        self._handle(self._link.receive(report, self.core.clock()))

    def poll(self) -> None:
        """Do what is due."""
        now = self.core.clock()
        self._handle(self._link.expire(now))
        wait = self._wait
        if wait is None:
            return
        if wait.answer is not None and now >= wait.until:
            self._end(wait.answer)
        elif wait.answer is None and self.finger.take():
            self._advance(touched=True)
        elif wait.answer is None and now >= wait.until:
            self._advance(touched=False)
        elif now >= wait.keepalive_at:
            self._keepalive(wait, now)

    def _handle(self, events: list[DeviceEvent]) -> None:
        for event in events:
            match event:
                case Reply(packet):
                    self._reports.append(packet)
                case Request():
                    self._begin(event)
                case Cancel():
                    if self._wait is not None:
                        self._end(bytes((Status.KEEPALIVE_CANCEL,)))
                case _:
                    self._drop()

    def _begin(self, request: Request) -> None:
        match request.command:
            case Command.CBOR:
                self._steps = self._authenticator.start(request.payload)
                self._advance()
            case Command.MSG:
                self._reports += self._link.answer(self._message(request.payload))
            case _:
                self.winks += 1
                self._reports += self._link.answer(b"")

    def _message(self, payload: bytes) -> bytes:
        try:
            return self._u2f.answer(payload)
        except Exception:  # the boundary of the emulated firmware
            _log.exception("a U2F message failed inside the emulated key")
            return b"\x6f\x00"

    def _advance(self, *, touched: bool | None = None) -> None:
        """Run the command until it ends or wants a touch that is not there."""
        steps = self._steps
        assert steps is not None
        self._wait = None
        try:
            while True:
                if touched is None:
                    next(steps)
                else:
                    steps.send(touched)
                if not self.finger.take():
                    break
                touched = True
        except StopIteration as done:
            self._hold(done.value)
            return
        except Exception:  # the boundary of the emulated firmware
            _log.exception("a command failed inside the emulated key")
            self._drop()
            self._reports += self._link.fail(ErrorCode.OTHER)
            return
        now = self.core.clock()
        self._wait = _Wait(now + TOUCH_SECONDS, now)
        self._keepalive(self._wait, now)

    def _hold(self, answer: bytes) -> None:
        self._steps = None
        if not self.answer_seconds:
            self._end(answer)
            return
        now = self.core.clock()
        self._wait = _Wait(now + self.answer_seconds, now, answer)
        self._keepalive(self._wait, now)

    def _keepalive(self, wait: _Wait, now: float) -> None:
        wait.keepalive_at = now + KEEPALIVE_SECONDS
        waits = wait.answer is None
        status = KeepaliveStatus.UP_NEEDED if waits else KeepaliveStatus.PROCESSING
        if not self._reports:  # a host that does not read needs no more of them
            self._reports += self._link.keepalive(status)

    def _end(self, answer: bytes) -> None:
        self._drop()
        self._reports += self._link.answer(answer)

    def _drop(self) -> None:
        """Give up what is under way."""
        steps, self._steps = self._steps, None
        self._wait = None
        if steps is not None:
            steps.close()

"""A session machine and a stand-in host, face to face, with neither network nor loop.

Promises: what the machine wants done is done at once; the clock stands until `advance`. Streams can be cut in
the middle, and answers lost.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque

from keypeg import events
from keypeg.errors import Elsewhere, KeypegError, Reason, Unreachable
from keypeg.seat import SeatRecord, SeatStage, Wish
from keypeg.servers import Route
from keypeg.session_frames import Asking, Connect, Effect, HangUp, Moment, SeatChanged, Send, Tell
from keypeg.session_guard import Pinned
from keypeg.session_machine import SessionMachine
from keypeg.session_state import State
from keypeg.sessionkey import KeyShare
from keypeg.testing import FakeClock, StandInHost
from keypeg.testing.sessions import StandInSession
from keypeg.v1.session_service_pb2 import HoldSessionRequest
from keypeg.versions import Release

_SOURCES = itertools.count(1)


def state_of(bench: Bench) -> State:
    """Its state now. A call: type checkers believe that an attribute stays what it was asserted to be."""
    return bench.state


class Repeatable:
    """The same randomness in every run; request ids of two are never the same."""

    def __init__(self, jitter: float = 0.5) -> None:
        self._numbers = itertools.count(1)
        self._jitter = jitter
        self._number = next(_SOURCES)

    def nonce(self) -> bytes:
        return next(self._numbers).to_bytes(32, "big")

    def key_share(self) -> KeyShare:
        return KeyShare(next(self._numbers).to_bytes(32, "big"))

    def request_id(self) -> str:
        return f"request-{self._number}-{next(self._numbers)}"

    def jitter(self) -> float:
        return self._jitter


class Bench:
    """Both sides."""

    def __init__(
        self,
        host: StandInHost,
        clock: FakeClock,
        *,
        root: bytes | None = None,
        route: Route | None = None,
    ) -> None:
        self.host = host
        self.clock = clock
        to_bridge = host.terms.kind in ("key", "host")
        parts = host.terms.parts or None
        release = Release("1.0")
        self.pinned = Pinned("demo", "device-a", root or host.root, None, parts, release=release)
        self.machine = SessionMachine(
            Asking(self.pinned, "computer", "app", 7, (), to_bridge), Repeatable(), route
        )
        self.dead: set[str] = set()  # addresses of servers that take no connection
        self.silent: set[str] = set()  # that take one, and say nothing
        self.homes: dict[str, str] = {}  # where servers send those who can follow
        self.asked: list[tuple[float, str]] = []  # when which server was connected to
        self.events: list[events.Event] = []
        self.seats: dict[str, SeatRecord] = {}
        self.mute = False  # the host hears, and its answers are lost
        self.deaf = False  # the host hears nothing
        self.answered: list[float] = []  # when the frames were sent that gave time
        self._sent: dict[int, float] = {}
        self._session: StandInSession | None = None
        self._out: asyncio.Queue | None = None
        self._work: deque[HoldSessionRequest | Connect] = deque()
        self._busy = False

    @classmethod
    def of(cls, kind: str = "cloud", **terms) -> Bench:
        clock = FakeClock()
        host = StandInHost("demo", kind=kind, clock=clock, **terms)
        return cls(host, clock)

    def open(self) -> Bench:
        self.do(self.machine.begin(self.now))
        return self

    @property
    def server(self) -> str:
        return self.machine.route.current.address

    @property
    def home(self) -> str:
        home = self.homes.get(self.server, "")
        return "" if home == self.server else home

    @property
    def now(self) -> Moment:
        return Moment(self.clock.monotonic(), self.clock.wall())

    @property
    def state(self) -> State:
        return self.machine.state

    @property
    def may_run(self) -> bool:
        return self.machine.view().refusal(self.clock.monotonic()) is None

    @property
    def reason(self) -> Reason:
        """Why the session ended."""
        assert self.machine.error is not None, "the session has no error"
        return self.machine.error.reason

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def frames(self, kind: str) -> list:
        return [getattr(f, kind) for f in self.host.received if f.WhichOneof("frame") == kind]

    def acquire(self, **wish) -> str:
        key, effects = self.machine.acquire(Wish(**wish))
        self.do(effects)
        return key

    def leave(self, key: str) -> None:
        self.do(self.machine.leave(key))

    def stage(self, key: str) -> SeatStage:
        return self.seats[key].stage

    def advance(self, seconds: float) -> None:
        """Time passes; the machine is called whenever it asked to be, and never in circles."""
        end = self.clock.monotonic() + seconds
        for _ in range(10_000):
            when = self.machine.next_time()
            if when is None or when > end:
                self.clock.advance(end - self.clock.monotonic())
                return
            self.clock.advance(max(0.0, when - self.clock.monotonic()))
            self.do(self.machine.tick(self.now))
        raise AssertionError("the machine asks to be called again and again at the same time")

    def hear(self) -> None:
        """Delivers what the host has said by itself."""
        self._deliver()

    def do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(frame=frame):
                    self._work.append(frame)
                case Connect():
                    self._work.append(effect)
                case HangUp():
                    self._hang_up()
                case SeatChanged(key=key, record=record):
                    self.seats[key] = record
                case Tell(event=event):
                    self.events.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._work:
                self._step(self._work.popleft())
                self._deliver()
        finally:
            self._busy = False

    def _step(self, work: HoldSessionRequest | Connect) -> None:
        if isinstance(work, Connect):
            self._work.clear()
            self._out = asyncio.Queue()
            self.asked.append((self.clock.monotonic(), self.server))
            self.do(self.machine.connected(self.now))
            return
        if self._out is None:
            return
        kind = work.WhichOneof("frame")
        assert kind
        self._sent[getattr(work, kind).sequence] = self.clock.monotonic()
        if self.deaf or self.server in self.silent:
            return
        self.host.received.append(work)
        try:
            if self.server in self.dead:
                raise Unreachable("Connection refused")
            if kind in ("open", "resume") and self.machine.route.follows and self.home:
                raise Elsewhere("Another answers.", server=self.home)
            if kind in ("open", "resume"):
                self._session = self.host.opened(work, self._out)
            elif self._session is not None:
                self.host.take(self._session, work)
        except KeypegError as error:
            self._lost(error)

    def _deliver(self) -> None:
        while self._out is not None and not self._out.empty():
            said = self._out.get_nowait()
            if self.mute:
                continue
            if isinstance(said, KeypegError):
                self._lost(said)
                continue
            kind = said.WhichOneof("frame")
            if kind in ("opened", "renewed"):
                self.answered.append(self._sent[getattr(said, kind).sequence])
            if self.host.tamper:
                said = self.host.tamper(said)
            self.do(self.machine.received(said, self.now))

    def _lost(self, error: KeypegError) -> None:
        self._hang_up()
        self.do(self.machine.lost(error, self.now))

    def _hang_up(self) -> None:
        if self._session is not None and self._session.out is self._out:
            self._session.out = None
        self._out = None
        self._session = None

    def cut(self) -> None:
        """The stream is lost, with all that was on its way."""
        if self._out is not None:
            self._lost(Unreachable("cut"))

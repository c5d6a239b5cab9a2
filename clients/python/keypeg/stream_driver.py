"""A session machine on a real stream: does what it says, and tells it what happened.

Promises: everything runs on one event loop; the machine is stepped from one place; after every step the view
is renewed and the timer set. Each stream goes to the server that the route names at that moment. Whatever is
cancelled or fails, no task, call or channel is left behind.

Leaves to others: deciding (session_machine), what a call is and how it ends (stream_calls), the objects that apps hold (aio).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import grpc
import grpc.aio

from keypeg.agent_link import AgentLink, Watched
from keypeg.clock import Clock
from keypeg.device_mark import Mark
from keypeg.device_marks import Marks
from keypeg.errors import Internal, KeypegError, Unreachable
from keypeg.event_hub import EventHub
from keypeg.events import Running
from keypeg.line import Line
from keypeg.seat import SeatRecord, Wish
from keypeg.session_frames import (
    Connect,
    Effect,
    HangUp,
    Prove,
    SeatChanged,
    Send,
    Tell,
)
from keypeg.session_machine import SessionMachine
from keypeg.session_state import State
from keypeg.session_view import View
from keypeg.stream_calls import Call, close_from_outside, what_ended, write
from keypeg.timers import TimerHandle, call_at, now_of
from keypeg.v1 import session_service_pb2_grpc
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse

CLOSE_TIME: Final = 2.0  # s for the other side to say that the session is closed
RELEASE_TIME: Final = 5.0  # s for the other side to say that a seat is given back

_LOG: Final = logging.getLogger(__name__)


class StreamDriver:
    """One session, at one server after the other."""

    def __init__(
        self,
        machine: SessionMachine,
        line: Line,
        clock: Clock,
        hub: EventHub,
        *,
        server: str,
        ca: bytes | None = None,
        agent: AgentLink | None = None,
        marks: Marks | None = None,
    ) -> None:
        self._machine = machine
        self._line = line
        self._clock = clock
        self._begun = now_of(clock)
        self._hub = hub
        self._server = server
        self._ca = ca or b""
        self._agent = agent
        self._marks = marks
        self._mark: Mark | None = None  # of the newest stream
        self._last_watched: Watched | None = None
        self._was_open = False
        self._outgoing: asyncio.Queue[HoldSessionRequest] = asyncio.Queue()
        self._stream: asyncio.Task[None] | None = None
        self._number = 0  # of the stream; what an older one says does not count
        self._streams: set[asyncio.Task[None]] = set()
        self._timer: TimerHandle | None = None
        self._seats: dict[str, Callable[[SeatRecord], None]] = {}
        self._step = asyncio.Event()
        self._finishing: asyncio.Task[None] | None = None
        self.view: View = machine.view()

    async def open(self) -> None:
        """Returns once the app may run; raises why it may not."""
        try:
            self._do(self._machine.begin(now_of(self._clock, self._begun)))
            await self._until(lambda: self.view.state is not State.CONNECTING)
            if self.view.error is not None:
                raise self.view.error
            if self._agent is not None:
                await self._watch(self._agent)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Ends the session, and everything here; bounded, and the same when called again."""
        if self._finishing is None:
            self._finishing = asyncio.get_running_loop().create_task(self._finish())
        await asyncio.shield(self._finishing)

    async def until_stopped(self) -> KeypegError | None:
        """Waits for the end; returns why, None when the app closed it."""
        await self._until(lambda: self.view.state is State.STOPPED)
        return self.view.error

    def acquire(self, wish: Wish, changed: Callable[[SeatRecord], None]) -> str:
        """Asks for a seat; `changed` hears of it until it has ended."""
        refusal = self.view.error
        if refusal is not None:
            raise refusal
        if self.view.state is State.STOPPED or self._finishing is not None:
            refused = self.view.refusal(self._clock.monotonic())
            raise refused or Unreachable("The session is being closed.")
        key, effects = self._machine.acquire(wish)
        self._seats[key] = changed
        self._do(effects)
        return key

    def leave(self, key: str) -> None:
        """Gives a seat back, or leaves the queue; `changed` hears when it is done."""
        self._do(self._machine.leave(key))

    # Doing.

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Connect():
                    self._start_stream()
                case HangUp():
                    self._hang_up()
                case Send(frame=frame):
                    self._outgoing.put_nowait(frame)
                case Prove(mark=mark, session=session, nonce=nonce):
                    mac = self._marks.prove(mark, session, nonce) if self._marks else b""
                    self._do(self._machine.device_proof(mark, mac))
                case SeatChanged(key=key, record=record):
                    self.view = self._machine.view()
                    if (changed := self._seats.get(key)) is not None:
                        changed(record)
                case Tell(event=event):
                    self.view = self._machine.view()
                    self._was_open = self._was_open or isinstance(event, Running)
                    if self._was_open:  # a first open that is refused is raised, not told
                        self._hub.publish(event)
        self.view = self._machine.view()
        self._set_timer()
        self._step.set()
        self._step = asyncio.Event()
        if self._agent is not None and self._last_watched is not None:
            self._agent.change(self._watched(self._last_watched))
        if self.view.state is State.STOPPED and self._finishing is None:
            self._finishing = asyncio.get_running_loop().create_task(self._finish())

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = self._machine.next_time()
        if when is not None:
            self._timer = call_at(self._clock, when, self._tick)

    def _tick(self) -> None:
        self._do(self._machine.tick(now_of(self._clock, self._begun)))

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._step.wait()

    # The stream.

    def _start_stream(self) -> None:
        self._number += 1
        self._outgoing = asyncio.Queue()
        work = self._run_stream(self._number, self._outgoing)
        self._stream = asyncio.get_running_loop().create_task(work)
        self._streams.add(self._stream)
        self._stream.add_done_callback(self._stream_done)

    def _hang_up(self) -> None:
        self._number += 1
        if self._stream is not None:
            if self._stream is not asyncio.current_task():
                self._stream.cancel()
            self._stream = None

    def _stream_done(self, task: asyncio.Task[None]) -> None:
        self._streams.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("session failed", exc_info=error)
            self._do(self._machine.fail(Internal("The SDK failed; its log says how.")))

    async def _run_stream(self, number: int, outgoing: asyncio.Queue[HoldSessionRequest]) -> None:
        channel, given_up = await self._line.connect()
        if number != self._number:
            return
        self._set_mark()
        # Validity counts from here, which is before anything is sent.
        self._do(self._machine.connected(now_of(self._clock, self._begun)))
        if number != self._number:
            return
        if given_up is not None:
            self._do(self._machine.lost(given_up, now_of(self._clock, self._begun)))
            return
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        call: Call = stub.HoldSession(metadata=self._line.metadata)
        writing = asyncio.create_task(write(call, outgoing))
        error: KeypegError | None = None
        try:
            while number == self._number:
                response = await call.read()
                if not isinstance(response, HoldSessionResponse):
                    break
                if number == self._number:
                    self._do(self._machine.received(response, now_of(self._clock, self._begun)))
        except grpc.aio.AioRpcError as raised:
            error = what_ended(raised)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            error = Unreachable("The other side cancelled the call.")
        finally:
            writing.cancel()
            call.cancel()
        if number == self._number:
            self._do(self._machine.lost(error, now_of(self._clock, self._begun)))

    def _set_mark(self) -> None:
        """A new mark for a new stream."""
        if self._marks is None:
            return
        before, self._mark = self._mark, self._marks.make()
        self._machine.marked(self._mark)
        if before is not None:
            self._marks.remove(before)

    # The end.

    async def _finish(self) -> None:
        self._do(self._machine.close())
        said = await self._within(CLOSE_TIME, self.until_stopped())
        if not said:
            self._do(self._machine.give_up())
        if self._timer is not None:
            self._timer.cancel()
        if self._marks is not None and self._mark is not None:
            self._marks.remove(self._mark)
        if self._machine.must_tell:
            await close_from_outside(self._server, self._ca, self._machine.held, CLOSE_TIME)
        for task in tuple(self._streams):
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)
        if self._agent is not None:
            await self._agent.unwatch()
        await self._line.close()

    async def _within(self, seconds: float, work: Awaitable[object]) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await work
        except TimeoutError:
            return False
        return True

    # The agent.

    async def _watch(self, agent: AgentLink) -> None:
        held = self._machine.held
        if held is not None and held.release_token:
            self._last_watched = Watched(held.session, self._server, self._ca, held.release_token)
            await agent.watch(self._last_watched)

    def _watched(self, last: Watched) -> Watched:
        held = self._machine.held
        if held is not None and held.session != last.session:
            last = self._last_watched = Watched(
                held.session, self._server, self._ca, held.release_token
            )
        return last

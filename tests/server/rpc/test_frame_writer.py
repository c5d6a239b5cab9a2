"""Frames onto a stream: in order, one at a time, and the stream's end after the last."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from keypeg_server.rpc.frame_writer import BEHIND, FrameWriter
from keypeg_server.rpc.turns import Turn
from keypeg_server.service.outbox import Outbox


class Wire:
    """What gRPC's `write` does: it takes a frame, and is done when the future is."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.futures: list[asyncio.Future[None]] = []
        self.ended = 0

    async def write(self, frame: HoldSessionResponse) -> None:
        self.begun.append(frame.renewed.sequence)
        future = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        await future

    def end(self) -> None:
        self.ended += 1


class Stream:
    """A writer on a wire."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.turn = Turn()
        self.outbox = Outbox(lambda: self.writer.wake())
        self.writer = FrameWriter(self.wire.write, self.outbox, self.wire.end, self.turn)

    def push(self, *sequences: int) -> None:
        for sequence in sequences:
            self.outbox.push(HoldSessionResponse(renewed=session_pb2.Renewed(sequence=sequence)))

    async def written(self, error: Exception | None = None) -> None:
        future = self.wire.futures[-1]
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        await asyncio.sleep(0)


async def test_frames_leave_in_order_one_at_a_time():
    stream = Stream()
    stream.push(1, 2)
    assert stream.wire.begun == []  # with everything else of this turn
    stream.turn.run()
    assert stream.wire.begun == [1]
    stream.push(3)
    stream.turn.run()
    assert stream.wire.begun == [1]
    await stream.written()
    assert stream.wire.begun == [1, 2]
    await stream.written()
    await stream.written()
    assert stream.wire.begun == [1, 2, 3]
    stream.push(4)
    stream.turn.run()
    assert stream.wire.begun == [1, 2, 3, 4]


async def test_the_end_comes_after_the_last_frame():
    stream = Stream()
    stream.push(1)
    stream.outbox.end(None)
    stream.turn.run()
    assert stream.wire.ended == 0
    await stream.written()
    assert stream.wire.ended == 1


async def test_whoever_closes_waits_for_the_write_that_is_under_way():
    stream = Stream()
    stream.push(1)
    stream.turn.run()
    closing = asyncio.ensure_future(stream.writer.close())
    await asyncio.sleep(0)
    assert not closing.done()
    await stream.written()
    await asyncio.wait_for(closing, 5)
    stream.push(2)
    stream.turn.run()
    assert stream.wire.begun == [1]


@pytest.mark.parametrize("error", [grpc.aio.BaseError("gone"), asyncio.InvalidStateError()])
async def test_a_stream_that_is_gone_is_written_to_no_more_and_holds_nobody_up(error):
    stream = Stream()
    stream.push(1, 2)
    stream.turn.run()
    closing = asyncio.ensure_future(stream.writer.close())
    await asyncio.sleep(0)
    await stream.written(error)
    await asyncio.wait_for(closing, 5)
    assert stream.wire.begun == [1]


async def test_a_reader_waits_for_its_peer_to_catch_up():
    stream = Stream()
    stream.push(*range(1, BEHIND + 1))
    assert stream.writer.behind
    stream.turn.run()
    waiting = asyncio.ensure_future(stream.writer.caught_up())
    for _ in range(BEHIND):
        assert not waiting.done()
        await stream.written()
    await asyncio.wait_for(waiting, 5)
    assert not stream.writer.behind

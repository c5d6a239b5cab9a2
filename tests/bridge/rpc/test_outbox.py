"""What waits to be sent: in order, bounded, and ended after what came before the end."""

from __future__ import annotations

import asyncio

import pytest

from keypeg.errors import LimitExceeded, SessionClosed
from keypeg_bridge.rpc.outbox import Outbox


async def taken(box: Outbox[int]) -> list[int]:
    return [frame async for frame in box.frames()]


async def test_everything_before_the_end_is_sent_in_order() -> None:
    box: Outbox[int] = Outbox()
    await box.answer(1)
    box.push(2)
    await box.answer(3)
    box.end()
    box.push(4)
    await box.answer(5)
    assert await taken(box) == [1, 2, 3]


async def test_the_first_end_counts_and_comes_last() -> None:
    box: Outbox[int] = Outbox()
    box.push(1)
    box.end(SessionClosed("closed"))
    box.end()
    frames = box.frames()
    assert await anext(frames) == 1
    with pytest.raises(SessionClosed):
        await anext(frames)


async def test_answers_wait_for_a_reader_and_pushes_do_not() -> None:
    box: Outbox[int] = Outbox(answers=1)
    await box.answer(1)
    waiting = asyncio.ensure_future(box.answer(3))
    box.push(2)
    await asyncio.sleep(0)
    assert not waiting.done()
    frames = box.frames()
    assert await anext(frames) == 1
    assert await anext(frames) == 2
    await waiting
    assert await anext(frames) == 3
    await frames.aclose()


async def test_a_client_that_never_reads_ends_its_own_stream() -> None:
    box: Outbox[int] = Outbox(frames=3)
    for number in range(10):
        box.push(number)
    with pytest.raises(LimitExceeded):
        await taken(box)


async def test_an_error_of_what_follows_is_the_streams() -> None:
    box: Outbox[int] = Outbox()

    async def fails() -> None:
        await asyncio.sleep(0)
        raise SessionClosed("closed")

    box.follow(fails())
    with pytest.raises(SessionClosed):
        await taken(box)

"""Streams that are begun again: over what passes by itself, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from keypeg import watching
from keypeg.errors import KeypegError, PermissionDenied, ServerDraining, Unreachable


class Failed(grpc.RpcError):
    def __init__(self, error: KeypegError) -> None:
        self.error = error


class Stream:
    """Answers, and then an end; well, when that is None."""

    def __init__(self, *answers: int, end: KeypegError | None = None) -> None:
        self.answers, self.end, self.canceled = list(answers), end, False

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> int:
        if self.answers:
            return self.answers.pop(0)
        if self.end is not None:
            raise Failed(self.end)
        raise StopAsyncIteration

    def cancel(self) -> None:
        self.canceled = True


async def heard(
    streams: Sequence[Stream | KeypegError], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[int], list[str], list[float], KeypegError]:
    """What is heard, what is told of lost connections, how long each pause is, and the end of it all."""
    left = list(streams)
    told: list[str] = []
    slept: list[float] = []
    found: list[int] = []

    async def begin() -> Any:
        one = left.pop(0)
        if isinstance(one, KeypegError):
            raise one
        return one

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("keypeg.watching.asyncio.sleep", sleep)
    answers = watching.answers(
        begin, lambda failed: failed.error, lambda error: told.append(error.sentence)
    )
    try:
        async for answer in answers:
            found.append(answer)
    except KeypegError as error:
        return found, told, slept, error
    raise AssertionError("it goes on until it is refused")


async def test_it_begins_again_over_what_passes_until_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = (
        Stream(1, 2, end=ServerDraining("It drains.")),
        Unreachable("Nobody is there."),
        Unreachable("Still nobody."),
        Stream(3),
        Stream(4, end=PermissionDenied("You may not.")),
    )
    found, told, slept, end = await heard(streams, monkeypatch)
    assert found == [1, 2, 3, 4]
    assert told == ["It drains.", "Nobody is there.", "Still nobody."]
    assert slept == [0.2, 1.0, 2.0, 0.2], "longer while nothing is answered"
    assert isinstance(end, PermissionDenied)
    assert all(one.canceled for one in streams if isinstance(one, Stream))


async def test_a_stream_that_is_left_is_canceled() -> None:
    stream = Stream(1, 2)

    async def begin() -> Any:
        return stream

    async with contextlib.aclosing(watching.answers(begin, lambda failed: failed.error)) as answers:
        assert await anext(answers) == 1
    assert stream.canceled

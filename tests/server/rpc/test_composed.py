"""Interceptors are asked once for each method, in their order, and again for what they refused."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import grpc.aio
import pytest

from keypeg.errors import PermissionDenied
from keypeg.serving import ErrorInterceptor
from keypeg_server.rpc.composed import Composed


class Around(grpc.aio.ServerInterceptor):
    def __init__(self, name: str) -> None:
        self.name = name
        self.asked = 0
        self.error: Exception | None = None

    async def intercept_service(self, continuation, handler_call_details):
        self.asked += 1
        inner = await continuation(handler_call_details)
        if self.error is not None:
            raise self.error
        return None if inner is None else f"{self.name}({inner})"


def ask(composed: Composed, method: str, handler: str | None = "handler"):
    async def continuation(_details):
        return handler

    return asyncio.run(composed.intercept_service(continuation, SimpleNamespace(method=method)))


@pytest.fixture
def rows() -> tuple[Around, Around]:
    return Around("outer"), Around("inner")


def test_the_first_is_the_outermost_and_each_is_asked_once(rows):
    composed = Composed(rows)
    assert [ask(composed, "/s/M"), ask(composed, "/s/M")] == ["outer(inner(handler))"] * 2
    assert [row.asked for row in rows] == [1, 1]
    assert ask(composed, "/s/Other", "other") == "outer(inner(other))"


def test_methods_that_are_not_there_are_not_kept(rows):
    composed = Composed(rows)
    assert ask(composed, "/s/None", None) is None
    assert ask(composed, "/s/None", "handler") == "outer(inner(handler))"


def test_a_refusal_is_not_kept(rows):
    inner = rows[1]
    composed = Composed([ErrorInterceptor(), inner])
    inner.error = PermissionDenied("No.", method="/s/M")
    assert ask(composed, "/s/M").stream_stream is not None  # the handler that refuses
    inner.error = None
    again = ask(composed, "/s/M", None)
    assert again is None
    assert inner.asked == 2

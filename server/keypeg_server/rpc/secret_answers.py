"""Answers that hold a secret, told once: remembered for their request, but not so that the database tells it.

Promises: the same request again gets the same secret, for as long as requests are remembered; what is remembered is
wrapped for this caller and request.

Leaves to others: wrapping (service/wrapping.py), remembering (service/store.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from google.protobuf.message import Message

from keypeg_server.rpc.calls import once
from keypeg_server.service.store import Request
from keypeg_server.service.wrapping import Wrapping

T = TypeVar("T")
M = TypeVar("M", bound=Message)


async def told_once(
    wrapping: Wrapping,
    request: Any,
    answer: Callable[[T], M],
    kind: type[M],
    carry_out: Callable[[Request[T]], Awaitable[bytes]],
) -> M:
    """The answer of a mutation that makes a secret."""
    plain = once(request, answer)
    context = f"answer {plain.caller} {plain.id}"
    wrapped = replace(plain, answer=lambda result: wrapping.wrap(plain.answer(result), context))
    return kind.FromString(wrapping.unwrap(await carry_out(wrapped), context))

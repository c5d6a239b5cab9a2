"""Sessions of Python loads: opened, their codes checked.

Promises: a wrong, denied or missing answer is a WrongAnswer.

Leaves to others: what is done on them (python_load.py, attacks.py).
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Iterator
from typing import Any

import grpc.aio

from keypeg import sessionkey
from keypeg.v1 import session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from keypeg.v1.session_service_pb2_grpc import SessionServiceStub


class WrongAnswer(Exception):
    """The server's answer is not the right one."""


def require(good: bool, what: object) -> None:
    """WrongAnswer unless it is good."""
    if not good:
        raise WrongAnswer(str(what)[:300])


class Place:
    """Where a worker works: a channel, and what the command line says."""

    def __init__(self, channel: grpc.aio.Channel, arguments: argparse.Namespace) -> None:
        self.channel = channel
        self.product: str = arguments.product
        self.pool: str = arguments.pool
        token = os.environ.get("KEYPEG_TOKEN", "")
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()


async def open_session(
    place: Place, number: int
) -> tuple[Any, sessionkey.FrameAuthenticator, Iterator[int]]:
    """A session of keypegd: its stream, its codes, and the numbers of its next frames."""
    call: Any = SessionServiceStub(place.channel).HoldSession(metadata=place.metadata)
    sequences = itertools.count(1)
    share = sessionkey.KeyShare.generate()
    first = session_pb2.Open(
        sequence=next(sequences),
        protocol_version=1,
        device=device(number),
        app=app(),
        product=place.product,
        nonce=os.urandom(32),
        key_share=share.public,
    )
    opened = (await ask(call, HoldSessionRequest(open=first))).opened
    codes = sessionkey.FrameAuthenticator(
        share.agree(opened.key_share, first.nonce, opened.session)
    )
    valid_for = sessionkey.microseconds(opened.valid_for)
    expected = codes.opened(first.sequence, opened.session, valid_for, False, [])
    require(opened.mac == expected, f"not `opened`, or its code is wrong: {opened}")
    return call, codes, sequences


async def ask(call: Any, frame: HoldSessionRequest) -> HoldSessionResponse:
    """The answer to a frame, which is no denial."""
    await call.write(frame)
    answer = await call.read()
    if not isinstance(answer, HoldSessionResponse):
        raise WrongAnswer(f"the stream ended with {await call.code()}: {await call.details()}")
    require(not answer.HasField("denied"), answer.denied.explanation.sentence)
    return answer


def device(number: int) -> session_pb2.Device:
    """The computer of a worker."""
    return session_pb2.Device(id=f"device-load-{os.getpid()}-{number}", host_name=f"load-{number}")


def app() -> session_pb2.App:
    """What a worker says that it is."""
    return session_pb2.App(name="load", version="1.0", sdk="keypeg-bench/1", process_id=os.getpid())

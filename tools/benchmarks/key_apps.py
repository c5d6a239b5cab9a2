"""Apps on keys: sessions held at a bridge, frame by frame, with the times of what they get.

Promises: the first proof of each app is verified as an SDK does; any answer but the one that was asked for is a LoadError, never a
number. A paced app counts from when a renewal was due, whatever the bridge did meanwhile.

Leaves to others: how many, on which keys, and what it means (keys.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import grpc
import grpc.aio

from benchmarks.key_bench import Publisher
from benchmarks.loads import LoadError
from keypeg import proof
from keypeg.calls import translate
from keypeg.errors import KeyMissing
from keypeg.v1 import session_pb2, session_service_pb2_grpc
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse

ANSWER_SECONDS: Final = 20.0
DEVICE: Final = "device-of-the-bench"


class App:
    """One session on one stream."""

    def __init__(self, channel: grpc.aio.Channel, product: str, publisher: Publisher) -> None:
        self.product = product
        self._publisher = publisher
        self._call: Any = session_service_pb2_grpc.SessionServiceStub(channel).HoldSession()
        self._sequence = 0

    async def open(self) -> None:
        """Open the session, and verify its proof."""
        nonce = secrets.token_bytes(32)
        self._sequence += 1
        frame = session_pb2.Open(
            sequence=self._sequence,
            protocol_version=1,
            device=session_pb2.Device(id=DEVICE, host_name="bench"),
            app=session_pb2.App(name="bench", version="1", sdk="bench/1", process_id=1),
            product=self.product,
            nonce=nonce,
        )
        await self._call.write(HoldSessionRequest(open=frame))
        opened = (await self.expect("opened")).opened
        proof.verify(
            opened.proof,
            proof.Expectation(
                publisher_root=bytes(self._publisher.root.public_key.key),
                publisher=self._publisher.name,
                product=self.product,
                session=opened.session,
                device=DEVICE,
                nonce=nonce,
                client_key_share=b"",
                server_key_share=b"",
                now=datetime.now(UTC),
                fingerprint=None,
            ),
        )

    async def renew(self) -> None:
        """Get another proof."""
        self._sequence += 1
        frame = session_pb2.Renew(sequence=self._sequence, nonce=secrets.token_bytes(32))
        await self._call.write(HoldSessionRequest(renew=frame))
        renewed = (await self.expect("renewed")).renewed
        if renewed.sequence != self._sequence or not renewed.proof.key.signature:
            raise LoadError(f"{self.product}: a renewal without its proof")

    async def paced(self, first: float, interval: float, until: float) -> list[float]:
        """Renew at fixed times, on `time.perf_counter`; seconds from when each was due."""
        took = []
        due = first
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await self.renew()
            took.append(time.perf_counter() - due)
            due += interval
        return took

    async def expect(self, frame: str) -> HoldSessionResponse:
        """The next frame, which is to be this one."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = await self._call.read()
        except TimeoutError:
            raise LoadError(f"{self.product}: no {frame} within {ANSWER_SECONDS:g} s") from None
        except grpc.RpcError as error:
            raise translate(error) from error
        if not isinstance(answer, HoldSessionResponse) or answer.WhichOneof("frame") != frame:
            raise LoadError(f"{self.product}: waited for {frame}, and got {answer}")
        return answer


@contextlib.asynccontextmanager
async def apps(
    target: str, publisher: Publisher, products: Sequence[str]
) -> AsyncIterator[list[App]]:
    """An app for each product named, as often as it is named; all opened, on one connection each."""
    channels = []
    made = []
    try:
        for product in products:
            channel = grpc.aio.insecure_channel(
                target, options=(("grpc.use_local_subchannel_pool", 1),)
            )
            channels.append(channel)
            made.append(await _opened(channel, product, publisher))
        yield made
    finally:
        for channel in channels:
            await channel.close()


async def _opened(channel: grpc.aio.Channel, product: str, publisher: Publisher) -> App:
    """An app, as soon as the bridge has read its key."""
    deadline = time.perf_counter() + ANSWER_SECONDS
    while True:
        app = App(channel, product, publisher)
        try:
            await app.open()
        except KeyMissing:
            if time.perf_counter() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            return app


async def all_paced(made: Sequence[App], interval: float, seconds: float) -> list[float]:
    """All apps at the same pace, each with a moment of its own; the seconds of all renewals."""
    start = time.perf_counter() + 0.1
    rows = await asyncio.gather(
        *(
            app.paced(start + interval * number / len(made), interval, start + seconds)
            for number, app in enumerate(made)
        )
    )
    return [one for row in rows for one in row]

"""One key with a license and an app that runs on it, through a real bridge, and stories of faults that are played on it.

Leaves to others: the stories themselves, and the laboratories that they are played in (test_faults_of_keys.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc.aio

from keypeg.errors import Reason
from keypeg.testing.lab import LabKey
from keypeg.testing.lab_processes import wait_until
from keypeg.v1 import key_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from tests.bridge.app_side import AppSide

TOLD_WITHIN = 5.0
"""Seconds until an app knows that its key does not answer: a proof has three."""
SOON = 2.0
"""Seconds until it knows what needs no waiting: less than a proof has."""
GRACE = timedelta(minutes=5)

DENIED = {Reason.KEY_FAULTY.value, Reason.KEY_UNPLUGGED.value}


class Scene:
    """One key with a license, and an app that runs on it."""

    def __init__(self, key: LabKey) -> None:
        self.key = key
        self.product = f"product-of-{key.name}"
        self._channel = grpc.aio.insecure_channel(
            key.lab.bridge, options=(("grpc.use_local_subchannel_pool", 1),)
        )
        self._publisher: Any = SimpleNamespace(pinned=key.lab.root, name=key.lab.publisher.name)
        self.app = self.new_app()

    def new_app(self, product: str = "") -> AppSide:
        return AppSide(self._channel, product or self.product)

    async def begin(self) -> None:
        await self.license(self.product)
        opened = await self.app.open()
        self.check(opened.proof)

    async def license(self, product: str) -> None:
        await asyncio.to_thread(self.key.license, product, unplug_grace=GRACE)

    def check(self, proof: Any) -> None:
        self.app.check(proof, self._publisher)

    async def goes_on(self) -> None:
        """A renewal works, and its proof is right."""
        answer = await self.app.renew()
        assert answer.WhichOneof("frame") == "renewed", answer
        self.check(answer.renewed.proof)

    async def is_denied(self, *reasons: Reason) -> float:
        """A renewal is denied, by the key's fault or these reasons; the seconds until that was told."""
        loop = asyncio.get_running_loop()
        asked = loop.time()
        answer = await self.app.renew()
        assert answer.WhichOneof("frame") == "denied", answer
        assert answer.denied.explanation.reason in ({one.value for one in reasons} or DENIED)
        assert answer.denied.explanation.sentence
        return loop.time() - asked

    async def comes_back(self) -> None:
        """The app hears that its key is back, and goes on."""
        while (answer := await self.app.receive()).WhichOneof("frame") != "changed":
            assert answer.WhichOneof("frame") == "missing"
        assert answer.changed.change == session_pb2.CHANGE_KEY_RETURNED
        await self.goes_on()

    async def goes_on_or_comes_back(self) -> None:
        """It goes on at once, or when its key was opened anew."""
        answer = await self.app.renew()
        if answer.WhichOneof("frame") == "denied":
            await self.comes_back()
        else:
            self.check(answer.renewed.proof)

    async def hears(self, frame: str) -> HoldSessionResponse:
        """The next frame, which is of this kind."""
        answer = await self.app.receive()
        assert answer.WhichOneof("frame") == frame, answer
        return answer

    async def seen(self, wanted: Callable[[key_pb2.Key], bool]) -> key_pb2.Key:
        """The first key that the bridge tells of and that is wanted."""

        def watch() -> key_pb2.Key:
            with self.key.lab.issuer() as issuer:
                return issuer.wait_for(wanted, "What was to be seen")

        return await asyncio.to_thread(watch)

    async def is_gone(self, name: str) -> None:
        """The bridge shows no such key any more."""

        def gone() -> bool:
            with self.key.lab.issuer() as issuer:
                return all(key.name != name for key in issuer.listed())

        assert await asyncio.to_thread(wait_until, gone, 15)

    async def close(self) -> None:
        await self._channel.close()


Story = Callable[[Scene], Awaitable[None]]


async def play(key: LabKey, chain: Sequence[Story], told: Sequence[asyncio.Future[None]]) -> None:
    """One key's stories, one after the other; each one's end is told."""
    scene = Scene(key)
    try:
        for story, ended in zip(chain, told, strict=True):
            try:
                if story is chain[0]:
                    await scene.begin()
                await story(scene)
            except BaseException as error:
                ended.set_exception(error)
                raise
            ended.set_result(None)
    finally:
        for ended in told:
            if not ended.done():
                ended.set_exception(AssertionError("the story before failed"))
        await scene.close()

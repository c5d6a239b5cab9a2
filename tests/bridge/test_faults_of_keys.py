"""Every fault of an emulated key, through a real bridge, as an app sees it: a clear error in time, and recovery after it.

All stories are played at once, each on a key of its own in one of two laboratories, since most of them wait for a time limit;
each is a test of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest

from keypeg import errors
from keypeg.errors import Reason
from keypeg.testing.lab import KeyLab, LabKey
from keypeg.testing.lab_processes import wait_until
from keypeg.v1 import key_pb2, session_pb2
from keypeg.v1.session_service_pb2 import HoldSessionResponse
from tests.bridge.app_side import AppSide

pytestmark = [pytest.mark.system, pytest.mark.behaviour("KEY-11")]

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


# On the card


async def a_pull_is_told_and_ends_when_the_key_is_back(scene: Scene) -> None:
    scene.key.unplug(seconds=0.3)
    assert (await scene.hears("missing")).missing.grace.ToTimedelta() == GRACE
    await scene.comes_back()


async def a_key_that_flaps_is_recognized(scene: Scene) -> None:
    scene.key.flap(5, seconds=0.4, pause=0.7)
    for _ in range(5):
        await scene.hears("missing")
        await scene.hears("changed")
    key = await scene.seen(lambda key: key.serial == scene.key.serial)
    assert "came and went" in key.fault
    await scene.goes_on()


async def an_answer_that_never_comes_is_told_in_time(scene: Scene) -> None:
    fault = scene.key.stall(count=1)
    assert await scene.is_denied() < TOLD_WITHIN
    assert not fault.active, "it was for one answer"
    await scene.comes_back()


async def a_slow_answer_is_waited_for(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    with scene.key.slow(0.8) as fault:
        asked = loop.time()
        await scene.goes_on()
        assert loop.time() - asked >= 0.8
        assert fault.hits
    asked = loop.time()
    await scene.goes_on()
    assert loop.time() - asked < 0.8


async def an_answer_that_comes_too_late_is_not_taken_for_another(scene: Scene) -> None:
    scene.key.slow(3.5, count=1)
    assert await scene.is_denied() < TOLD_WITHIN
    await scene.comes_back()


async def an_answer_that_breaks_off_is_told(scene: Scene) -> None:
    scene.key.truncate(13, count=1)
    assert await scene.is_denied() < TOLD_WITHIN
    await scene.comes_back()


async def nonsense_is_told_at_once(scene: Scene) -> None:
    scene.key.corrupt(0, count=1)
    assert await scene.is_denied() < SOON
    await scene.comes_back()


async def a_byte_of_a_signature_is_noticed_by_the_app(scene: Scene) -> None:
    scene.key.corrupt(40, count=1)
    answer = await scene.app.renew()
    if answer.WhichOneof("frame") == "denied":  # by a bridge that looked itself
        assert answer.denied.explanation.reason in DENIED
        await scene.comes_back()
        return
    with pytest.raises(errors.KeyProofInvalid):
        scene.check(answer.renewed.proof)
    await scene.goes_on()


async def an_answer_to_another_question_is_not_taken(scene: Scene) -> None:
    scene.key.wrong_sequence(count=1)
    assert await scene.is_denied() < TOLD_WITHIN
    await scene.comes_back()


async def a_full_key_takes_no_license_and_keeps_those_it_has(scene: Scene) -> None:
    with scene.key.fill():
        with pytest.raises(errors.KeyFull):
            await scene.license("one-more")
        await scene.goes_on()
    await scene.license("one-more")
    await scene.new_app("one-more").open()


async def a_wanted_pin_is_told(scene: Scene) -> None:
    with scene.key.pin("wanted"):
        answer = await scene.app.renew()
        assert answer.WhichOneof("frame") == "denied"
        assert "PIN" in answer.denied.explanation.sentence
    await scene.goes_on_or_comes_back()


async def a_pin_that_nobody_asks_for_may_be_blocked(scene: Scene) -> None:
    with scene.key.pin("blocked"):
        await scene.goes_on()
    with scene.key.pin("wrong"):
        await scene.goes_on()


async def old_contents_are_what_the_bridge_finds(scene: Scene) -> None:
    scene.key.snapshot("before")
    await scene.license("newer")
    await scene.new_app("newer").open()
    with scene.key.roll_back("before", mode="objects"):
        await scene.hears("missing")
        await scene.comes_back()
        late = scene.new_app("newer")
        await late.send(open=late.open_frame())
        with pytest.raises(errors.KeyMissing):
            await late.receive()
    await scene.hears("missing")
    await scene.comes_back()
    await scene.new_app("newer").open()


async def a_copy_offers_nothing_beside_its_original(scene: Scene) -> None:
    copy = scene.key.clone()
    faulty = await scene.seen(lambda key: "same card id" in key.fault)
    assert faulty.serial == scene.key.serial
    await scene.goes_on()
    copy.clear()
    await scene.is_gone(faulty.name)
    await scene.goes_on()


async def a_forged_key_can_not_stand_in_for_its_original(scene: Scene) -> None:
    with scene.key.clone("forged", swap=True, name="forged"):
        await scene.hears("missing")
        await scene.seen(
            lambda key: key.serial == scene.key.serial and key.state == key_pb2.KEY_STATE_PRESENT
        )
        late = scene.new_app()
        await late.send(open=late.open_frame())
        with pytest.raises(errors.KeyMissing):
            await late.receive()
        assert await scene.is_denied(Reason.KEY_MISSING) < SOON
    await scene.comes_back()


# On the security key


async def a_security_key_that_never_answers_is_told_in_time(scene: Scene) -> None:
    scene.key.stall(interface="fido", count=1)
    assert await scene.is_denied() < TOLD_WITHIN
    await scene.comes_back()


async def a_short_report_is_told_at_once(scene: Scene) -> None:
    scene.key.truncate(20, interface="fido", count=1)
    assert await scene.is_denied() < SOON
    await scene.comes_back()


async def packets_out_of_turn_are_told_at_once(scene: Scene) -> None:
    scene.key.wrong_sequence(interface="fido", count=1)
    assert await scene.is_denied() < SOON
    await scene.comes_back()


async def a_wrong_report_is_told(scene: Scene) -> None:
    scene.key.corrupt(9, interface="fido", count=1)
    assert await scene.is_denied() < TOLD_WITHIN
    await scene.comes_back()


async def a_counter_that_stands_still_is_taken_for_a_copy_and_serves(scene: Scene) -> None:
    with scene.key.wear():
        await scene.goes_on()
        await scene.goes_on()
        key = await scene.seen(lambda key: key.serial == scene.key.serial)
        assert "copy" in key.fault
    await scene.goes_on()


async def a_counter_at_its_end_is_told(scene: Scene) -> None:
    with scene.key.wear("end"):
        assert await scene.is_denied() < SOON
    await scene.comes_back()


ON_CARDS: list[list[Story]] = [
    [
        a_pull_is_told_and_ends_when_the_key_is_back,
        nonsense_is_told_at_once,
        a_byte_of_a_signature_is_noticed_by_the_app,
        a_full_key_takes_no_license_and_keeps_those_it_has,
        a_pin_that_nobody_asks_for_may_be_blocked,
        a_wanted_pin_is_told,
    ],
    [a_key_that_flaps_is_recognized],
    [a_slow_answer_is_waited_for, an_answer_that_never_comes_is_told_in_time],
    [an_answer_that_comes_too_late_is_not_taken_for_another],
    [an_answer_that_breaks_off_is_told],
    [an_answer_to_another_question_is_not_taken],
    [
        old_contents_are_what_the_bridge_finds,
        a_copy_offers_nothing_beside_its_original,
        a_forged_key_can_not_stand_in_for_its_original,
    ],
]
ON_SECURITY_KEYS: list[list[Story]] = [
    [
        a_short_report_is_told_at_once,
        packets_out_of_turn_are_told_at_once,
        a_wrong_report_is_told,
        a_counter_that_stands_still_is_taken_for_a_copy_and_serves,
        a_counter_at_its_end_is_told,
    ],
    [a_security_key_that_never_answers_is_told_in_time],
]
LABS = {"card": ON_CARDS, "fido": ON_SECURITY_KEYS}
NAMES = [story.__name__ for stories in LABS.values() for chain in stories for story in chain]


async def play(key: LabKey, chain: list[Story], told: dict[str, asyncio.Future[None]]) -> None:
    """One key's stories, one after the other; each one's end is told."""
    scene = Scene(key)
    try:
        for story in chain:
            try:
                if story is chain[0]:
                    await scene.begin()
                await story(scene)
            except BaseException as error:
                told[story.__name__].set_exception(error)
                raise
            told[story.__name__].set_result(None)
    finally:
        for story in chain:
            if not told[story.__name__].done():
                told[story.__name__].set_exception(AssertionError("the story before failed"))
        await scene.close()


@pytest.fixture(scope="module")
async def told() -> AsyncIterator[dict[str, asyncio.Future[None]]]:
    loop = asyncio.get_running_loop()
    told: dict[str, asyncio.Future[None]] = {name: loop.create_future() for name in NAMES}
    labs = {
        "card": KeyLab(keys=len(ON_CARDS), seed="card"),
        "fido": KeyLab(keys=len(ON_SECURITY_KEYS), seed="fido", drivers="fido2"),
    }
    with ExitStack() as stack:
        for lab in labs.values():
            stack.callback(lab.stop)
        await asyncio.gather(*(asyncio.to_thread(lab.start) for lab in labs.values()))
        playing = [
            asyncio.ensure_future(play(labs[kind].key(f"key-{number}"), chain, told))
            for kind, stories in LABS.items()
            for number, chain in enumerate(stories, 1)
        ]
        yield told
        await asyncio.gather(*playing, return_exceptions=True)
        for future in told.values():
            future.exception()


@pytest.mark.parametrize("name", NAMES)
async def test_of_a_fault(name: str, told: dict[str, asyncio.Future[None]]) -> None:
    async with asyncio.timeout(60):
        await asyncio.shield(told[name])

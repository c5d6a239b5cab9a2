"""Every fault of an emulated key, through a real bridge, as an app sees it: a clear error in time, and recovery after it.

All stories are played at once, each on a key of its own in the laboratory of its kind, since most of them wait for a time limit;
each is a test of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from keypeg import errors
from keypeg.errors import Reason
from keypeg.testing.lab import KeyLab
from keypeg.v1 import key_pb2, session_pb2
from tests.bridge.fault_scenes import DENIED, GRACE, SOON, TOLD_WITHIN, Scene, Story, play

pytestmark = [pytest.mark.system, pytest.mark.behaviour("KEY-11")]

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


async def a_key_that_is_pulled_again_and_again_is_recognized(scene: Scene) -> None:
    """However long it takes the bridge to know it again."""
    for _ in range(5):
        scene.key.unplug()
        await scene.hears("missing")
        scene.key.plug()
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


# On the smartkey


async def a_smartkey_whose_counter_is_at_its_end_is_told(scene: Scene) -> None:
    with scene.key.wear("end"):
        assert await scene.is_denied() < SOON
    await scene.goes_on_or_comes_back()


async def a_smartkey_whose_counter_stands_still_is_refused(scene: Scene) -> None:
    with scene.key.wear():
        await scene.is_denied(Reason.KEY_ROLLED_BACK)


async def counts(scene: Scene) -> None:
    """More signatures than opening a key makes."""
    for _ in range(6):
        await scene.goes_on()


async def is_refused_for_its_count(scene: Scene) -> None:
    """The key is back, and what it tells is too low; the app and whoever looks at the key are told."""
    returned = (await scene.hears("changed")).changed
    assert returned.change == session_pb2.CHANGE_KEY_RETURNED
    await scene.is_denied(Reason.KEY_ROLLED_BACK)
    refused = await scene.seen(lambda key: key.serial == scene.key.serial and bool(key.fault))
    assert "its counter told" in refused.fault


async def a_smartkey_that_was_rolled_back_is_refused_until_it_is_the_newest_again(
    scene: Scene,
) -> None:
    scene.key.snapshot("before")
    await counts(scene)
    with scene.key.roll_back("before"):
        await scene.hears("missing")
        await is_refused_for_its_count(scene)
    await scene.hears("missing")
    await scene.comes_back()


async def a_smartkey_that_fell_behind_its_copy_is_refused(scene: Scene) -> None:
    with scene.key.clone(swap=True, name="copy"):
        await scene.hears("missing")
        await scene.comes_back()  # it counts on from where the first one stands
        await counts(scene)
    await scene.hears("missing")
    await is_refused_for_its_count(scene)


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
ON_SMARTKEYS: list[list[Story]] = [
    [
        a_pull_is_told_and_ends_when_the_key_is_back,
        nonsense_is_told_at_once,
        a_byte_of_a_signature_is_noticed_by_the_app,
        a_full_key_takes_no_license_and_keeps_those_it_has,
        a_smartkey_whose_counter_is_at_its_end_is_told,
    ],
    [a_key_that_is_pulled_again_and_again_is_recognized],
    [a_slow_answer_is_waited_for, an_answer_that_never_comes_is_told_in_time],
    [an_answer_that_comes_too_late_is_not_taken_for_another],
    [an_answer_that_breaks_off_is_told],
    [an_answer_to_another_question_is_not_taken],
    [a_smartkey_that_was_rolled_back_is_refused_until_it_is_the_newest_again],
    [a_smartkey_that_fell_behind_its_copy_is_refused],
    [a_smartkey_whose_counter_stands_still_is_refused],
]


@dataclass(frozen=True)
class Kind:
    """Keys of one kind: their stories, a key's in a list, and what their laboratory is told."""

    chains: list[list[Story]]
    drivers: str = ""


KINDS = {
    "card": Kind(ON_CARDS),
    "fido": Kind(ON_SECURITY_KEYS, "fido2"),
    "smart": Kind(ON_SMARTKEYS, "smartkey"),
}
NAMES = [
    f"{name}-{story.__name__}"
    for name, kind in KINDS.items()
    for chain in kind.chains
    for story in chain
]


@pytest.fixture(scope="module")
async def told() -> AsyncIterator[dict[str, asyncio.Future[None]]]:
    loop = asyncio.get_running_loop()
    told: dict[str, asyncio.Future[None]] = {name: loop.create_future() for name in NAMES}
    labs = {
        name: KeyLab(keys=len(kind.chains), seed=name, drivers=kind.drivers)
        for name, kind in KINDS.items()
    }
    with ExitStack() as stack:
        for lab in labs.values():
            stack.callback(lab.stop)
        await asyncio.gather(*(asyncio.to_thread(lab.start) for lab in labs.values()))
        playing = [
            asyncio.ensure_future(
                play(
                    labs[name].key(f"key-{number}"),
                    chain,
                    [told[f"{name}-{story.__name__}"] for story in chain],
                )
            )
            for name, kind in KINDS.items()
            for number, chain in enumerate(kind.chains, 1)
        ]
        yield told
        await asyncio.gather(*playing, return_exceptions=True)
        for future in told.values():
            future.exception()


@pytest.mark.parametrize("name", NAMES)
async def test_of_a_fault(name: str, told: dict[str, asyncio.Future[None]]) -> None:
    async with asyncio.timeout(60):
        await asyncio.shield(told[name])

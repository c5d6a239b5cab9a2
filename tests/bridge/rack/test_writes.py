"""Writes to a key: one at a time, step by step, never longer than they may, and read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from keypeg.errors import (
    AlreadyExists,
    DocumentMalformed,
    DocumentOtherDevice,
    DocumentOtherPublisher,
    DocumentSuperseded,
    KeyAuthorizationFailed,
    KeyBusy,
    KeyFaulty,
    KeyFull,
    KeyLost,
    KeyNotEnrolled,
    NotFound,
    ProtocolViolation,
)
from keypeg.possession import enrollment_challenge
from keypeg.receipts import Expected, verify_receipt
from keypeg.v1 import document_pb2
from keypeg.v1.key_contents_pb2 import Receipt
from keypeg_bridge.rack import contents
from keypeg_bridge.rack.states import Happening
from keypeg_bridge.rack.write_steps import Begun
from keypeg_bridge.rack.writes import VALID_FOR, Writes
from tests.bridge.fakes import CHALLENGE, RESPONSE, FakeKey, FakeSource
from tests.bridge.publisher import ACCOUNT, Publisher
from tests.bridge.rack.conftest import Bench, OpenBench
from tests.bridge.rack.test_rack import until

NONCE = b"n" * 32


@asynccontextmanager
async def plugged(open_bench: OpenBench, key: FakeKey) -> AsyncIterator[tuple[Bench, Writes, str]]:
    bus = FakeSource()
    async with open_bench(bus) as bench:
        writes = Writes(bench.rack, bench.time)
        bus.plug(key)
        change = await bench.watch.next(lambda one: one.happening is Happening.ARRIVED)
        yield bench, writes, change.record.name


async def enrolled(writes: Writes, begun: Begun, key: bytes = b"k" * 32):
    return await writes.enroll(begun.write, RESPONSE, key, "aes256", ACCOUNT, NONCE)


async def test_a_key_is_enrolled_and_proves_that_it_has_its_private_key(
    open_bench: OpenBench,
) -> None:
    key = FakeKey(enrolled=False)
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        assert begun.card_id == key.card_id
        assert begun.challenge == CHALLENGE
        assert begun.factory_key
        assert begun.valid_for == VALID_FOR
        record, signature = await enrolled(writes, begun)
        await writes.end(begun.write)
        assert record.reading is not None
        assert record.reading.identity.public_key == key.point
        assert not record.reading.identity.factory_key
        signed = enrollment_challenge(begun.card_id.hex(), ACCOUNT, NONCE)
        assert key.private is not None
        key.private.public_key().verify(signature, signed, ec.ECDSA(Prehashed(hashes.SHA256())))
        assert "set aes256 32" in key.events
        assert key.events[-1] == "end"


async def test_a_blank_key_gets_its_card_id_and_its_lasting_name_before_the_challenge(
    open_bench: OpenBench,
) -> None:
    key = FakeKey(enrolled=False, card_id=False)
    async with plugged(open_bench, key) as (bench, writes, name):
        begun = await writes.begin(name)
        assert begun.card_id == b"\x77" * 16
        record, _ = await enrolled(writes, begun)
        assert record.name != name
        assert [one.name for one in bench.rack.records()] == [record.name]
        with pytest.raises(KeyBusy):
            await writes.begin(record.name)
        await writes.end(begun.write)


async def test_a_license_is_written_with_its_delegation_and_replaced_in_its_slot(
    open_bench: OpenBench,
) -> None:
    key, publisher = FakeKey(), Publisher()
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        first = publisher.license(key.point, activation="7")
        await writes.put(begun.write, RESPONSE, first, publisher.delegation())
        other = publisher.license(key.point, "organ", activation="8")
        await writes.put(begun.write, b"", other, publisher.delegation())
        newer = publisher.license(key.point, activation="7", generation=2)
        record = await writes.put(begun.write, b"", newer, publisher.delegation(2))
        await writes.end(begun.write)
        assert record.reading is not None
        assert [one.slot for one in record.reading.licenses] == [1, 2]
        assert [one.document.generation for one in record.reading.licenses] == [2, 1]
        assert [one.document.generation for one in record.reading.delegations] == [2]
        assert not key.managed


async def test_proofs_go_on_while_a_key_is_written_to(open_bench: OpenBench) -> None:
    key = FakeKey()
    async with plugged(open_bench, key) as (bench, writes, name):
        await writes.begin(name)
        assert await bench.rack.prove(name, "session", b"c" * 32)


async def test_a_key_has_one_writer_and_the_next_one_hears_when_to_come(
    open_bench: OpenBench,
) -> None:
    async with plugged(open_bench, FakeKey()) as (bench, writes, name):
        begun = await writes.begin(name)
        bench.time.advance(10)
        with pytest.raises(KeyBusy) as refused:
            await writes.begin(name)
        assert refused.value.retry_after == timedelta(seconds=20)
        await writes.end(begun.write)
        await writes.end(begun.write)
        await writes.begin(name)


async def test_the_write_of_a_dead_caller_ends_by_its_time(open_bench: OpenBench) -> None:
    key = FakeKey()
    async with plugged(open_bench, key) as (bench, writes, name):
        begun = await writes.begin(name)
        license_, delegation = Publisher().license(key.point), Publisher().delegation()
        bench.time.advance(VALID_FOR.total_seconds())
        await until(bench, lambda: key.events[-1] == "end")
        with pytest.raises(NotFound):
            await writes.put(begun.write, RESPONSE, license_, delegation)
        await writes.end(begun.write)  # returns when that end, which was under way, is done
        await writes.begin(name)


async def test_a_write_ends_when_its_key_leaves(open_bench: OpenBench) -> None:
    key, bus = FakeKey(), FakeSource()
    async with open_bench(bus) as bench:
        writes = Writes(bench.rack, bench.time)
        place = bus.plug(key)
        name = (await bench.watch.next(lambda one: one.happening is Happening.ARRIVED)).record.name
        begun = await writes.begin(name)
        bus.pull(place)
        bus.plug(key)
        await bench.watch.next(lambda one: one.happening is Happening.ARRIVED)
        with pytest.raises(NotFound):
            await enrolled(writes, begun)
        await writes.begin(name)


async def test_a_wrong_answer_ends_the_write(open_bench: OpenBench) -> None:
    key, publisher = FakeKey(), Publisher()
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        with pytest.raises(KeyAuthorizationFailed):
            await writes.put(
                begun.write, b"wrong", publisher.license(key.point), publisher.delegation()
            )
        assert key.slots == {}
        with pytest.raises(NotFound):
            await writes.put(
                begun.write, RESPONSE, publisher.license(key.point), publisher.delegation()
            )
        await writes.begin(name)


async def test_a_write_is_authorized_once(open_bench: OpenBench) -> None:
    key, publisher = FakeKey(), Publisher()
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        license_, delegation = publisher.license(key.point), publisher.delegation()
        await writes.put(begun.write, RESPONSE, license_, delegation)
        with pytest.raises(ProtocolViolation):
            await writes.put(begun.write, RESPONSE, license_, delegation)
        await writes.put(begun.write, b"", license_, delegation)


def other_key(key: FakeKey, publisher: Publisher):
    return publisher.license(FakeKey(9).point), publisher.delegation()


def other_publisher(key: FakeKey, publisher: Publisher):
    return publisher.license(key.point), Publisher("publishers/other").delegation()


def no_license(key: FakeKey, publisher: Publisher):
    return publisher.delegation(), publisher.delegation()


def garbage(key: FakeKey, publisher: Publisher):
    envelope = publisher.license(key.point)
    return document_pb2.Envelope(
        payload=b"\xff\xff", payload_type=envelope.payload_type, signatures=envelope.signatures
    ), publisher.delegation()


def older(key: FakeKey, publisher: Publisher):
    key.carry(publisher, generation=5)
    return publisher.license(key.point, generation=4), publisher.delegation()


@pytest.mark.parametrize(
    ("documents", "error"),
    [
        (other_key, DocumentOtherDevice),
        (other_publisher, DocumentOtherPublisher),
        (no_license, DocumentMalformed),
        (garbage, DocumentMalformed),
        (older, DocumentSuperseded),
    ],
)
async def test_what_an_app_would_refuse_is_not_written(
    open_bench: OpenBench, documents, error: type[Exception]
) -> None:
    key, publisher = FakeKey(), Publisher()
    license_, delegation = documents(key, publisher)
    before = dict(key.slots)
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        with pytest.raises(error):
            await writes.put(begun.write, RESPONSE, license_, delegation)
        assert key.slots == before


async def test_a_key_that_is_not_enrolled_takes_no_license(open_bench: OpenBench) -> None:
    publisher = Publisher()
    async with plugged(open_bench, FakeKey(enrolled=False)) as (_, writes, name):
        begun = await writes.begin(name)
        with pytest.raises(KeyNotEnrolled):
            await writes.put(
                begun.write, RESPONSE, publisher.license(FakeKey().point), publisher.delegation()
            )


async def test_a_full_key_says_so_and_keeps_what_it_has(open_bench: OpenBench) -> None:
    key, publisher = FakeKey(), Publisher()
    key.slot_count = 3
    key.carry(publisher, slot=1)
    key.slots[2] = b"somebody else's"
    key.malformed = {3}
    before = dict(key.slots)
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        with pytest.raises(KeyFull):
            await writes.put(
                begun.write,
                RESPONSE,
                publisher.license(key.point, activation="9"),
                publisher.delegation(),
            )
        assert key.slots[2] == before[2]
        assert contents.parse_license(1, key.slots[1])


async def test_a_key_that_forgets_what_is_written_is_faulty(open_bench: OpenBench) -> None:
    key, publisher = FakeKey(), Publisher()
    key.forgetful = True
    async with plugged(open_bench, key) as (bench, writes, name):
        begun = await writes.begin(name)
        with pytest.raises(KeyFaulty, match="did not keep"):
            await writes.put(
                begun.write, RESPONSE, publisher.license(key.point), publisher.delegation()
            )
        await bench.watch.next(lambda one: one.happening is Happening.FAILED)


async def test_a_key_with_licenses_is_not_enrolled_again(open_bench: OpenBench) -> None:
    key = FakeKey()
    key.carry(Publisher())
    private = key.private
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        with pytest.raises(AlreadyExists):
            await enrolled(writes, begun)
        assert key.private is private


async def test_no_secret_is_shown(open_bench: OpenBench) -> None:
    async with plugged(open_bench, FakeKey()) as (_, writes, name):
        begun = await writes.begin(name)
        assert begun.write not in repr(list(writes._writes.values()))


async def test_a_license_comes_with_contents_that_name_it_and_what_they_do_not_name_goes(
    open_bench: OpenBench,
) -> None:
    key, publisher = FakeKey(), Publisher()
    one, two = (
        publisher.license(key.point, activation=activation, contents_version=1)
        for activation in ("1", "2")
    )
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        both = publisher.contents(key.point, 2, one, two)
        with pytest.raises(DocumentSuperseded):
            await writes.put(begun.write, RESPONSE, one, publisher.delegation())
        nothing = publisher.contents(key.point, 2)
        with pytest.raises(DocumentSuperseded):
            await writes.put(begun.write, RESPONSE, one, publisher.delegation(), nothing)
        others = publisher.contents(FakeKey(2).point, 2, one)
        with pytest.raises(DocumentOtherDevice):
            await writes.put(begun.write, RESPONSE, one, publisher.delegation(), others)
        await writes.put(begun.write, RESPONSE, one, publisher.delegation(), both)
        await writes.put(begun.write, b"", two, publisher.delegation(), both)
        assert {slot for slot, data in key.slots.items() if data} == {0, 1, 2}
        alone = publisher.contents(key.point, 3, two)
        record = await writes.put(begun.write, b"", two, publisher.delegation(), alone)
        assert record.reading is not None
        assert [each.slot for each in record.reading.licenses] == [2]
        with pytest.raises(DocumentSuperseded):
            await writes.put(begun.write, b"", one, publisher.delegation(), both)
        lost = publisher.contents(key.point, 4, lost=True)
        with pytest.raises(KeyLost):
            await writes.put(begun.write, b"", two, publisher.delegation(), lost)


def asked(activation: str = "1") -> Receipt:
    return Receipt(
        activation=f"{ACCOUNT}/licenses/l{activation}/activations/{activation}",
        generation=1,
        nonce=NONCE,
        location_host="bridges/b1",
    )


async def test_a_license_is_removed_and_the_key_signs_that_it_is_gone(
    open_bench: OpenBench,
) -> None:
    key, publisher = FakeKey(), Publisher()
    one, two = (
        publisher.license(key.point, activation=activation, contents_version=1)
        for activation in ("1", "2")
    )
    key.carry_all(publisher, 1, one, two)
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        still = publisher.contents(key.point, 2, one, two)
        with pytest.raises(DocumentSuperseded):
            await writes.remove(begun.write, RESPONSE, asked(), publisher.delegation(), still)
        without = publisher.contents(key.point, 2, two)
        record, signed = await writes.remove(
            begun.write, RESPONSE, asked(), publisher.delegation(), without
        )
        assert record.reading is not None
        assert [each.slot for each in record.reading.licenses] == [2]
        expected = Expected(
            activation=asked().activation,
            generation=1,
            location=f"{ACCOUNT}/locations/k1",
            location_key=document_pb2.PublicKey(
                algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256, key=key.point
            ),
            nonce=NONCE,
            contents_version=2,
        )
        receipt = verify_receipt(signed, expected)
        assert receipt.contents_version == 2
        assert receipt.location_host == "bridges/b1"
        # Interrupted after the removal, it is done again.
        _, again = await writes.remove(begun.write, b"", asked(), publisher.delegation(), without)
        assert verify_receipt(again, expected)


async def test_a_key_that_keeps_a_license_gives_no_receipt(open_bench: OpenBench) -> None:
    key, publisher = FakeKey(), Publisher()
    one = publisher.license(key.point, activation="1", contents_version=1)
    key.carry_all(publisher, 1, one)
    key.forgetful = True
    async with plugged(open_bench, key) as (_, writes, name):
        begun = await writes.begin(name)
        without = publisher.contents(key.point, 2)
        with pytest.raises(KeyFaulty):
            await writes.remove(begun.write, RESPONSE, asked(), publisher.delegation(), without)

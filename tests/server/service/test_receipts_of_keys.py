"""Licenses leave keys by the key's own receipt; what a key shows is compared with what it has shown before."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from keypeg import errors, receipts
from keypeg.document import Ed25519Signer, seal
from keypeg.envelope import CONTENTS_TYPE
from keypeg.key_contents import entry_of
from keypeg.v1.document_pb2 import KEY_ALGORITHM_ECDSA_P256, Envelope, LicenseDocument, PublicKey
from keypeg.v1.key_contents_pb2 import KeyContents, Receipt
from keypeg_server.clock import to_us
from keypeg_server.domain.key_contents import Standing
from keypeg_server.domain.license_life import Who
from keypeg_server.domain.location import Location
from keypeg_server.service.activations import ActivationView
from keypeg_server.service.deactivations import Deactivation
from keypeg_server.service.key_checks import Checked, Sight
from keypeg_server.storage.log_search import SqlLogSearch
from keypeg_server.storage.log_writer import LogWriter
from keypeg_server.storage.restored import Restoration, make_fit
from tests.server.service.office import Office
from tests.server.service.test_locations import CARD, Card, enrolled


@dataclass
class Desk:
    """An office with a key that carries one license."""

    office: Office
    card: Card
    location: Location
    view: ActivationView

    @classmethod
    async def furnished(cls, office: Office) -> Desk:
        office.store.log = LogWriter(office.signing.sign_log, b"a secret")
        card = Card()
        location = await enrolled(office, card)
        owned = await office.license(activation_count=2)
        return cls(office, card, location, await office.activate(owned, location.id))

    async def begin(self) -> Deactivation:
        done: list[Deactivation] = []
        one = self.view.activation
        request = self.office.request(done)
        await self.office.activations.begin_deactivation(
            request, one.account, one.license, one.id, Who.PUBLISHER
        )
        return done[0]

    def receipt(self, begun: Deactivation, by: Card | None = None, **changed: Any) -> Envelope:
        one = begun.activation
        right: dict[str, Any] = {
            "activation": one.name,
            "generation": one.generation,
            "location": one.location_name,
            "nonce": begun.nonce,
            "contents_version": contents_of(begun.statement.contents).version,
        }
        payload = Receipt(**{**right, **changed}).SerializeToString()
        signer = by or self.card
        key = PublicKey(algorithm=KEY_ALGORITHM_ECDSA_P256, key=signer.point)
        return receipts.sealed(payload, key, signer.sign(receipts.challenge_of(payload)))

    async def delete(self, receipt: Envelope | None) -> None:
        one = self.view.activation
        await self.office.activations.delete_activation(
            self.office.request([]), one.account, one.license, one.id, receipt
        )

    async def check(self, *shown: Envelope | None, by: Card | None = None) -> Checked:
        point = (by or self.card).point
        sight = Sight(
            CARD,
            PublicKey(algorithm=KEY_ALGORITHM_ECDSA_P256, key=point),
            [one for one in shown if one is not None],
            (),
        )
        return await self.office.checks.check("studio", sight, "accounts/studio/users/anna")

    async def used(self) -> int:
        found = await self.office.store.read(
            lambda unit: unit.licenses.list_activations("studio", self.view.activation.license)
        )
        return len(found)

    async def recorded(self, event: str) -> list[dict[str, Any]]:
        search = SqlLogSearch(self.office.database)
        found = await search.find("accounts/studio", 0, f'"{event}"'.encode())
        return [json.loads(body) for _, body in found.records]


def contents_of(envelope: Envelope | None) -> KeyContents:
    assert envelope is not None
    return KeyContents.FromString(envelope.payload)


@pytest.fixture
async def desk(office: Office) -> Desk:
    return await Desk.furnished(office)


async def test_a_license_on_a_key_comes_with_the_contents_that_name_it(desk: Desk) -> None:
    contents = contents_of(desk.view.contents)
    document = LicenseDocument.FromString(desk.view.document.payload)
    assert contents.version == document.contents_version == 1
    assert contents.location_key == document.location_key
    assert contents.publisher_root == desk.office.root.public_key.key
    (entry,) = contents.entries
    assert (entry.activation, entry.generation) == (entry_of(desk.view.activation.name), 1)


async def test_an_activation_is_free_when_its_key_has_signed_that_it_is_gone(desk: Desk) -> None:
    begun = await desk.begin()
    assert contents_of(begun.statement.contents).version == 2
    assert not contents_of(begun.statement.contents).entries
    assert await desk.used() == 1, "used until the receipt is here"
    receipt = desk.receipt(begun)
    await desk.delete(receipt)
    assert await desk.used() == 0
    (said,) = await desk.recorded("key_returned")
    assert (said["activation"], said["version"]) == (desk.view.activation.name, 2)
    await desk.delete(receipt)  # once more changes nothing
    assert len(await desk.recorded("key_returned")) == 1
    with pytest.raises(errors.NotFound):
        await desk.delete(None)


async def test_without_a_receipt_the_refusal_says_where_it_is_and_what_to_do(desk: Desk) -> None:
    with pytest.raises(errors.ReceiptRequired) as refused:
        await desk.delete(None)
    assert refused.value.metadata["location"] == desk.location.name
    explanation = refused.value.explanation
    assert explanation is not None
    assert [one.action for one in explanation.remedies] == ["plug_in", "report_lost"]


async def test_asking_twice_gives_the_same_nonce_and_version(desk: Desk) -> None:
    first, second = await desk.begin(), await desk.begin()
    assert first.nonce == second.nonce
    assert contents_of(first.statement.contents).version == 2
    assert contents_of(second.statement.contents).version == 2
    assert first.nonce.hex() not in repr(first)


Wrong = Callable[[Desk, Deactivation], Envelope]
WRONG: dict[str, tuple[Wrong, type[errors.KeypegError]]] = {
    "another key": (lambda d, b: d.receipt(b, by=Card()), errors.SignerUnknown),
    "another nonce": (lambda d, b: d.receipt(b, nonce=b"n" * 32), errors.NonceMismatch),
    "another license": (
        lambda d, b: d.receipt(b, activation=b.activation.name[:-1] + "x"),
        errors.DocumentOtherDevice,
    ),
    "another place": (
        lambda d, b: d.receipt(b, location="accounts/studio/locations/x"),
        errors.DocumentOtherDevice,
    ),
    "another document": (lambda d, b: d.receipt(b, generation=2), errors.DocumentSuperseded),
    "old contents": (lambda d, b: d.receipt(b, contents_version=1), errors.DocumentSuperseded),
    "contents to come": (lambda d, b: d.receipt(b, contents_version=9), errors.DocumentMalformed),
    "another signature": (
        lambda d, b: tampered(d.receipt(b), d.receipt(b, nonce=b"n" * 32)),
        errors.KeyProofInvalid,
    ),
    "another type": (
        lambda d, b: seal(Receipt(nonce=b.nonce), CONTENTS_TYPE, Ed25519Signer.generate()),
        errors.DocumentType,
    ),
}


def tampered(receipt: Envelope, other: Envelope) -> Envelope:
    receipt.signatures[0].signature = other.signatures[0].signature
    return receipt


@pytest.mark.parametrize("name", WRONG)
async def test_a_receipt_that_is_wrong_frees_nothing(desk: Desk, name: str) -> None:
    wrong, error = WRONG[name]
    begun = await desk.begin()
    with pytest.raises(error):
        await desk.delete(wrong(desk, begun))
    assert await desk.used() == 1
    await desk.delete(desk.receipt(begun))


async def test_a_receipt_counts_no_more_once_the_license_stays_after_all(desk: Desk) -> None:
    begun = await desk.begin()
    kept = await desk.office.activate(
        await desk.office.store.read(lambda unit: _license(unit, desk.view.activation.license)),
        desk.location.id,
    )
    assert kept.activation.id == desk.view.activation.id
    assert contents_of(kept.contents).version == 3
    assert len(contents_of(kept.contents).entries) == 1
    with pytest.raises(errors.NonceMismatch):
        await desk.delete(desk.receipt(begun))
    again = await desk.begin()
    with pytest.raises(errors.NonceMismatch):
        await desk.delete(desk.receipt(begun))
    await desk.delete(desk.receipt(again))


def _license(unit: Any, id: str) -> Any:
    return unit.licenses.license("studio", id)


async def test_a_key_that_shows_less_than_before_was_rolled_back_and_that_is_recorded(
    desk: Desk,
) -> None:
    old = desk.view.contents
    assert (await desk.check(old)).standing is Standing.CURRENT
    begun = await desk.begin()
    newer = begun.statement.contents
    assert (await desk.check(old)).standing is Standing.BEHIND, "not written yet"
    assert await desk.recorded("key_rolled_back") == []
    assert (await desk.check(newer)).standing is Standing.CURRENT
    checked = await desk.check(old)
    assert checked.standing is Standing.ROLLED_BACK
    assert checked.location.suspect_time == desk.office.clock.now
    (statement,) = checked.statements
    assert contents_of(statement.contents).least_version == 2
    (said,) = await desk.recorded("key_rolled_back")
    assert (said["version"], said["seen"]) == (1, 2)
    assert said["reporter"] == "accounts/studio/users/anna"
    await desk.check(old)
    assert len(await desk.recorded("key_rolled_back")) == 1, "once a minute"
    desk.office.clock.now += timedelta(minutes=2)
    await desk.check()
    assert len(await desk.recorded("key_rolled_back")) == 2, "no contents at all are old ones too"
    assert (await desk.check(newer)).standing is Standing.CURRENT


async def test_a_receipt_tells_what_the_key_has_shown(desk: Desk) -> None:
    begun = await desk.begin()
    await desk.delete(desk.receipt(begun))
    assert (await desk.check(desk.view.contents)).standing is Standing.ROLLED_BACK


async def test_contents_that_this_server_has_not_signed_say_nothing(desk: Desk) -> None:
    assert (await desk.check(desk.view.contents)).standing is Standing.CURRENT
    forged = contents_of(desk.view.contents)
    forged.version = 99
    envelope = seal(forged, CONTENTS_TYPE, Ed25519Signer.generate())
    assert (await desk.check(envelope)).standing is Standing.ROLLED_BACK
    assert (await desk.check(desk.view.contents)).standing is Standing.CURRENT


async def test_a_key_with_the_card_id_of_another_one_is_a_copy_and_recorded(desk: Desk) -> None:
    with pytest.raises(errors.KeyNotEnrolled):
        await desk.check(desk.view.contents, by=Card())
    (said,) = await desk.recorded("key_copied")
    assert said["location"] == desk.location.name


async def test_a_server_that_was_restored_gives_out_no_version_twice(desk: Desk) -> None:
    assert (await desk.check(desk.view.contents)).standing is Standing.CURRENT
    how = Restoration(
        now_us=to_us(desk.office.clock.now),
        backup_time_us=to_us(desk.office.clock.now),
        holds_back_for=timedelta(0),
        new_id=lambda: "never",
        sign_out=False,
    )
    await desk.office.database.write(lambda session: make_fit(session.connection(), how))
    assert (await desk.check(desk.view.contents)).standing is Standing.BEHIND, "not accused"
    begun = await desk.begin()
    assert contents_of(begun.statement.contents).version > how.now_us
    await desk.delete(desk.receipt(begun))


async def test_contents_from_before_a_backup_are_gone_beyond(desk: Desk) -> None:
    begun = await desk.begin()
    ahead = contents_of(begun.statement.contents)
    ahead.version = 7  # given out after the backup that is served now
    envelope = desk.office.signing.sign_contents("acme", ahead)
    assert (await desk.check(envelope)).standing is Standing.BEHIND
    (statement,) = (await desk.check(envelope)).statements
    assert contents_of(statement.contents).version == 8

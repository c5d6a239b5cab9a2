"""Enrolling keys: who may write to which, and the proof that makes a key a location."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from keypeg import errors
from keypeg.management import DEFAULT_MANAGEMENT_KEY, ManagementAlgorithm, respond
from keypeg.possession import enrollment_challenge
from keypeg.v1 import document_pb2
from keypeg_server.domain.location import Location, LocationKind
from keypeg_server.service.locations import NewKey, WriteAuthorization, WriteRequest
from keypeg_server.storage.log_search import SqlLogSearch
from keypeg_server.storage.log_writer import LogWriter
from tests.client.proof_cases import Fido2Signer, P256Signer
from tests.server.service.office import Office

CARD = "00112233445566778899aabbccddeeff"
CHALLENGE = bytes(range(16))
AES_192, AES_256 = ManagementAlgorithm.AES_192, ManagementAlgorithm.AES_256


class Card:
    """A card with a private key in slot 9E."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def point(self) -> bytes:
        return self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, challenge: bytes) -> bytes:
        return self._key.sign(challenge, ec.ECDSA(utils.Prehashed(hashes.SHA256())))

    def new_key(
        self, nonce: bytes, account: str = "studio", card_id: str = CARD, **fields: Any
    ) -> NewKey:
        signature = self.sign(enrollment_challenge(card_id, f"accounts/{account}", nonce))
        location = Location(
            account,
            "",
            LocationKind.KEY,
            "my key",
            card_id=card_id,
            key_algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256,
            public_key=self.point,
            **fields,
        )
        return NewKey(location, nonce, signature)


async def authorized(
    office: Office, account: str = "studio", *, factory: bool = True, **fields: Any
) -> WriteAuthorization:
    right: dict[str, Any] = {
        "card_id": CARD,
        "algorithm": AES_192 if factory else AES_256,
        "challenge": CHALLENGE,
        "factory_key": factory,
        "emulated": False,
    }
    return await office.locations.authorize_write(account, WriteRequest(**{**right, **fields}))


async def enrolled(
    office: Office, card: Card, account: str = "studio", card_id: str = CARD
) -> Location:
    nonce = (await authorized(office, account, card_id=card_id)).enrollment_nonce
    done: list[Location] = []
    await office.locations.create_key_location(
        office.request(done), card.new_key(nonce, account, card_id)
    )
    return done[0]


async def test_a_factory_key_is_answered_and_gets_its_own_key(office: Office) -> None:
    answer = await authorized(office)
    assert answer.response == respond(AES_192, DEFAULT_MANAGEMENT_KEY, CHALLENGE)
    assert (len(answer.new_key), answer.new_algorithm) == (32, "aes256")
    later = await authorized(office, factory=False)
    assert later.response == respond(AES_256, answer.new_key, CHALLENGE)
    assert later.new_key == b""
    assert answer.new_key.hex() not in repr(answer)


async def test_a_card_with_triple_des_keeps_it(office: Office) -> None:
    des = ManagementAlgorithm.TRIPLE_DES
    answer = await authorized(office, algorithm=des, challenge=CHALLENGE[:8])
    assert (len(answer.new_key), answer.new_algorithm) == (24, "3des")
    assert answer.response == respond(des, DEFAULT_MANAGEMENT_KEY, CHALLENGE[:8])


async def test_no_account_learns_the_management_key_of_another_s_card(office: Office) -> None:
    await office.account("other")
    mine, theirs = await authorized(office), await authorized(office, "other")
    assert mine.new_key != theirs.new_key


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"challenge": CHALLENGE[:8]}, errors.FieldInvalid),
        ({"algorithm": AES_256}, errors.KeyUnsuitable),
        ({"emulated": True}, errors.KeyEmulated),
    ],
)
async def test_what_can_not_be_authorized(
    office: Office, fields: dict[str, Any], error: type[errors.KeypegError]
) -> None:
    with pytest.raises(error):
        await authorized(office, **fields)


async def test_a_key_that_proves_itself_becomes_a_location(office: Office) -> None:
    card = Card()
    location = await enrolled(office, card)
    found = await office.locations.get_location("studio", location.id)
    assert (found.kind, found.public_key, found.card_id) == (LocationKind.KEY, card.point, CARD)
    assert found.create_time == office.clock.now


async def test_a_license_on_a_key_names_it_and_needs_a_receipt_to_leave(office: Office) -> None:
    card = Card()
    location = await enrolled(office, card)
    owned = await office.license(activation_count=2)
    await office.activate(owned, "cloud")
    view = await office.activate(owned, location.id)
    document = document_pb2.LicenseDocument.FromString(view.document.payload)
    assert document.location_key.key == card.point
    assert document.location_key.algorithm == document_pb2.KEY_ALGORITHM_ECDSA_P256
    assert document.unplug_grace.seconds == 30
    with pytest.raises(errors.ReceiptRequired):
        await office.take_back(view)


async def test_a_nonce_serves_once_and_for_its_card_and_account_only(office: Office) -> None:
    await office.account("other")
    card = Card()
    nonce = (await authorized(office)).enrollment_nonce
    new = card.new_key(nonce)
    wrong = [
        card.new_key(nonce, "other"),
        card.new_key(bytes(32)),
    ]
    for one in wrong:
        with pytest.raises(errors.FieldInvalid):
            await office.locations.create_key_location(office.request([]), one)
    await office.locations.create_key_location(office.request([]), new)
    with pytest.raises(errors.FieldInvalid):
        await office.locations.create_key_location(office.request([]), new)


async def test_a_nonce_ends_after_ten_minutes(office: Office) -> None:
    nonce = (await authorized(office)).enrollment_nonce
    office.clock.now += timedelta(minutes=10)
    with pytest.raises(errors.FieldInvalid):
        await office.locations.create_key_location(office.request([]), Card().new_key(nonce))


async def test_a_signature_of_another_key_is_refused(office: Office) -> None:
    nonce = (await authorized(office)).enrollment_nonce
    mine, other = Card(), Card()
    forged = replace(mine.new_key(nonce), signature=other.new_key(nonce).signature)
    with pytest.raises(errors.KeyProofInvalid):
        await office.locations.create_key_location(office.request([]), forged)
    await office.locations.create_key_location(office.request([]), mine.new_key(nonce))


async def test_a_security_key_proves_itself_in_the_form_of_its_algorithm(office: Office) -> None:
    signer = Fido2Signer(P256Signer("a security key"))
    nonce = (await authorized(office)).enrollment_nonce
    proof = signer.sign_challenge(enrollment_challenge(CARD, "accounts/studio", nonce))
    key = Location(
        "studio",
        "",
        LocationKind.KEY,
        "my key",
        card_id=CARD,
        key_algorithm=signer.public_key.algorithm,
        public_key=signer.public_key.key,
    )
    plain = replace(key, key_algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256)
    with pytest.raises(errors.KeyProofInvalid):
        await office.locations.create_key_location(office.request([]), NewKey(plain, nonce, proof))
    done: list[Location] = []
    await office.locations.create_key_location(office.request(done), NewKey(key, nonce, proof))
    assert done[0].key_algorithm == document_pb2.KEY_ALGORITHM_FIDO2_P256


async def test_a_card_with_a_new_private_key_keeps_its_place_while_nothing_lives_there(
    office: Office,
) -> None:
    first = await enrolled(office, Card())
    card = Card()
    again = await enrolled(office, card)
    assert (again.id, again.public_key) == (first.id, card.point)
    await office.activate(await office.license(), again.id)
    with pytest.raises(errors.AlreadyExists):
        await enrolled(office, Card())


async def test_emulated_keys_are_taken_where_settings_allow_them(tmp_path: Path) -> None:
    office = Office(tmp_path, allow_emulated=True)
    try:
        await office.furnish()
        nonce = (await authorized(office, emulated=True)).enrollment_nonce
        done: list[Location] = []
        new = Card().new_key(nonce, emulated=True)
        await office.locations.create_key_location(office.request(done), new)
        assert done[0].emulated
    finally:
        await office.close()


async def test_a_key_that_is_enrolled_is_in_the_log(office: Office) -> None:
    office.store.log = LogWriter(office.signing.sign_log, b"a secret")
    key = await enrolled(office, Card())
    found = await SqlLogSearch(office.database).find("accounts/studio", 0, b'"key_enrolled"')
    (said,) = [json.loads(body) for _, body in found.records]
    assert said["by"] == "someone"
    assert said["location"] == f"accounts/studio/locations/{key.id}"
    assert said["card"] == key.card_id

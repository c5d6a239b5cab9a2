"""Computers as locations: added by the hashes of their parts, and known again by their device ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keypeg import errors, fingerprint, offline
from keypeg.document import to_text
from keypeg.session_guard import Pinned
from keypeg.v1.document_pb2 import LicenseDocument
from keypeg_server.domain.location import LocationKind
from keypeg_server.rpc import borrow_checks
from keypeg_server.service import locations
from keypeg_server.storage.log_search import SqlLogSearch
from keypeg_server.storage.log_writer import LogWriter
from tests.server.service.office import DAW, HOST, PARTS, SALT, Office


async def test_a_computer_is_added_once_and_gets_its_new_parts(office: Office) -> None:
    office.store.log = LogWriter(office.signing.sign_log, b"a secret")
    first = await office.computer()
    again = await office.computer(salt=bytes(16))
    assert again.id == first.id
    assert again.fingerprint != first.fingerprint
    found = await office.locations.get_location("studio", first.id)
    assert (found.kind, found.device, found.fingerprint) == (
        LocationKind.HOST,
        "device-1",
        again.fingerprint,
    )
    assert (await office.computer("device-2")).id != first.id
    said = await SqlLogSearch(office.database).find("accounts/studio", 0, b'"host_added"')
    devices = [json.loads(body)["device"] for _, body in said.records]
    assert devices == ["device-1", "device-1", "device-2"]


async def test_where_a_license_lives_the_parts_stay_those_of_its_document(office: Office) -> None:
    host = await office.computer()
    license = await office.license(allowed_locations=frozenset({HOST}))
    view = await office.activate(license, host.id)
    kept = await office.computer(salt=bytes(16))
    assert kept == host
    document = LicenseDocument.FromString(view.document.payload)
    assert document.fingerprint.SerializeToString() == host.fingerprint
    assert not document.HasField("location_key")


async def test_the_document_opens_the_product_on_that_computer_alone(
    office: Office, tmp_path: Path
) -> None:
    host = await office.computer()
    license = await office.license(allowed_locations=frozenset({HOST}))
    view = await office.activate(license, host.id)
    text = to_text(view.document) + to_text(view.delegation)
    (tmp_path / "daw.keypeg").write_text(text)
    pinned = Pinned(product=DAW, device="device-1", root=office.root.public_key.key)
    now = office.clock.wall()
    found = offline.find(pinned, tmp_path, lambda: PARTS, now)
    assert found.verified.license is not None
    assert found.verified.license.location == host.name
    with pytest.raises(errors.DocumentOtherDevice):
        offline.find(pinned, tmp_path, lambda: {**PARTS, "disk": "x1", "board": "y2"}, now)


async def test_an_account_does_not_get_computers_without_end(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "HOST_LIMIT", 2)
    for device in ("device-1", "device-2"):
        await office.computer(device)
    with pytest.raises(errors.LimitExceeded):
        await office.computer("device-3")
    assert (await office.computer("device-2")).device == "device-2"


async def test_no_account_no_computer(office: Office) -> None:
    with pytest.raises(errors.NotFound):
        await office.computer(account="nobody")


def test_two_thirds_of_the_parts_are_needed_and_no_fewer() -> None:
    right = fingerprint.make(PARTS, SALT)
    assert list(borrow_checks.whole_fingerprint(right)) == []
    assert list(borrow_checks.whole_fingerprint(None))
    for count in (0, 1, 3, 4):
        wrong = fingerprint.make(PARTS, SALT)
        wrong.required_count = count
        assert list(borrow_checks.whole_fingerprint(wrong)), count

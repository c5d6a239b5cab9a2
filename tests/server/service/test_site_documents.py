"""License documents of sites are made anew when their keys are others now: in the background, or before they are used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from keypeg.document import (
    Ed25519Signer,
    key_id,
    verify_delegation,
    verify_license,
    verify_site_grant,
)
from keypeg.envelope import DELEGATION_TYPE, seal
from keypeg.errors import Internal, SignerUnknown
from keypeg.v1.document_pb2 import Delegation, Grant
from keypeg_server.domain.events import LogRecorded
from keypeg_server.domain.license import Activation
from keypeg_server.service import site_documents
from keypeg_server.service.delegations import wanted
from keypeg_server.service.ports import Entitlement
from keypeg_server.service.signing import PublisherKeys, delegate
from keypeg_server.service.site_documents import REST, site_license
from keypeg_server.service.site_keys import SiteKeys
from keypeg_server.storage.log_writer import LogWriter
from tests.server.service.office import Office
from tests.server.service.test_entitlements import admitted

STUDIO = "accounts/studio"


class Keys:
    """What the office signs with, replaced."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.sites = [office.site]
        self.signer = office.signer
        self.delegation = office.delegation

    def rotate_site(self) -> str:
        """A new key of the site; its id."""
        self.sites.insert(0, Ed25519Signer.generate())
        self.replace()
        return key_id(self.sites[0].public_key)

    def forget_site_keys(self) -> None:
        """As after a restore with the secrets of another server."""
        self.sites = [Ed25519Signer.generate()]
        self.replace()

    def withdraw_signer(self) -> None:
        """A new key of the publisher, and none before it."""
        self.signer = Ed25519Signer.generate()
        self.delegation = delegate(
            self.office.root, "publishers/acme", self.signer.public_key, 2, self.office.clock.now
        )
        self.replace()

    def replace(self) -> None:
        publishers = {"acme": PublisherKeys(self.signer, self.delegation)}
        self.office.signing.replace(publishers, SiteKeys(self.sites))


@pytest.fixture
def keys(office: Office) -> Keys:
    return Keys(office)


async def there(office: Office, *, account: str = "studio") -> list[Activation]:
    """The activations at sites."""
    found = await office.store.read(lambda unit: unit.licenses.list_activations(account))
    return [one for one in found if one.location == "site"]


async def at_site(office: Office, count: int, *, account: str = "studio") -> list[Activation]:
    for _ in range(count):
        await office.activate(await office.license(seat_count=2, account=account), "site")
    return await there(office, account=account)


async def renewed(office: Office, mine: frozenset[str] = frozenset({STUDIO})) -> int:
    """One round; how many documents it made."""
    before = {one.document for one in await all_of(office)}
    await office.documents.renew_stale(mine.__contains__)
    return sum(one.document not in before for one in await all_of(office))


async def all_of(office: Office) -> list[Activation]:
    found = await there(office)
    if await office.store.read(lambda unit: unit.accounts.account("mill")) is not None:
        found += await there(office, account="mill")
    return found


def believed(office: Office, found: Entitlement) -> None:
    """As an app believes a grant of a site."""
    root, now = office.root.public_key.key, office.clock.now
    delegated = verify_delegation(
        office.signing.delegation("acme"), publisher=None, root=root, now=now
    )
    assert found.site_license is not None
    license_ = verify_license(found.site_license.envelope, delegated, now)
    grant = Grant(session="sessions/s", publisher="publishers/acme")
    envelope = office.signing.sign_grant("publishers/acme", grant, found.site_license)
    assert verify_site_grant(envelope, license_) == grant


async def test_documents_name_the_newest_key_after_a_round(office: Office, keys: Keys) -> None:
    before = await at_site(office, 3)
    assert await renewed(office) == 0
    new = keys.rotate_site()
    assert await renewed(office) == 3
    after = await there(office)
    assert {site_license(one.document).site_key for one in after} == {new}
    assert [one.generation for one in after] == [one.generation for one in before]
    assert {site_license(one.document).generation for one in after} == {1}, "it says the same"
    assert [one.pools for one in after] == [one.pools for one in before]
    assert await renewed(office) == 0, "each once"


async def test_a_document_of_before_serves_until_it_is_made_anew(
    office: Office, keys: Keys
) -> None:
    await at_site(office, 1)
    anna = await office.user("anna")
    keys.rotate_site()
    found = await admitted(office, anna)
    assert found.site_license is not None
    assert found.site_license.site_key == key_id(office.site.public_key)
    believed(office, found)
    await renewed(office)
    believed(office, found)  # who runs by it goes on
    await renewed(office)  # and finds that nothing is left
    after = await admitted(office, anna)
    assert after.site_license is not None
    assert after.site_license.site_key == key_id(keys.sites[0].public_key)
    believed(office, after)


@pytest.mark.parametrize("lost", [Keys.withdraw_signer, Keys.forget_site_keys])
async def test_what_would_not_be_believed_is_made_anew_before_it_is_used(
    office: Office, keys: Keys, lost: Callable[[Keys], None]
) -> None:
    await at_site(office, 2)
    anna = await office.user("anna")
    first = await admitted(office, anna)
    lost(keys)
    with pytest.raises((SignerUnknown, Internal)):
        believed(office, first)
    believed(office, await admitted(office, anna))
    assert await renewed(office) == 0, "both open it, and are used"


async def test_others_make_their_own_anew(office: Office, keys: Keys) -> None:
    await office.account("mill")
    await at_site(office, 1)
    await at_site(office, 1, account="mill")
    keys.rotate_site()
    assert await renewed(office, frozenset({"accounts/mill"})) == 1
    assert await renewed(office, frozenset({"accounts/mill"})) == 0
    assert await renewed(office) == 0, "it rests where there was nothing to do"
    office.clock.now += timedelta(seconds=REST)  # and some account has moved here meanwhile
    assert await renewed(office) == 1


async def test_a_round_is_of_some_and_the_next_goes_on(
    office: Office, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_documents, "AT_ONCE", 2)
    monkeypatch.setattr(site_documents, "LOOKED_AT", 4)
    await office.account("mill")
    await at_site(office, 5, account="mill")  # another server's
    await at_site(office, 3)
    keys.rotate_site()
    assert [await renewed(office) for _ in range(4)] == [0, 2, 1, 0]
    theirs = [await renewed(office, frozenset({"accounts/mill"})) for _ in range(5)]
    assert (sum(theirs), max(theirs)) == (5, 2)


async def test_what_an_older_key_signed_stays(office: Office, keys: Keys) -> None:
    """A publisher's key that came before keeps its documents, as long as it is delegated."""
    await at_site(office, 1)
    before = Delegation.FromString(office.delegation.payload)
    keys.signer = Ed25519Signer.generate()
    after = wanted(before, "publishers/acme", keys.signer.public_key, office.clock.now)
    keys.delegation = seal(after, DELEGATION_TYPE, office.root)
    keys.replace()
    assert await renewed(office) == 0
    believed(office, await admitted(office, await office.user("anna")))


async def test_an_app_is_shown_the_newest_delegation_that_its_document_is_believed_by(
    office: Office, keys: Keys
) -> None:
    """One that it has seen, or a newer one: rotating comes first, and withdrawing a moment later."""
    await at_site(office, 1)
    found = await admitted(office, await office.user("anna"))
    keys.signer, old = Ed25519Signer.generate(), keys.signer
    before = Delegation.FromString(office.delegation.payload)
    for gone in ((), (key_id(old.public_key),)):
        signer = keys.signer.public_key
        before = wanted(before, "publishers/acme", signer, office.clock.now, withdrawn=gone)
        keys.delegation = seal(before, DELEGATION_TYPE, office.root)
        keys.replace()
    new = keys.delegation
    shown = office.signing.delegated("publishers/acme", found.site_license)
    assert Delegation.FromString(shown.payload).generation == 2
    assert office.signing.delegated("publishers/acme", None) == new
    after = await admitted(office, await office.user("bob"))
    assert office.signing.delegated("publishers/acme", after.site_license) == new


async def test_it_stands_in_the_log_of_the_account(office: Office, keys: Keys) -> None:
    (one,) = await at_site(office, 1)
    new = keys.rotate_site()
    office.store.log = LogWriter(office.signing.sign_log, b"a secret")
    told: list[dict[str, object]] = []
    office.hub.subscribe(
        LogRecorded, lambda event: told.extend(json.loads(entry.body) for entry in event.entries)
    )
    await renewed(office)
    (said,) = [entry for entry in told if entry["event"] == "document_renewed"]
    assert (said["activation"], said["key"]) == (one.name, new)


async def test_a_document_that_is_behind_its_row_is_made_anew_before_it_is_used(
    office: Office,
) -> None:
    """As after a restore: apps may have seen a generation between."""
    (one,) = await at_site(office, 1)
    anna = await office.user("anna")
    await office.store.change(
        lambda unit: unit.licenses.update_activation(replace(one, generation=9))
    )
    found = await admitted(office, anna)
    assert found.site_license is not None
    assert found.site_license.generation == 9
    believed(office, found)

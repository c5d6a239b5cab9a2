"""The keys of a server as a site, as values: one follows another, and is withdrawn."""

from __future__ import annotations

import pytest

from keypeg.document import Ed25519Signer, key_id
from keypeg_server.service import site_keys
from keypeg_server.service.site_keys import Kept, KeptSiteKey, SiteKeyRefused, SiteKeys

FIRST, SECOND, THIRD = (KeptSiteKey(id, f"wrapped {id}", f"{id}s time") for id in "abc")
TWO: Kept = (SECOND, FIRST)


def test_the_first_is_kept_when_another_follows_it() -> None:
    assert site_keys.followed((), FIRST, SECOND) == TWO
    assert site_keys.followed(TWO, FIRST, THIRD) == (THIRD, SECOND, FIRST)


def test_a_key_follows_once() -> None:
    for kept, new in (((), FIRST), (TWO, FIRST), (TWO, SECOND)):
        with pytest.raises(SiteKeyRefused, match="make a new one"):
            site_keys.followed(kept, FIRST, new)


def test_there_are_so_many_keys_and_no_more() -> None:
    kept: Kept = ()
    for number in range(site_keys.SITE_KEY_COUNT - 1):
        kept = site_keys.followed(kept, FIRST, KeptSiteKey(f"key {number}", "", ""))
    assert len(kept) == site_keys.SITE_KEY_COUNT
    with pytest.raises(SiteKeyRefused, match="keeps 64 keys"):
        site_keys.followed(kept, FIRST, SECOND)


def test_one_before_the_newest_is_withdrawn_and_stays_so() -> None:
    once = site_keys.withdrawn(TWO, "a")
    assert [one.withdrawn for one in once] == [False, True]
    assert site_keys.withdrawn(once, "a") == once
    three = site_keys.followed(once, FIRST, THIRD)
    assert [one.withdrawn for one in site_keys.withdrawn(three, "b")] == [False, True, True]


@pytest.mark.parametrize(
    ("kept", "id", "said"),
    [
        pytest.param(TWO, "b", "rotate` first", id="the newest"),
        pytest.param((), "a", "rotate` first", id="the only one"),
        pytest.param(TWO, "x", "has no key x", id="an unknown one"),
    ],
)
def test_others_are_not_withdrawn(kept: Kept, id: str, said: str) -> None:
    with pytest.raises(SiteKeyRefused, match=said):
        site_keys.withdrawn(kept, id)


def test_the_database_keeps_them_as_a_text() -> None:
    kept = site_keys.withdrawn(TWO, "a")
    assert site_keys.of_text(site_keys.to_text(kept)) == kept
    assert site_keys.of_text("") == ()


def test_signers_are_found_by_their_ids() -> None:
    new, old = Ed25519Signer.generate(), Ed25519Signer.generate()
    old_id = key_id(old.public_key)
    keys = SiteKeys([new, old], frozenset({old_id}))
    assert keys.current is new
    assert keys.of(old_id) is old, "documents that name it are still there"
    assert keys.of("x") is None
    assert keys.is_withdrawn(old_id)
    assert not keys.is_withdrawn(keys.current_id)

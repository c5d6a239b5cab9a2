"""The keys of a server as a site, as values: one follows another, and is withdrawn."""

from __future__ import annotations

import pytest

from keypeg.document import Ed25519Signer, key_id
from keypeg_server.service import site_keys
from keypeg_server.service.site_keys import Kept, KeptSiteKey, SiteKeyRefused, SiteKeys

FIRST, SECOND, THIRD = (
    KeptSiteKey(id, f"wrapped {id}", us) for id, us in zip("abc", (0, 7, 9), strict=True)
)
TWO: Kept = (SECOND, FIRST)


def kept_as(*keys: KeptSiteKey) -> Kept:
    """As the database gives them back, in any order."""
    rows = {one.key_id: site_keys.text_of(one) for one in keys}
    assert site_keys.of_rows(dict(reversed(rows.items()))) == site_keys.of_rows(rows)
    return site_keys.of_rows(rows)


def test_the_newest_comes_first() -> None:
    assert kept_as(FIRST, THIRD, SECOND) == (THIRD, SECOND, FIRST)
    assert kept_as() == ()


@pytest.mark.parametrize(
    ("kept", "now_us", "begins"), [((), 5, 5), (TWO, 8, 8), (TWO, 7, 8), (TWO, 3, 8)]
)
def test_a_new_key_is_the_newest_also_by_a_clock_that_is_behind(
    kept: Kept, now_us: int, begins: int
) -> None:
    assert site_keys.begin_after(kept, now_us) == begins


def test_one_before_the_newest_is_withdrawn_and_stays_so() -> None:
    gone = site_keys.withdrawn(TWO, "a")
    assert (gone.key_id, gone.withdrawn) == ("a", True)
    once = kept_as(SECOND, gone)
    assert site_keys.withdrawn(once, "a") == gone
    assert [one.withdrawn for one in kept_as(*once, THIRD)] == [False, False, True]


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


def test_signers_are_found_by_their_ids() -> None:
    new, old = Ed25519Signer.generate(), Ed25519Signer.generate()
    old_id = key_id(old.public_key)
    keys = SiteKeys([new, old], frozenset({old_id}))
    assert keys.current is new
    assert keys.of(old_id) is old, "documents that name it are still there"
    assert keys.of("x") is None
    assert keys.is_withdrawn(old_id)
    assert not keys.is_withdrawn(keys.current_id)

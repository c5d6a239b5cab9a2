"""Where a license could be used, and why not: a table of accounts."""

from __future__ import annotations

from typing import Any

import pytest

from keypeg.launch_survey import Cloud, Key, Survey
from tests.client.launch.cases import (
    CLOSED,
    ELSEWHERE,
    HERE,
    KEY,
    MANAGED,
    OPEN_HERE,
    owned,
    survey,
)

MANAGED_HERE = Cloud(True, "managed", HERE, "here")

# What the account owns, the cloud session; whether opening helps, whether there is something to put there.
HELPS: dict[str, tuple[Survey, bool, bool]] = {
    "nothing owned": (survey(), False, False),
    "a free one": (survey(owned()), True, False),
    "one in the cloud": (survey(owned("cloud")), True, False),
    "one in the cloud of another": (survey(owned("cloud"), cloud=ELSEWHERE), True, False),
    "one in the cloud here": (survey(owned("cloud"), cloud=OPEN_HERE), False, False),
    "one on a key": (survey(owned("key")), False, False),
    "one of two on a key": (survey(owned("key", count=2)), True, False),
    "none for the cloud": (survey(owned(allowed="key host")), False, False),
    "a suspended one": (survey(owned(state="suspended")), False, False),
    "an expired one in the cloud": (survey(owned("cloud", state="expired")), False, False),
    "managed and free": (survey(owned(), cloud=MANAGED), False, True),
    "managed and chosen": (survey(owned("cloud"), cloud=MANAGED), True, False),
    "managed, open here, free": (survey(owned(), cloud=MANAGED_HERE), False, True),
    "managed and used up": (survey(owned("key"), cloud=MANAGED), False, False),
    "by a credential file": (survey(is_blind=True), True, False),
    "by a credential file, here": (survey(cloud=OPEN_HERE, is_blind=True), False, False),
    "one suspended, one free": (
        survey(owned("cloud", state="suspended"), owned()),
        True,
        False,
    ),
}


@pytest.mark.parametrize("name", HELPS)
def test_whether_the_cloud_session_would_help(name: str) -> None:
    found, helps, puts = HELPS[name]
    assert found.opening_helps is helps
    assert (found.to_put is not None) is puts


PLACES: dict[str, tuple[Survey, str, bool, str]] = {
    "cloud closed": (survey(owned()), "cloud", True, "is closed"),
    "cloud elsewhere": (survey(owned("cloud"), cloud=ELSEWHERE), "cloud", True, "studio-1"),
    "cloud here in vain": (survey(owned("cloud"), cloud=OPEN_HERE), "cloud", False, "open here"),
    "cloud here, to put": (survey(owned(), cloud=MANAGED_HERE), "cloud", True, "put it there"),
    "cloud not allowed": (survey(owned(allowed="key")), "cloud", False, "does not allow"),
    "nothing owned": (survey(), "cloud", False, "no license"),
    "suspended": (survey(owned(state="suspended")), "key", False, "is suspended"),
    "used up": (survey(owned("key")), "cloud", False, "all activations (1) are in use: on the key"),
    "used up in many places": (
        survey(owned("key", "host", "site", "site", count=4), cloud=CLOSED),
        "cloud",
        False,
        "on the key, on the host, on the site",
    ),
    "no bridge": (survey(owned(), keys=None), "key", False, "no keypeg-bridge runs"),
    "no key": (survey(owned()), "key", False, "none is plugged in"),
    "a new key": (survey(owned(), keys=(Key("SmartKey 7", False),)), "key", False, "SmartKey 7"),
    "a key": (survey(owned(), keys=(KEY,)), "key", True, "SmartKey 12"),
    "host": (survey(owned(allowed="host")), "host", False, "license file"),
    "site": (survey(owned("site", allowed="site")), "site", True, "shared"),
    "site, not activated": (survey(owned(allowed="site")), "site", False, "administrator"),
}


@pytest.mark.parametrize("name", PLACES)
def test_each_place_says_how_or_why_not(name: str) -> None:
    found, kind, usable, says = PLACES[name]
    (place,) = [one for one in found.places if one.kind == kind]
    assert place.usable is usable
    assert says in place.says


def test_usable_places_come_first_and_shared_seats_only_where_they_are_allowed() -> None:
    assert [one.kind for one in survey(owned(), keys=(KEY,)).places] == ["cloud", "key", "host"]
    kinds: list[Any] = [one.kind for one in survey(owned("site", allowed="site cloud")).places]
    assert kinds[0] == "site"


def test_who_signed_in_by_a_credential_file_is_told_nothing_of_licenses() -> None:
    assert survey(is_blind=True).places == ()

"""Where a license could be used, and why not: a table of accounts."""

from __future__ import annotations

from typing import Any

import pytest

from keypeg import launch_places
from keypeg.launch_survey import Cloud, Host, Key, Survey
from tests.client.launch.cases import (
    CLOSED,
    ELSEWHERE,
    HERE,
    HOST_PLACE,
    KEY,
    KEY_PLACE,
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


# What the account owns and what is here; which places would help.
HELPING: dict[str, tuple[Survey, str]] = {
    "nothing owned": (survey(keys=(KEY,)), ""),
    "the cloud alone": (survey(owned()), "cloud"),
    "the cloud and a key": (survey(owned(), keys=(KEY,)), "cloud key"),
    "all of them": (survey(owned(allowed="cloud key host"), keys=(KEY,)), "cloud key host"),
    "a key in managed mode": (survey(owned(), cloud=MANAGED, keys=(KEY,)), "put key"),
    "a key while another device has the cloud": (
        survey(owned("cloud", count=2), cloud=ELSEWHERE, keys=(KEY,)),
        "key",
    ),
    "used up elsewhere": (survey(owned("key"), keys=(KEY,)), ""),
    "on this key, not written": (survey(owned("this-key"), keys=(KEY,)), "key"),
    "on another key": (survey(owned("key", allowed="key"), keys=(KEY,)), ""),
    "on this computer, its file gone": (
        survey(owned("this-host", allowed="host"), host=Host("desk-1", HOST_PLACE)),
        "host",
    ),
    "on another computer": (survey(owned("host", allowed="host")), ""),
    "a key of another account": (survey(owned(), keys=(Key("SmartKey 7", True, "k"),)), "cloud"),
    "a broken key": (
        survey(owned(allowed="key"), keys=(Key("K", True, "k", KEY_PLACE, "it is faulty"),)),
        "",
    ),
    "a full key": (
        survey(owned(allowed="key"), keys=(Key("K", True, "k", KEY_PLACE, is_full=True),)),
        "",
    ),
    "a full key that has it": (
        survey(
            owned("this-key", allowed="key"), keys=(Key("K", True, "k", KEY_PLACE, is_full=True),)
        ),
        "key",
    ),
    "seats": (survey(owned(allowed="key host site", counted=True), keys=(KEY,)), ""),
    "a computer that tells nothing": (
        survey(owned(allowed="host"), host=Host("desk-1", problem="it tells nothing")),
        "",
    ),
    "suspended": (survey(owned(state="suspended"), keys=(KEY,)), ""),
}


@pytest.mark.parametrize("name", HELPING)
def test_which_places_would_help_and_each_says_that_it_is_usable(name: str) -> None:
    found, helping = HELPING[name]
    assert " ".join(found.helps({"cloud", "key", "host"})) == helping
    usable = {one.kind for one in launch_places.places(found) if one.usable}
    assert {"key", "host"} & usable == {"key", "host"} & set(helping.split())


def test_what_an_app_does_not_want_does_not_help() -> None:
    found = survey(owned(allowed="cloud key host"), keys=(KEY,))
    for kinds in ({"cloud"}, {"key"}, {"host"}, {"key", "host"}, set[str]()):
        assert set(found.helps(kinds)) == kinds


def test_what_lives_on_a_key_already_goes_to_that_key() -> None:
    other = Key("SmartKey 3", True, "keys/3", "accounts/studio/locations/key-3")
    found = survey(owned("this-key", count=2), keys=(other, KEY))
    assert found.onto_key is not None
    assert found.onto_key[0] is KEY


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
    "a key of another account": (
        survey(owned(), keys=(Key("SmartKey 7", True, "k"),)),
        "key",
        False,
        "not enrolled at your account",
    ),
    "a lost key": (
        survey(owned(), keys=(Key("K", True, "k", KEY_PLACE, "it was reported lost"),)),
        "key",
        False,
        "K: it was reported lost",
    ),
    "a full key": (
        survey(owned(), keys=(Key("K", True, "k", KEY_PLACE, is_full=True),)),
        "key",
        False,
        "no room",
    ),
    "a key that should have it": (survey(owned("this-key"), keys=(KEY,)), "key", True, "belongs"),
    "seats on a key": (
        survey(owned(allowed="key site", counted=True), keys=(KEY,)),
        "key",
        False,
        "shared by the server",
    ),
    "host": (survey(owned(allowed="host")), "host", True, "without a connection"),
    "host, not allowed": (survey(owned()), "host", False, "does not allow"),
    "host, used up": (survey(owned("host", allowed="host")), "host", False, "in use: on the host"),
    "host that tells nothing": (
        survey(owned(allowed="host"), host=Host("desk-1", problem="it tells nothing")),
        "host",
        False,
        "it tells nothing",
    ),
    "site": (survey(owned("site", allowed="site", counted=True)), "site", True, "shared"),
    "site, not activated": (
        survey(owned(allowed="site", counted=True)),
        "site",
        False,
        "administrator",
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_each_place_says_how_or_why_not(name: str) -> None:
    found, kind, usable, says = PLACES[name]
    (place,) = [one for one in launch_places.places(found) if one.kind == kind]
    assert place.usable is usable
    assert says in place.says


def test_usable_places_come_first_and_shared_seats_only_where_they_are_allowed() -> None:
    assert [one.kind for one in launch_places.places(survey(owned(), keys=(KEY,)))] == [
        "cloud",
        "key",
        "host",
    ]
    mixed = survey(owned("site", allowed="site cloud", counted=True))
    kinds: list[Any] = [one.kind for one in launch_places.places(mixed)]
    assert kinds[0] == "site"


def test_who_signed_in_by_a_credential_file_is_told_nothing_of_licenses() -> None:
    assert launch_places.places(survey(is_blind=True)) == ()

"""Resource names are built and taken apart in one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg import names
from keypeg.errors import FieldInvalid

ALL = list(names.patterns())
IDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)


def test_every_kind_of_name_is_there() -> None:
    assert [pattern.template for pattern in ALL] == [
        "accounts/{account}",
        "accounts/{account}/users/{user}",
        "accounts/{account}/invitations/{invitation}",
        "accounts/{account}/users/{user}/apiKeys/{key}",
        "accounts/{account}/users/{user}/identities/{identity}",
        "accounts/{account}/users/{user}/passkeys/{passkey}",
        "accounts/{account}/credentials/{credential}",
        "accounts/{account}/certificates/{certificate}",
        "accounts/{account}/licenses/{license}",
        "accounts/{account}/licenses/{license}/activations/{activation}",
        "accounts/{account}/licenses/{license}/changes/{change}",
        "accounts/{account}/licenses/{license}/capacities/{capacity}",
        "accounts/{account}/locations/{location}",
        "accounts/{account}/cloudSession",
        "accounts/{account}/users/{user}/cloudSession",
        "publishers/{publisher}",
        "publishers/{publisher}/products/{product}",
        "pools/{pool}",
        "pools/{pool}/leases/{lease}",
        "pools/{pool}/borrows/{borrow}",
        "pools/{pool}/places/{place}",
        "sessions/{session}",
        "keys/{key}",
        "bridges/{bridge}",
        "signIns/{sign_in}",
    ]


@pytest.mark.parametrize("pattern", ALL, ids=lambda pattern: pattern.template)
@given(data=st.data())
def test_a_name_goes_both_ways_and_is_of_one_kind(
    pattern: names.Pattern, data: st.DataObject
) -> None:
    ids = tuple(data.draw(IDS) for _ in pattern.variables)
    name = pattern.build(*ids)
    assert pattern.parse(name) == ids
    assert [other for other in ALL if other.matches(name)] == [pattern]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "accounts",
        "accounts/",
        "accounts/Ada",
        "accounts/ada/",
        "/accounts/ada",
        "accounts/ada\n",
        "accounts/ada/licenses/l1",
        "accounts/a_a",
        "accounts/ä",
        "accounts/\N{ARABIC-INDIC DIGIT ONE}",
        "accounts/" + "a" * 64,
        "accounts/" + "a" * 100_000,
        "accounts/..",
        "pools/p1",
    ],
)
def test_what_is_not_of_the_shape_is_refused(name: str) -> None:
    assert not names.ACCOUNT.matches(name)
    with pytest.raises(FieldInvalid) as refused:
        names.ACCOUNT.parse(name, field="parent")
    assert set(refused.value.fields) == {"parent"}
    assert len(refused.value.sentence) < 300
    assert refused.value.metadata["name"] == name[: names.NAME_LENGTH]


@pytest.mark.parametrize("one", ["", "A", "a/b", "a b", "a" * 64, "{pool}", "a\n"])
def test_an_id_that_is_none_builds_no_name(one: str) -> None:
    with pytest.raises(FieldInvalid):
        names.POOL.build(one)
    with pytest.raises(FieldInvalid):
        names.LEASE.build("p1", one)


def test_the_wrong_number_of_ids_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError):
        names.LEASE.build("p1")


@pytest.mark.parametrize(
    ("name", "parent"),
    [
        ("accounts/a/licenses/l/activations/x", "accounts/a/licenses/l"),
        ("accounts/a/licenses/l", "accounts/a"),
        ("accounts/a/cloudSession", "accounts/a"),
        ("pools/p/leases/e", "pools/p"),
        ("pools/p/places/q", "pools/p"),
        ("publishers/p/products/x", "publishers/p"),
    ],
)
def test_a_parent_is_the_resource_around(name: str, parent: str) -> None:
    assert names.parent(name) == parent


@pytest.mark.parametrize("name", ["accounts/a", "", "planets/p/moons/m", "accounts/A/licenses/l"])
def test_what_has_no_parent_is_refused(name: str) -> None:
    with pytest.raises(FieldInvalid):
        names.parent(name)

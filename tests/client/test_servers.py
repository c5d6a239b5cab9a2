"""Which server is spoken to: addresses, order, and where a session goes when one fails."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg import errors, servers
from keypeg.servers import FOLLOWS, Route, Server

A, B, C = (Server(f"{name}:1") for name in "abc")
DEAD = errors.Unreachable("Connection refused")


def elsewhere(address: str) -> errors.KeypegError:
    return errors.Elsewhere("Another answers.", server=address)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("a:1", ["a:1"]),
        (" a:1 , b:2,", ["a:1", "b:2"]),
        (["a:1", "b:2,c:3"], ["a:1", "b:2", "c:3"]),
        ("a:1,a:1", ["a:1"]),
        ("[::1]:7,10.0.0.1:7", ["[::1]:7", "10.0.0.1:7"]),
        ("::1:7", ["[::1]:7"]),
        ("unix:/run/k,a:1", ["unix:/run/k", "a:1"]),
    ],
)
def test_several_addresses_are_a_text_or_a_list(target: str | Iterable[str], found: list[str]):
    assert [server.address for server in servers.parse(target)] == found


@pytest.mark.parametrize(
    "target",
    ["", ",", "host", "host:", ":1", "host:0", "host:99999", "a:1,b", "a b:1", "h/x:1", "unix:"],
)
def test_what_is_no_address_is_refused(target: str):
    with pytest.raises(errors.FieldInvalid):
        servers.parse(target)


def test_a_list_holds_only_texts():
    with pytest.raises(errors.FieldInvalid, match="7400"):
        servers.joined(["a:1", 7400])  # type: ignore[list-item]


def test_too_many_addresses_are_a_mistake():
    with pytest.raises(errors.FieldInvalid, match="65"):
        servers.parse(f"h:{port}" for port in range(1, 66))


@given(st.text(max_size=40))
def test_a_text_is_addresses_or_a_clear_refusal(text: str):
    try:
        found = servers.parse(text)
    except errors.FieldInvalid:
        return
    assert all(server.is_socket or 0 < server.port < 65536 for server in found)
    assert servers.parse([server.address for server in found]) == found


def test_a_name_may_have_several_addresses_and_a_number_has_one():
    named = [server.is_named for server in servers.parse("a:1,10.0.0.1:1,[::1]:1,unix:/s")]
    assert named == [True, False, False, False]
    assert not Server("a:1", "10.0.0.1").is_named
    assert Server("[::1]:5").host == "::1"


def test_processes_have_different_orders_and_each_has_one():
    many = servers.parse(f"h{n}:1" for n in range(8))
    firsts = {servers.in_order(many, bytes([seed]))[0] for seed in range(64)}
    assert len(firsts) > 4
    assert servers.in_order(many, b"x") == servers.in_order(reversed(many), b"x")


def test_who_works_is_stayed_with():
    route = Route((A, B))
    assert route.failed(DEAD)
    route.worked()
    assert route.current == B
    assert route.failed(DEAD)
    assert route.current == A


def test_a_round_asks_everyone_once():
    route = Route((A, B, C))
    asked = [route.current]
    while route.failed(DEAD):
        asked.append(route.current)
    assert asked == [A, B, C]
    assert route.is_new_round
    assert route.current == A
    refusal = route.refusal(DEAD)
    assert isinstance(refusal, errors.Unreachable)
    for server in (A, B, C):
        assert f"{server}: nothing listens there" in refusal.sentence
    assert refusal.metadata["servers"] == "a:1,b:1,c:1"


def test_one_server_alone_keeps_its_own_error():
    route = Route((A,))
    assert not route.has_others
    assert not route.failed(DEAD)
    assert route.refusal(DEAD) is DEAD


def test_the_refusal_of_several_is_the_one_that_says_most():
    route = Route((A, B))
    route.failed(DEAD)
    route.failed(errors.Busy("Too much to do.", retry_after=timedelta(seconds=3)))
    refusal = route.refusal(DEAD)
    assert isinstance(refusal, errors.Busy)
    assert refusal.retry_after == timedelta(seconds=3)
    assert "a:1: nothing listens there; b:1: Too much to do" in refusal.sentence


def test_the_server_that_is_named_is_followed_to():
    route = Route((A, B), follows=True)
    assert route.follows
    assert route.elsewhere(elsewhere("home:5"))
    assert route.current == Server("home:5")
    route.worked()
    assert route.current == Server("home:5")


def test_a_server_that_can_not_be_followed_to_is_left_to_the_list():
    route = Route((A, B), follows=True)
    route.elsewhere(elsewhere("home:5"))
    assert route.has_others
    assert route.failed(DEAD)
    assert (route.current, route.follows) == (A, False)
    route.worked()
    assert route.follows  # the next time it may be there


def test_when_the_server_that_was_followed_to_dies_its_successor_is_asked_for():
    route = Route((A, B), follows=True)
    route.elsewhere(elsewhere("home:5"))
    route.worked()
    assert route.failed(DEAD)
    assert (route.current, route.follows) == (A, True)


@pytest.mark.parametrize("address", ["", "nonsense", "unix:/tmp/x", "a:1,b:1", "h:0"])
def test_only_what_can_be_verified_is_followed_to(address: str):
    route = Route((A,), follows=True)
    assert route.elsewhere(elsewhere(address))
    assert (route.current, route.follows) == (A, False)


def test_following_in_circles_ends():
    route = Route((A,), follows=True)
    hops = 0
    while route.elsewhere(elsewhere(f"home-{hops % 2}:5")):
        hops += 1
        assert hops < 20
    assert hops == FOLLOWS + 1
    assert route.is_new_round


def test_who_does_not_follow_goes_on():
    route = Route((A, B))
    assert route.elsewhere(elsewhere("home:5"))
    assert route.current == B


def test_names_that_are_looked_up_again_keep_who_works():
    route = Route((A, B))
    route.failed(DEAD)
    route.renew((C, B))
    assert route.current == B
    route.renew(())
    assert route.current == B
    route.renew((A, C))
    assert route.current == A


@given(
    st.integers(1, 4),
    st.lists(st.sampled_from(["worked", "failed", "here", "there", "nowhere"]), max_size=60),
)
def test_nobody_is_asked_at_once_forever(count: int, happenings: list[str]):
    route = Route([Server(f"s{n}:1") for n in range(count)], follows=True)
    at_once = 0
    for happening in itertools.chain(happenings, ["failed"] * 8):
        if happening == "worked":
            route.worked()
            at_once = 0
        elif happening == "failed":
            at_once = at_once + 1 if route.failed(DEAD) else 0
        else:
            address = {"here": "s0:1", "there": "home:5", "nowhere": ""}[happening]
            at_once = at_once + 1 if route.elsewhere(elsewhere(address)) else 0
        assert at_once <= 2 * (count + 1) * (FOLLOWS + 1)
        assert route.current.address

"""A session over several servers, told without a network: where it goes on, when, and what it says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keypeg import errors
from keypeg.errors import Reason
from keypeg.seat import SeatStage
from keypeg.servers import Route, Server
from keypeg.session_state import State
from keypeg.testing import FakeClock, StandInHost
from tests.client.bench import Bench, state_of

SERVERS = ("a:1", "b:1", "c:1")


def bench(*addresses: str, follows: bool = False, kind: str = "cloud", **terms) -> Bench:
    """A session at servers of which any goes on with what another began."""
    clock = FakeClock()
    host = StandInHost("demo", kind=kind, clock=clock, **terms)
    route = Route([Server(address) for address in addresses or SERVERS], follows=follows)
    return Bench(host, clock, route=route)


def servers_asked(bench: Bench) -> list[str]:
    return [server for _, server in bench.asked]


def test_an_app_goes_on_at_the_next_server_with_its_seat():
    one = bench(kind="site", valid_for=timedelta(seconds=60)).open()
    seat = one.acquire()
    one.dead.add("a:1")
    one.cut()
    lost = one.clock.monotonic()
    one.advance(2)
    assert servers_asked(one) == ["a:1", "b:1"]
    assert one.asked[-1][0] - lost <= 1
    assert one.stage(seat) is SeatStage.HELD
    assert one.names() == ["Running", "SeatAcquired", "ConnectionLost", "Reconnected"]
    one.advance(600)
    assert servers_asked(one) == ["a:1", "b:1"]  # it stays there
    assert one.may_run


def test_dead_servers_are_passed_over_without_a_pause():
    one = bench().open()
    one.dead |= {"a:1", "b:1"}
    one.cut()
    one.advance(2)
    assert servers_asked(one) == ["a:1", "b:1", "c:1"]
    assert state_of(one) is State.RUNNING


def test_while_all_are_dead_rounds_have_pauses_and_the_app_its_time():
    one = bench(valid_for=timedelta(seconds=60)).open()
    one.dead |= set(SERVERS)
    one.cut()
    one.advance(50)
    assert one.may_run
    assert 12 <= len(one.asked) <= 70
    one.dead.discard("b:1")
    one.advance(8)
    assert state_of(one) is State.RUNNING
    assert one.server == "b:1"


def test_the_first_open_passes_over_dead_and_silent_servers():
    one = bench()
    one.dead.add("a:1")
    one.silent.add("b:1")
    one.open()
    one.advance(5)
    assert servers_asked(one) == ["a:1", "b:1", "c:1"]
    assert state_of(one) is State.RUNNING
    assert one.asked[-1][0] - one.asked[0][0] <= 3


def test_a_first_open_that_nobody_takes_names_them_all():
    one = bench()
    one.dead |= set(SERVERS)
    one.open()
    one.advance(1)
    assert state_of(one) is State.STOPPED
    assert one.reason is Reason.UNREACHABLE
    assert all(address in str(one.machine.error) for address in SERVERS)


def test_a_server_that_goes_away_is_left():
    one = bench().open()
    one.host.drain()
    one.hear()
    one.advance(1)
    assert servers_asked(one) == ["a:1", "b:1"]
    assert state_of(one) is State.RUNNING


def test_a_server_that_hangs_is_left_within_the_time_of_the_app():
    one = bench(valid_for=timedelta(seconds=60), renew_interval=timedelta(seconds=20)).open()
    one.silent.add("a:1")
    one.advance(40)
    assert servers_asked(one) == ["a:1", "b:1"]
    assert state_of(one) is State.RUNNING


def test_what_another_server_would_not_do_better_is_the_end():
    one = bench()
    one.host.refuse_next_open(errors.LicenseMissing("There is no license."))
    one.open()
    assert one.reason is Reason.LICENSE_MISSING
    assert len(one.asked) == 1


def test_a_refusal_after_dead_servers_is_the_error():
    one = bench()
    one.dead |= {"a:1", "b:1"}
    one.host.refuse_next_open(errors.LicenseMissing("There is no license."))
    one.open()
    one.advance(1)
    assert one.reason is Reason.LICENSE_MISSING


def test_a_forgotten_session_is_opened_anew_where_it_is():
    one = bench().open()
    one.host.forget()
    one.hear()
    one.advance(2)
    # the stream was lost, so the next server was asked; it knew nothing, and was asked again
    assert servers_asked(one) == ["a:1", "b:1", "b:1"]
    assert state_of(one) is State.RUNNING


def test_the_home_of_the_account_is_followed_to_and_stayed_at():
    one = bench(follows=True)
    one.homes = dict.fromkeys(SERVERS, "home:7")
    one.open()
    one.advance(300)
    assert servers_asked(one) == ["a:1", "home:7"]
    assert one.asked[0][0] == one.asked[1][0]  # at once


def test_a_home_that_can_not_be_reached_is_relayed_to():
    one = bench(follows=True)
    one.homes = dict.fromkeys(SERVERS, "home:7")
    one.dead.add("home:7")
    one.open()
    one.advance(1)
    assert servers_asked(one) == ["a:1", "home:7", "a:1"]
    assert state_of(one) is State.RUNNING


def test_when_the_home_dies_the_next_one_is_followed_to():
    one = bench(follows=True)
    one.homes = dict.fromkeys(SERVERS, "home:7")
    one.open()
    one.advance(1)
    one.dead.add("home:7")
    one.homes = dict.fromkeys(SERVERS, "home:8")
    one.cut()
    one.advance(2)
    assert servers_asked(one) == ["a:1", "home:7", "a:1", "home:8"]
    assert one.names() == ["Running", "ConnectionLost", "Reconnected"]


def test_servers_that_name_each_other_are_not_followed_in_circles():
    one = bench(follows=True)
    one.homes = {"a:1": "x:1", "x:1": "y:1", "y:1": "x:1"}
    one.open()
    one.advance(1)
    assert state_of(one) is State.RUNNING
    assert servers_asked(one) == ["a:1", "x:1", "y:1", "x:1", "a:1"]


@pytest.mark.parametrize("home", ["", "nonsense", "unix:/tmp/x"])
def test_a_home_that_is_no_address_is_relayed_to(home: str):
    one = bench("a:1", follows=True)
    one.host.refuse_next_open(errors.Elsewhere("Another answers.", server=home))
    one.open()
    one.advance(1)
    assert servers_asked(one) == ["a:1", "a:1"]
    assert state_of(one) is State.RUNNING


def test_an_app_that_starts_while_a_dead_server_is_succeeded_waits_for_it():
    one = bench("a:1", "b:1")
    one.dead.add("a:1")
    away = [
        errors.Unreachable("The account's server is away.", retry_after=timedelta(seconds=1))
        for _ in range(3)
    ]
    one.host.refuse_next_open(*away)
    one.open()
    one.advance(8)
    assert state_of(one) is State.RUNNING
    assert one.server == "b:1"


def test_an_account_that_nobody_answers_for_yet_is_asked_for_again():
    one = bench("a:1")
    refusals = [
        errors.Elsewhere("It moves.", retry_after=timedelta(seconds=1), server="b:1")
        for _ in range(3)
    ]
    one.host.refuse_next_open(*refusals)
    one.open()
    one.advance(8)
    assert state_of(one) is State.RUNNING
    assert 3 <= one.asked[-1][0] - one.asked[0][0] <= 6

"""What a restored server must not do again: the rules."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from keypeg_server.domain.restored import LONGEST_GRANT, MARGIN, holds_back_for, raised
from keypeg_server.rpc import validate
from keypeg_server.settings import Sessions

NUMBERS = st.integers(min_value=0, max_value=2**52)


@given(NUMBERS, NUMBERS, st.integers(min_value=0, max_value=MARGIN - 1))
def test_a_number_goes_on_above_all_that_followed_the_backup(
    number: int, now_us: int, given_since: int
) -> None:
    assert raised(number, now_us) > number + given_since


@given(NUMBERS, NUMBERS, st.integers(min_value=1, max_value=10**15), st.data())
def test_two_restores_of_one_backup_never_count_the_same(
    number: int, first_us: int, apart_us: int, data: st.DataObject
) -> None:
    """As long as the clock is right and no more than a million numbers a second are given."""
    first_us = max(
        first_us, number + MARGIN
    )  # a clock that is right, and a number that followed it
    given = data.draw(st.integers(min_value=0, max_value=apart_us - 1))
    assert raised(number, first_us + apart_us) > raised(number, first_us) + given


def test_numbers_stay_exact_in_json() -> None:
    in_the_year_2200 = 7_258_118_400_000_000
    assert raised(0, in_the_year_2200) + MARGIN < 2**53


def test_seats_are_held_back_for_the_longest_that_anyone_may_believe_in_one() -> None:
    limits = Sessions.__dataclass_fields__["seat_grant"].metadata
    assert limits["high"] == LONGEST_GRANT
    ttl = validate.RULES["AcquireSeatRequest"]["ttl"]
    longest, longer = Duration(), Duration()
    longest.FromTimedelta(LONGEST_GRANT)
    longer.FromTimedelta(LONGEST_GRANT + timedelta(seconds=1))
    assert (list(ttl(longest)), bool(list(ttl(longer)))) == ([], True)
    assert holds_back_for(timedelta(0)) == LONGEST_GRANT
    assert holds_back_for(timedelta(minutes=20)) == timedelta(minutes=40)
    assert holds_back_for(timedelta(hours=2)) == timedelta(0)

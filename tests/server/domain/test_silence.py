"""Which connections say nothing, and when they are looked at."""

from __future__ import annotations

from keypeg_server.domain.silence import AT_ONCE, GROWN, HANDSHAKE_BYTES, Connection, Seen, Silence

QUIET = Seen("10.0.0.7", HANDSHAKE_BYTES - 1)
SPEAKS = Seen("10.0.0.8", HANDSHAKE_BYTES)


def many(count: int, start: int = 0) -> list[Connection]:
    return [(number, 1_000_000 + number) for number in range(start, start + count)]


def test_a_connection_is_told_of_when_it_was_silent_twice() -> None:
    silence, there = Silence(), many(60)
    assert silence.looked(there, dict.fromkeys(there, QUIET)) == {}
    assert silence.looked(there, dict.fromkeys(there, QUIET)) == {"10.0.0.7": 60}
    assert silence.looked(many(60, start=60), dict.fromkeys(many(60, start=60), QUIET)) == {}


def test_a_file_with_the_number_of_one_that_ended_is_another() -> None:
    silence = Silence()
    silence.looked([(5, 100)], {(5, 100): QUIET})
    assert silence.looked([(5, 101)], {(5, 101): QUIET}) == {}


def test_what_went_on_and_what_is_no_connection_is_not_looked_at_again_while_it_lasts() -> None:
    silence, (one, other, quiet) = Silence(), many(3)
    assert silence.unknown([one, other, quiet]) == [one, other, quiet]
    silence.looked([one, other, quiet], {one: SPEAKS, other: None, quiet: QUIET})
    assert silence.unknown([one, other, quiet]) == [quiet]
    silence.looked([quiet], {quiet: SPEAKS})
    assert silence.unknown([one, quiet]) == [one], "memory is of what is there"


def test_connections_are_looked_at_when_many_are_new_or_many_were_silent() -> None:
    silence = Silence()
    assert not silence.is_time(GROWN - 1)
    assert silence.is_time(GROWN)
    there = many(GROWN)
    silence.looked(there, dict.fromkeys(there, SPEAKS))
    assert not silence.is_time(2 * GROWN - 1)
    assert silence.is_time(2 * GROWN)
    assert not silence.is_time(10)
    assert silence.is_time(10 + GROWN), "since the fewest that there were"
    for quiet in (GROWN // 2 - 1, GROWN // 2):
        silence.looked(there, dict.fromkeys(there[:quiet], QUIET))
        assert silence.is_time(GROWN) is (quiet == GROWN // 2)


def test_of_very_many_a_part_has_to_be_new_and_so_many_are_looked_at_in_one_look() -> None:
    silence, there = Silence(), many(5 * AT_ONCE)
    while unknown := silence.unknown(there):
        assert len(unknown) == AT_ONCE
        silence.looked(there, dict.fromkeys(unknown, SPEAKS))
        assert silence.is_time(len(there)), "the rest is still to be looked at"
    silence.looked(there, {})
    assert not silence.is_time(len(there) + 1_000)
    assert silence.is_time(len(there) + 2_000)

"""Credentials and the devices on which an account is in use: every rule as a case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from keypeg.errors import CredentialRevoked, DevicesExhausted
from keypeg_server.domain.active_devices import ActiveDevice, check_room, merged
from keypeg_server.domain.credential import Credential, reset, rotated, signed_in

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
MADE = Credential(
    account="studio",
    id="c1",
    user="u1",
    display_name="Studio",
    document=b"1",
    scopes=(1,),
    device_limit=2,
    generation=1,
    create_time=NOW,
    not_before=NOW,
    not_after=NOW + 10 * HOUR,
)


def used(credential: Credential, device: str, generation: int, when: datetime) -> Credential:
    return signed_in(credential, device, f"{device}-host", generation, when, HOUR)[0]


def test_a_device_is_counted_once_and_one_too_many_is_told_which_there_are() -> None:
    both = used(used(used(MADE, "a", 1, NOW), "b", 1, NOW), "a", 1, NOW + HOUR)
    assert [one.device for one in both.devices] == ["a", "b"]
    assert both.devices[0].first_time == NOW
    with pytest.raises(DevicesExhausted, match="a-host, b-host"):
        used(both, "c", 1, NOW)


def test_a_token_does_not_outlive_its_credential() -> None:
    late = NOW + 10 * HOUR - timedelta(minutes=1)
    assert signed_in(MADE, "a", "", 1, late, HOUR)[1].active_until == MADE.not_after


@pytest.mark.parametrize(
    ("generation", "after", "taken"),
    [
        (2, timedelta(0), True),
        (1, timedelta(0), True),
        (1, HOUR, False),
        (0, timedelta(0), False),
        (3, timedelta(0), False),
    ],
)
def test_after_a_rotation_the_key_before_signs_in_until_the_overlap_ends(
    generation: int, after: timedelta, taken: bool
) -> None:
    new = rotated(used(MADE, "a", 1, NOW), b"2", HOUR, NOW)
    assert new.takes(generation, NOW + after) is taken
    assert [one.device for one in new.devices] == ["a"]
    if not taken:
        with pytest.raises(CredentialRevoked):
            used(new, "a", generation, NOW + after)


def test_without_an_overlap_and_after_a_reset_no_key_before_signs_in() -> None:
    assert not rotated(MADE, b"2", timedelta(0), NOW).takes(1, NOW)
    new = reset(rotated(used(MADE, "a", 1, NOW), b"2", HOUR, NOW), b"3")
    assert (new.generation, new.devices) == (3, ())
    assert [new.takes(generation, NOW) for generation in (1, 2, 3)] == [False, False, True]


def active(device: str, hours: int | None, *, cloud: bool = False) -> ActiveDevice:
    until = None if hours is None else NOW + hours * HOUR
    return ActiveDevice(device, f"{device}-host", "accounts/a/users/u", "", cloud, until)


def test_a_device_is_active_once_for_the_longest_of_its_times() -> None:
    there = [active("a", 1), active("a", 3), active("b", 0), active("a", None, cloud=True)]
    assert merged(there, NOW) == (replace(active("a", 3), holds_cloud=True),)


TWO = (active("a", 1), active("b", 2))


@pytest.mark.parametrize(
    ("there", "device", "moves", "refused"),
    [
        ((), "a", False, False),
        (TWO[:1], "b", False, False),
        (TWO, "a", False, False),
        (TWO, "c", False, True),
        (TWO, "c", True, True),
        ((TWO[0], active("b", None, cloud=True)), "c", False, True),
        # Who takes the cloud session takes the place of who was active by it alone.
        ((TWO[0], active("b", None, cloud=True)), "c", True, False),
        ((TWO[0], replace(TWO[1], holds_cloud=True)), "c", True, True),
    ],
)
def test_two_devices_and_no_more(
    there: tuple[ActiveDevice, ...], device: str, moves: bool, refused: bool
) -> None:
    if not refused:
        check_room("studio", there, device, 2, moves_cloud=moves)
        return
    with pytest.raises(DevicesExhausted, match="a-host, b-host") as caught:
        check_room("studio", there, device, 2, moves_cloud=moves)
    assert caught.value.metadata["limit"] == "2"
    assert "wait until 2026-11-22T01:00:00Z" in caught.value.sentence

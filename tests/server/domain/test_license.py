"""Rules of licenses: where, how often, until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keypeg import errors
from keypeg_server.domain.license import (
    License,
    LicenseState,
    check_activation,
    may_live,
)
from keypeg_server.domain.location import Location, LocationKind, words
from tests.server.domain.a_license import (
    CLOUD,
    CLOUD_PLACE,
    DAY,
    HOST,
    KEY,
    KEY_PLACE,
    LICENSE,
    NOW,
    SITE,
    SITE_PLACE,
    activation,
)


@pytest.mark.parametrize(
    ("license", "place", "others", "error"),
    [
        (LICENSE, CLOUD_PLACE, [], None),
        (LICENSE, KEY_PLACE, [CLOUD_PLACE], None),
        (LICENSE, SITE_PLACE, [], errors.LocationNotAllowed),
        (LICENSE, CLOUD_PLACE, [CLOUD_PLACE], errors.AlreadyExists),
        (
            replace(LICENSE, activation_count=1),
            CLOUD_PLACE,
            [KEY_PLACE],
            errors.ActivationsExhausted,
        ),
        (replace(LICENSE, state=LicenseState.SUSPENDED), CLOUD_PLACE, [], errors.LicenseSuspended),
        (replace(LICENSE, state=LicenseState.REVOKED), CLOUD_PLACE, [], errors.LicenseRevoked),
        (replace(LICENSE, expire_time=NOW), CLOUD_PLACE, [], errors.LicenseExpired),
        (replace(LICENSE, expire_time=NOW + DAY), CLOUD_PLACE, [], None),
        (replace(LICENSE, seat_count=3), CLOUD_PLACE, [], errors.LicenseUnsuitable),
        (
            replace(LICENSE, allowed_locations=frozenset({SITE})),
            SITE_PLACE,
            [],
            errors.LicenseUnsuitable,
        ),
        (
            replace(LICENSE, seat_count=3, allowed_locations=frozenset({SITE})),
            SITE_PLACE,
            [],
            None,
        ),
    ],
    ids=[
        "cloud",
        "a key beside the cloud",
        "a kind that is not allowed",
        "on the same place twice",
        "one more than it has",
        "suspended",
        "revoked",
        "at its end",
        "before its end",
        "seats in the cloud",
        "no seats at a site",
        "seats at a site",
    ],
)
def test_whether_a_license_may_be_activated(
    license: License,
    place: Location,
    others: list[Location],
    error: type[errors.KeypegError] | None,
) -> None:
    there = [activation(license, other, f"a{n}") for n, other in enumerate(others)]
    if error is None:
        check_activation(license, there, place, NOW)
    else:
        with pytest.raises(error):
            check_activation(license, there, place, NOW)


def test_a_refused_kind_comes_with_the_allowed_ones() -> None:
    with pytest.raises(errors.LocationNotAllowed) as refused:
        check_activation(LICENSE, [], SITE_PLACE, NOW)
    assert refused.value.metadata["allowed"] == "cloud, key"


def test_a_refused_activation_says_where_the_others_are() -> None:
    one = replace(LICENSE, activation_count=1)
    with pytest.raises(errors.ActivationsExhausted) as refused:
        check_activation(one, [activation(one, KEY_PLACE)], CLOUD_PLACE, NOW)
    assert refused.value.metadata["locations"] == "accounts/acme/locations/k1"


def test_a_term_in_days_begins_with_the_first_activation_and_never_again() -> None:
    trial = replace(LICENSE, term_days=30)
    assert trial.ends_at is None
    begun = trial.first_activated(NOW)
    assert begun.ends_at == NOW + 30 * DAY
    assert begun.first_activated(NOW + 20 * DAY) == begun
    assert begun.state_at(NOW + 30 * DAY) is LicenseState.EXPIRED
    assert begun.state_at(NOW + 29 * DAY) is LicenseState.ACTIVE


def test_the_earlier_of_date_and_days_ends_a_term() -> None:
    both = replace(LICENSE, term_days=30, expire_time=NOW + 10 * DAY)
    assert both.first_activated(NOW).ends_at == NOW + 10 * DAY


def test_a_revoked_license_is_not_shown_as_expired() -> None:
    gone = replace(LICENSE, state=LicenseState.REVOKED, expire_time=NOW - DAY)
    assert gone.state_at(NOW) is LicenseState.REVOKED


def test_seats_live_at_sites_and_sites_have_only_seats() -> None:
    everywhere = replace(LICENSE, allowed_locations=frozenset(LocationKind))
    assert [kind for kind in LocationKind if may_live(everywhere, kind)] == [CLOUD, KEY, HOST]
    counted = replace(everywhere, seat_count=1)
    assert [kind for kind in LocationKind if may_live(counted, kind)] == [SITE]


def test_kinds_are_named_in_one_order() -> None:
    assert words({SITE, CLOUD, HOST}) == "cloud, host, site"

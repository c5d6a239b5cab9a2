"""Which versions of an app a license opens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keypeg.errors import VersionNotCovered
from keypeg.versions import Coverage, Release, is_older, is_version, numbers

END = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LICENSE, PRODUCT = "accounts/ada/licenses/l1", "publishers/acme/products/cad"

versions = st.lists(st.integers(0, 999), min_size=1, max_size=8).map(
    lambda found: ".".join(map(str, found))
)


@pytest.mark.parametrize(
    ("newest", "version", "covered"),
    [
        ("7", "7", True),
        ("7", "7.0.3", True),
        ("7", "7.99", True),
        ("7", "6", True),
        ("7", "v7.2-beta+4", True),
        ("7", "8", False),
        ("7", "8.0-beta", False),
        ("7", "70", False),
        ("7.2", "7", True),
        ("7.2", "7.2.9", True),
        ("7.2", "7.10", False),
        ("7.2", "8.0", False),
        ("7", "", False),
        ("7", "nightly", False),
        ("", "", True),
        ("", "99", True),
    ],
)
def test_a_license_opens_versions_up_to_its_newest(
    newest: str, version: str, covered: bool
) -> None:
    assert Coverage(newest).covers(Release(version)) is covered


@pytest.mark.parametrize(
    ("released", "covered"),
    [
        (END - SECOND, True),
        (END, False),
        (END + 400 * timedelta(days=1), False),
        (None, True),
    ],
)
def test_maintenance_opens_releases_from_before_its_end(
    released: datetime | None, covered: bool
) -> None:
    assert Coverage(maintenance_end=END).covers(Release("9.1", released)) is covered


def test_a_refusal_names_the_rule_what_is_covered_and_what_to_do() -> None:
    with pytest.raises(VersionNotCovered) as caught:
        Coverage("7", END).check(LICENSE, PRODUCT, Release("8.1", END))
    error = caught.value
    assert error.metadata["rule"] == "newest_version"
    assert error.metadata["newest_version"] == "7"
    assert error.metadata["version"] == "8.1"
    assert "up to version 7.x" in error.sentence
    assert "Install version 7.x" in error.sentence
    assert error.explanation is not None
    assert [one.action for one in error.explanation.remedies] == [
        "install_covered_version",
        "extend_license",
    ]


def test_a_refusal_by_maintenance_names_the_day() -> None:
    with pytest.raises(VersionNotCovered) as caught:
        Coverage(maintenance_end=END).check(LICENSE, PRODUCT, Release("9.1", END))
    assert caught.value.metadata["rule"] == "maintenance_end"
    assert caught.value.metadata["maintenance_end_time"] == END.isoformat()
    assert "before 2026-03-01" in caught.value.sentence


@given(versions, versions)
def test_what_is_older_than_the_newest_is_covered(newest: str, version: str) -> None:
    if is_older(version, newest) or numbers(version) == numbers(newest):
        assert Coverage(newest).covers(Release(version))


@given(versions, st.lists(st.integers(0, 9), max_size=3))
def test_more_numbers_behind_the_newest_change_nothing(newest: str, more: list[int]) -> None:
    version = ".".join([newest, *map(str, more)])
    assert Coverage(newest).covers(Release(version))


@given(versions)
def test_the_next_version_is_not_covered(newest: str) -> None:
    found = list(numbers(newest))
    found[-1] += 1
    assert not Coverage(newest).covers(Release(".".join(map(str, found))))


def test_dotted_numbers_make_a_version() -> None:
    assert is_version("2.11.3-beta")
    assert not is_version("beta")

"""The measurement of crash release: its numbers on made-up times, and a few real kills."""

from __future__ import annotations

from pathlib import Path

import pytest

from crashing.measure import WAYS, Options, measure, unwatched
from crashing.report import Summary, histogram, quantile


def test_quantiles_are_times_that_were_measured() -> None:
    ordered = [number / 100 for number in range(1, 101)]
    assert quantile(ordered, 0.5) == 0.5
    assert quantile(ordered, 0.99) == 0.99
    assert quantile(ordered, 1.0) == 1.0
    assert quantile([0.3], 0.01) == 0.3


def test_a_summary_needs_no_order() -> None:
    assert Summary.of([0.3, 0.1, 0.2]) == Summary(3, 0.1, 0.2, 0.3, 0.3)


def test_a_histogram_counts_every_time_once_and_shows_gaps() -> None:
    lines = histogram([0.005, 0.015, 0.015, 0.06, 9.0])
    assert [line.split("#")[0].split()[-1] for line in lines] == [
        "1",
        "2",
        "0",
        "1",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "0",
        "1",
    ]
    assert lines[1].endswith("#" * 50)
    assert lines[-1].startswith("    8 s or more")


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.system
@pytest.mark.parametrize("name", ["run", "bridge"])
def test_the_seat_of_a_killed_app_that_is_watched_goes_on_within_two_seconds(
    name: str, tmp_path: Path
) -> None:
    way = WAYS[name]
    times = measure(Options(way, kills=10, batch=5), tmp_path)
    assert len(times) == 10
    assert way.grant == 60, "no short lifetime helps"
    assert max(times) < 2


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.system
def test_the_seat_of_a_killed_app_that_nobody_watches_goes_on_when_its_time_is_over(
    tmp_path: Path,
) -> None:
    way = WAYS["none"]
    times = measure(Options(way, kills=5, batch=5), tmp_path)
    assert len(times) == 5
    assert max(times) < unwatched(way.grant) + way.slack
    # The last renewal was sent at most a third of the grant before.
    assert min(times) > way.grant * 2 / 3

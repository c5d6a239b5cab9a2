"""The checker's own clients: what they write into their journals is true whenever their process was stopped."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keypeg import clock
from seatchecker.history import Entry, read_journal
from seatchecker.journal import Ending, Journal
from seatchecker.stream_client import StreamClient

UNTIL = 10.0  # when what is held is over


class Stopped:
    """A session and its seat, whose process is stopped past their end by the `stop_at`th reading of the clock."""

    def __init__(self, stop_at: int) -> None:
        self._now, self._readings, self._stop_at = 1.0, 0, stop_at
        self.error = None
        self.lease: Any = argparse.Namespace(name="pools/p/leases/l", fencing_number=7)

    def monotonic(self) -> float:
        now = self._now
        self._readings += 1
        if self._readings == self._stop_at:
            self._now += 60.0
        return now

    @property
    def time_left(self) -> timedelta:
        return timedelta(seconds=max(0.0, UNTIL - self.monotonic()))

    @property
    def held(self) -> bool:
        return self.monotonic() < UNTIL

    may_run = held

    async def release(self) -> None:
        pass


@pytest.mark.parametrize("seed", range(4))  # by which it asks the seat, or the session
@pytest.mark.parametrize("stop_at", range(1, 12))
async def test_a_client_that_is_stopped_anywhere_tells_no_use_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, seed: int
) -> None:
    stopped, path = Stopped(stop_at), tmp_path / "journal"
    monkeypatch.setattr(clock, "monotonic", stopped.monotonic)
    options = argparse.Namespace(seed=seed, grant=3.0, name="a")
    client = StreamClient(options, Journal(path), Ending())
    await client._use(stopped, stopped, stopped.lease)  # type: ignore[arg-type]
    told: list[Entry] = read_journal("a", path.read_text().splitlines())
    for use in (entry for entry in told if entry.what == "use"):
        assert use.facts["until"] is not None
        assert use.at < use.facts["until"] <= UNTIL + 1e-9
    assert told[-1].what in ("lost", "giving_back")

"""A storm of refusals costs a bounded number of records, and loses no count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from keypeg.errors import Busy, KeypegError, LicenseMissing, PoolExhausted
from keypeg_server.domain.lease import Holder
from keypeg_server.domain.pool import Pool
from keypeg_server.domain.record import Entry
from keypeg_server.service.denials import KINDS_LIMIT, Denials


class Notes:
    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def __call__(self, entries: Sequence[Entry]) -> None:
        assert all(entry.parent == "accounts/a" for entry in entries)
        self.said += [json.loads(entry.body) for entry in entries]


def make_pool() -> Pool:
    return Pool(
        "p",
        account="accounts/a",
        product="publishers/x/products/y",
        activation="accounts/a/licenses/l/activations/n",
        capacity=1,
        feature_capacity={},
    )


def refuse(denials: Denials, pool: Pool, at: int, user: str = "u", units: int = 1) -> None:
    holder = Holder("s", user, "d", "h", "app", 1)
    denials.add(pool, holder, units, (), PoolExhausted("none", pool="p", rule="capacity"), at)


async def test_the_first_is_told_at_once_and_the_others_are_counted() -> None:
    notes = Notes()
    denials, pool = Denials(notes), make_pool()
    for at in range(1, 1_001):
        refuse(denials, pool, at)
    refuse(denials, pool, 5, user="other")
    refuse(denials, pool, 6, units=2)
    await asyncio.sleep(0)
    assert [(one["user"], one["units"], one["count"]) for one in notes.said] == [
        ("u", 1, 1),
        ("other", 1, 1),
        ("u", 2, 1),
    ]
    denials.flush()
    (more,) = notes.said[3:]
    assert (more["count"], more["time"], more["last"]) == (999, 2, 1_000)
    assert (more["reason"], more["rule"]) == ("POOL_EXHAUSTED", "capacity")
    denials.flush()
    refuse(denials, pool, 2_000)  # a new window
    denials.flush()
    assert [one["time"] for one in notes.said[4:]] == [2_000]


async def test_too_many_kinds_are_counted_together() -> None:
    notes = Notes()
    denials, pool = Denials(notes), make_pool()
    for user in range(20_000):
        refuse(denials, pool, user, user=str(user))
    denials.flush()
    assert len(notes.said) == KINDS_LIMIT + 1
    assert notes.said[-1]["event"] == "denied_more"
    assert sum(one["count"] for one in notes.said) == 20_000


async def test_a_window_ends_by_itself() -> None:
    notes = Notes()
    told = asyncio.Event()

    def note(entries: Sequence[Entry]) -> None:
        notes(entries)
        if len(notes.said) == 2:
            told.set()

    denials, pool = Denials(note, window=0.01), make_pool()
    refuse(denials, pool, 1)
    refuse(denials, pool, 2)
    await asyncio.wait_for(told.wait(), 10)
    assert [one["count"] for one in notes.said] == [1, 1]


async def test_the_servers_own_trouble_is_no_denial() -> None:
    notes = Notes()
    denials, pool = Denials(notes), make_pool()
    error: KeypegError = Busy("later")
    denials.add(pool, Holder("s", "u", "d", "h", "app", 1), 1, (), error, 1)
    denials.flush()
    assert notes.said == []


async def test_sessions_that_are_not_opened_are_counted_like_refusals_of_seats() -> None:
    notes = Notes()
    denials = Denials(notes)
    missing = LicenseMissing("There is none.", product="publishers/x/products/y")
    for at in range(1, 100):
        holder = Holder("", "u", "d", "h", "app", 1, "10.0.0.7")
        denials.add_open("accounts/a", holder, "publishers/x/products/y", missing, at)
        denials.add_open("accounts/a", holder, "publishers/x/products/y", Busy("later"), at)
    await asyncio.sleep(0)
    (first,) = notes.said
    assert (first["event"], first["reason"], first["count"]) == (
        "open_denied", "LICENSE_MISSING", 1,
    )  # fmt: skip
    assert (first["user"], first["address"], first["product"]) == (
        "u", "10.0.0.7", "publishers/x/products/y",
    )  # fmt: skip
    denials.flush()
    assert (notes.said[1]["count"], notes.said[1]["last"]) == (98, 99)
    for user in range(KINDS_LIMIT + 7):
        denials.add_open("accounts/a", Holder("", f"u{user}", "d", "h", "app", 1), "p", missing, 5)
    denials.flush()
    assert (notes.said[-1]["event"], notes.said[-1]["count"]) == ("open_denied_more", 7)

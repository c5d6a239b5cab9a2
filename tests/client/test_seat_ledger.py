"""The seats of a session over a break: what was asked for meanwhile is known again, whatever of it the server shows."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from keypeg.seat import SeatStage, Wish
from keypeg.seat_ledger import Ledger, News
from keypeg.v1 import seat_pb2

LEASE = "pools/p/leases/one"
PLACE = "pools/p/places/one"
OTHER_LEASE = "pools/p/leases/other"
OTHER_PLACE = "pools/p/places/other"


def asked(*keys: str) -> Ledger:
    """A ledger with requests that were not answered before the break; each request's id is its key."""
    ledger = Ledger()
    for key in keys:
        ledger.ask(key, key, Wish(wait=True), {})
    return ledger


def back(ledger: Ledger, *, leases: Iterable[str] = (), places: Iterable[str] = ()) -> News:
    """The session goes on; so much of it is at the server."""
    return ledger.resumed(
        [seat_pb2.Lease(name=name) for name in leases],
        [seat_pb2.QueuePlace(name=name) for name in places],
    )


def queued(ledger: Ledger, key: str, name: str) -> News:
    return ledger.queued(key, seat_pb2.QueuePlace(name=name, position=1))


def acquired(ledger: Ledger, key: str, name: str) -> News:
    return ledger.acquired(key, seat_pb2.Lease(name=name, units=1, fencing_number=7), 1)


@pytest.mark.parametrize(
    ("leases", "places", "answers"),
    [
        pytest.param((), (PLACE,), (queued,), id="it waits"),
        pytest.param((), (PLACE,), (acquired,), id="it waited, and is served"),
        pytest.param((), (PLACE,), (queued, acquired), id="it waits, and is served"),
        pytest.param((LEASE,), (), (acquired,), id="it was served"),
        pytest.param((LEASE,), (), (queued, acquired), id="an older answer comes first"),
    ],
)
def test_what_was_asked_for_is_not_given_back(leases, places, answers):
    ledger = asked("one")
    assert back(ledger, leases=leases, places=places).acquires == ("one",)
    for answer in answers:
        news = answer(ledger, "one", PLACE if answer is queued else LEASE)
        assert news.releases == ()
    record = ledger.record("one")
    assert record is not None
    assert record.stage is (SeatStage.HELD if acquired in answers else SeatStage.QUEUED)


@pytest.mark.parametrize("stranger", [OTHER_LEASE, OTHER_PLACE])
def test_what_nobody_wants_is_given_back_once_all_is_answered(stranger):
    ledger = asked("one", "two")
    leases, places = ([stranger], [PLACE]) if stranger == OTHER_LEASE else ([], [PLACE, stranger])
    assert back(ledger, leases=leases, places=places).releases == ()
    assert acquired(ledger, "one", LEASE).releases == ()
    assert acquired(ledger, "two", "pools/p/leases/two").releases == (stranger,)

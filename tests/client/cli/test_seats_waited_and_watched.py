"""Waiting for a seat, watching pools, and their past, on the command line."""

from __future__ import annotations

import json
from datetime import UTC, timedelta

import pytest

from keypeg import errors
from keypeg.v1 import pool_event_pb2 as pb
from keypeg.v1 import seat_pb2
from keypeg.v1.seat_service_pb2 import WatchPoolResponse
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine, FixedClock

ADA = f"{fakes.ACCOUNT}/users/ada"
PLACE = fakes.LEASE.replace("/leases/", "/places/")


def place(position: int) -> seat_pb2.QueuePlace:
    made = seat_pb2.QueuePlace(name=PLACE, position=position, waiting_count=5)
    made.estimated_wait.FromTimedelta(timedelta(minutes=2 * position))
    made.explanation.sentence = "All 3 seats of it are held."
    return made


def event(kind: pb.PoolEventKind.ValueType, **fields: object) -> pb.PoolEvent:
    made = pb.PoolEvent(kind=kind, pool=fakes.POOL, **fields)  # type: ignore[arg-type]
    made.time.FromDatetime(fakes.NOW)
    return made


SERVED = event(
    pb.POOL_EVENT_KIND_SERVED,
    sequence=7,
    record="granted",
    resource=fakes.LEASE,
    user=ADA,
    host_name="atlas",
    app="solver",
    process_id=4711,
    units=2,
)
SERVED.since_time.FromDatetime(fakes.NOW - timedelta(minutes=3))
BETWEEN = event(pb.POOL_EVENT_KIND_RULES_CHANGED, record="pool_rules", by=ADA, sequence=8)
REFUSED = event(
    pb.POOL_EVENT_KIND_REFUSED,
    sequence=9,
    record="denied",
    units=1,
    app="solver",
    reason="POOL_EXHAUSTED",
    rule="capacity",
    count=4,
)


class Passing(FixedClock):
    """Each look is 15 seconds later."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 15
        return self.seconds


def test_who_waits_is_told_where_it_stands_and_gets_the_seat(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.ahead = [place(3), place(3), place(1)]
    server.refuse("AcquireSeat", errors.TimedOut("It does not answer."))
    result = keypeg("-o", "json", "seat", "acquire", "acme/solver", "--wait", "5min")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["lease"]["fencing_number"] == "8"
    told = result.stderr.splitlines()
    assert "did not answer" in told[0]
    assert told[1:] == [
        "Number 3 of 5 in the queue, about 6 min.",
        "Number 1 of 5 in the queue, about 2 min.",
    ]
    asked = server.asked["AcquireSeat"]
    assert len({one.request_id for one in asked}) == 1
    assert {one.wait.ToTimedelta() for one in asked} == {timedelta(seconds=20)}


def test_when_its_time_is_over_the_place_is_given_up(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.ahead = [place(1)] * 9
    keypeg.clock = Passing()
    result = keypeg("seat", "acquire", "acme/solver", "--wait", "40s", "--priority", "7")
    assert result.exit_code == 6
    assert "All 3 seats of it are held." in result.stderr
    assert [one.name for one in server.asked["LeaveQueue"]] == [PLACE]
    waits = [one.wait.ToTimedelta().total_seconds() for one in server.asked["AcquireSeat"]]
    assert waits == [20, 10, 0, 0]
    assert server.asked["AcquireSeat"][0].priority == 7


def test_a_refusal_of_one_who_waits_is_final(keypeg: CommandLine, server: fakes.Server) -> None:
    server.refuse("AcquireSeat", errors.PoolRule("The rules deny it."))
    assert keypeg("seat", "acquire", "acme/solver", "--wait", "40s").exit_code == 5
    assert len(server.asked["AcquireSeat"]) == 1


def snapshot() -> WatchPoolResponse:
    found = WatchPoolResponse()
    found.snapshot.pool.name = fakes.POOL
    found.snapshot.pool.product = "publishers/acme/products/solver"
    found.snapshot.pool.seat_count, found.snapshot.pool.held_count = 3, 1
    lease = found.snapshot.leases.add(name=fakes.LEASE, units=1, user=ADA, host_name="atlas")
    lease.acquire_time.FromDatetime(fakes.NOW)
    waits = found.snapshot.places.add(name=PLACE, position=1, units=2, app="solver")
    waits.create_time.FromDatetime(fakes.NOW)
    found.snapshot.last = True
    return found


def test_what_happens_is_a_line_each_over_lost_connections(
    keypeg: CommandLine, server: fakes.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keypeg.watching.PAUSES", (0.0,))
    server.watched = [
        [snapshot(), WatchPoolResponse(event=SERVED)],
        [
            WatchPoolResponse(missed=pb.PoolEventsMissed(count=17)),
            snapshot(),
            WatchPoolResponse(event=BETWEEN),
            WatchPoolResponse(event=REFUSED),
        ],
    ]
    server.events = [SERVED, BETWEEN]
    server.watch_ends = [errors.ServerDraining("The server is going away.")]
    result = keypeg("seat", "watch", "acme/solver")
    assert result.exit_code == 1, "it ends when there is nothing to watch"
    head = [
        f"acme/solver: 1 of 3 seats held, 0 waiting ({fakes.POOL})",
        "  2026-11-21 12:00:00  holds          acme/solver  1 unit  ada on atlas",
        "  2026-11-21 12:00:00  waits (1)      acme/solver  2 units  somebody (solver)",
    ]
    assert result.stdout.splitlines() == [
        *head,
        "2026-11-21 12:00:00  served         acme/solver  2 units  ada on atlas (solver, pid 4711)"
        "  waited 3 min",
        "2026-11-21 12:00:00  rules-changed  acme/solver  by ada",
        *head,
        "2026-11-21 12:00:00  refused        acme/solver  1 unit  somebody (solver)"
        "  POOL_EXHAUSTED (capacity)  4 times",
    ]
    assert "going away. Connecting again." in result.stderr
    assert "17 events came faster" in result.stderr
    assert server.asked["ListPoolEvents"][0].begin_time.ToDatetime(UTC) == fakes.NOW


def test_what_happens_is_json_for_programs(keypeg: CommandLine, server: fakes.Server) -> None:
    server.watched = [[snapshot(), WatchPoolResponse(event=SERVED)]]
    result = keypeg("-o", "jsonl", "seat", "watch")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["snapshot"]["leases"][0]["user"] == ADA
    assert second["event"]["kind"] == "POOL_EVENT_KIND_SERVED"
    assert server.asked["WatchPool"][0].parent == fakes.ACCOUNT
    assert keypeg("-o", "csv", "seat", "watch").exit_code == 2


def test_the_past_is_listed_by_time_and_kind(keypeg: CommandLine, server: fakes.Server) -> None:
    server.events = [SERVED, REFUSED, SERVED]
    found = keypeg.json(
        "seat", "history", "acme/solver", "--since", "2d", "--kind", "refused", "--kind", "served"
    )
    assert [one["kind"] for one in found] == [
        f"POOL_EVENT_KIND_{word}" for word in ("SERVED", "REFUSED", "SERVED")
    ]
    asked = server.asked["ListPoolEvents"][0]
    assert asked.begin_time.ToDatetime(UTC) == fakes.NOW - timedelta(days=2)
    assert list(asked.kinds) == [pb.POOL_EVENT_KIND_REFUSED, pb.POOL_EVENT_KIND_SERVED]
    csv = keypeg("-o", "csv", "seat", "history").stdout.splitlines()
    assert csv[0].startswith("time,what,pool,units,user,computer")
    assert csv[2].startswith(f"2026-11-21T12:00:00Z,refused,{fakes.POOL},1,")
    assert keypeg("seat", "history", "--kind", "lost").exit_code == 2
    assert keypeg("seat", "history", "--since", "1d", "--from", "2026-01-01").exit_code == 2

"""The usage and audit log through the real programs: what it records, and that nobody changes it unseen."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from keypeg import log, log_verification
from keypeg.errors import Reason
from keypeg.v1 import cloud_session_service_pb2, report_service_pb2, report_service_pb2_grpc
from lab.processes import BIN, Lab
from lab.world import CLOUD, SITE, World, request_id
from tests.system.people import Customer, refused
from tests.system.seats import acquire, release, seat_app

pytestmark = pytest.mark.own_server

Namer = Callable[[str], str]


@dataclass
class Auditor:
    """The administrator of a customer at the command line."""

    world: World
    customer: Customer
    folder: Path

    def __post_init__(self) -> None:
        self.computer = self.world.computer(
            f"auditor-{self.customer.admin_login}", token=self.customer.admin_token
        )

    def export(self, name: str = "usage.log") -> Path:
        path = self.folder / name
        path.unlink(missing_ok=True)
        code, _ = self.world.keypeg(
            self.computer, "audit", "export", str(path), "--account", self.customer.account
        )
        assert code == 0
        return path

    def verify(self, path: Path, *args: str) -> tuple[int, dict[str, Any]]:
        """Without the server: only the file, and the root that apps pin."""
        done = self.world.lab.run(
            [
                str(BIN / "keypeg"),
                *("-o", "json", "audit", "verify", str(path)),
                *("--root", self.world.root.hex(), *args),
            ],
            env={"KEYPEG_CONFIG_DIR": str(self.folder / "nothing")},
            check=False,
        )
        return done.returncode, json.loads(done.stdout)

    def kinds(self, path: Path, *args: str) -> set[tuple[str, int]]:
        code, found = self.verify(path, *args)
        assert (code == 0) is found["ok"] is (not found["findings"])
        return {(one["kind"], one["record"]) for one in found["findings"]}

    def records(self) -> list[dict[str, Any]]:
        with self.export().open("rb") as lines:
            return [json.loads(one.body) for one in log.records(lines)]

    def until(self, *events: str, **said: Any) -> dict[str, Any]:
        """The first record of such an event that says this, waited for."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for one in self.records():
                if one["event"] in events and said.items() <= one.items():
                    return one
            time.sleep(0.2)
        raise AssertionError(f"no {events} with {said}: {self.records()}")


@pytest.fixture
def auditor(world: World, customer: Customer, tmp_path: Path) -> Auditor:
    return Auditor(world, customer, tmp_path)


@pytest.mark.behaviour("SEAT-14")
@pytest.mark.long
def test_who_used_what_and_who_was_refused_is_recorded(
    world: World, customer: Customer, new_name: Namer, auditor: Auditor
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 1)
    id = pool.rpartition("/")[2]

    first = acquire(customer.member, pool).lease
    for _ in range(50):
        with refused(Reason.POOL_EXHAUSTED):
            acquire(customer.member, pool)
    assert release(customer.member, first)
    with refused(Reason.POOL_TOO_SMALL):
        acquire(customer.member, pool, units=2)
    left = acquire(customer.member, pool).lease  # ends by its deadline; see below
    waiting = seat_app(world, customer, product, new_name("waits"), "--wait")
    auditor.until("queued", pool=id, device=f"device-{waiting.name}")
    assert release(customer.member, left)
    waiting.expect("seat")
    assert waiting.stop() == 0
    crashed = seat_app(world, customer, product, new_name("crash"), run=True)
    crashed.expect("seat")
    world.kill_app(crashed)
    auditor.until("released", pool=id, how="token")
    alone = seat_app(world, customer, product, new_name("alone"))
    alone.expect("seat")
    alone.kill()
    auditor.until("released", pool=id, how="deadline")

    said = [one for one in auditor.records() if one.get("pool") == id]
    made = said[0]
    assert (made["event"], made["seats"], made["product"]) == ("pool_created", 1, product)
    granted = next(one for one in said if one["event"] == "granted")
    lease = first.name.rpartition("/")[2]
    assert granted["lease"] == lease
    assert granted["user"] == first.user
    assert (granted["device"], granted["host"], granted["app"]) == (
        "device-unary",
        "unary",
        "unary",
    )
    assert (granted["product"], granted["units"], granted["fencing"]) == (product, 1, 1)
    assert granted["activation"].startswith(customer.account)
    ended = next(one for one in said if one["event"] == "released")
    assert (ended["lease"], ended["how"]) == (lease, "released")
    assert ended["since"] == granted["time"] <= ended["time"]
    served = next(one for one in said if one.get("asked"))
    assert served["device"] == f"device-{waiting.name}"
    assert served["asked"] <= served["time"]
    hows = [one["how"] for one in said if one["event"] == "released"]
    # An app that is told to end between getting its seat and using it closes its session with the seat.
    clean = ["released" if how == "closed" else how for how in hows]
    assert clean == ["released", "released", "released", "token", "deadline"]

    # 50 refusals of one asker are one record at once; the others are counted in one more, later.
    why = [one for one in said if one["event"] == "denied"]
    assert [(one["reason"], one["rule"]) for one in why] == [
        ("POOL_EXHAUSTED", "capacity"),
        ("POOL_TOO_SMALL", "too_small"),
    ]
    assert world.server
    assert world.server.stop() == 0
    world.serve()
    counted = [one for one in auditor.records() if one["event"] == "denied" and one["pool"] == id]
    assert sorted(one["count"] for one in counted) == [1, 1, 49]
    assert auditor.verify(auditor.export())[0] == 0


def test_changes_of_the_account_are_recorded_with_who_made_them(
    world: World, customer: Customer, new_name: Namer, auditor: Auditor
) -> None:
    product = world.product(new_name("cad"), locations=[CLOUD])
    world.license(customer.account, product)
    here, there = world.computer(new_name("here")), world.computer(new_name("there"))
    world.open_cloud(customer.member, customer.account, here)
    world.open_cloud(customer.member, customer.account, there)
    customer.member.cloud.CloseCloudSession(
        cloud_session_service_pb2.CloseCloudSessionRequest(
            name=f"{customer.account}/cloudSession", request_id=request_id(), device=there.device
        )
    )
    people = ("user_created", "signed_in")
    said = [one for one in auditor.records() if one["event"] not in people]
    assert [one["event"] for one in said] == [
        "account_created",
        "license_created",
        "cloud_opened",
        "activation_created",
        "cloud_moved",
        "cloud_closed",
        "activation_deleted",
    ]
    assert said[4]["host"] == there.name
    assert said[4]["from_device"] == here.device.id
    assert all(one["by"] for one in said)


def test_others_do_not_read_the_log(
    world: World, customer: Customer, lab: Lab, auditor: Auditor
) -> None:
    other = Customer(world)
    request = report_service_pb2.ExportLogRequest(parent=customer.account)
    for api, reason in (
        (customer.member, Reason.PERMISSION_DENIED),
        (other.admin, Reason.NOT_FOUND),
        (other.member, Reason.PERMISSION_DENIED),  # of any account
    ):
        stub = report_service_pb2_grpc.ReportServiceStub(api.channel)
        with refused(reason):
            list(stub.ExportLog(request))
    staff = report_service_pb2_grpc.ReportServiceStub(world.publisher.channel)
    assert list(staff.ExportLog(request))
    assert list(staff.ExportLog(report_service_pb2.ExportLogRequest(parent="publishers/acme")))


# What an attacker can do to a file.


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def changed(path: Path, lines: list[bytes]) -> Path:
    copy = path.with_suffix(".changed")
    copy.write_bytes(b"".join(lines))
    return copy


def numbers(lines: list[bytes]) -> dict[int, int]:
    """Where each record stands."""
    return {
        int(line.split(b" ")[1]): at for at, line in enumerate(lines) if line.startswith(b"record ")
    }


@contextlib.contextmanager
def load(customer: Customer, pool: str, clients: int = 8) -> Iterator[list[str]]:
    """Seats taken and given back as fast as it goes; the leases whose release was acknowledged."""
    over = threading.Event()
    ended: list[str] = []

    def run() -> None:
        while not over.is_set():
            try:
                lease = acquire(customer.member, pool).lease
                release(customer.member, lease)
            except grpc.RpcError:
                time.sleep(0.05)
            else:
                ended.append(lease.name.rpartition("/")[2])

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield ended
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.behaviour("WATCH-3")
@pytest.mark.long
def test_what_is_done_to_the_log_is_found_and_located_also_after_kill_9(
    world: World, customer: Customer, new_name: Namer, auditor: Auditor
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 4)
    before = auditor.export("before.log")
    with load(customer, pool) as ended:
        for _ in range(2):
            already = len(ended)
            deadline = time.monotonic() + 20
            while len(ended) < already + 150 and time.monotonic() < deadline:
                time.sleep(0.01)
            assert world.server
            world.server.kill()
            world.serve()
    path = auditor.export()
    lines = lines_of(path)
    bodies = [json.loads(line.split(b" ", 3)[3]) for line in lines if line.startswith(b"record ")]
    at = numbers(lines)
    last = max(at)

    # Whole after two SIGKILLs: every acknowledged release is there, in a chain that is signed to its end.
    assert auditor.kinds(path) == set()
    recorded = {one["lease"] for one in bodies if one["event"] == "released"}
    assert set(ended) <= recorded
    assert auditor.kinds(path, "--head", str(before)) == set()

    middle = last // 2

    def without(*records: int) -> list[bytes]:
        gone = {at[number] for number in records}
        return [line for index, line in enumerate(lines) if index not in gone]

    # Cut: one record, several, the end, the beginning.
    assert auditor.kinds(changed(path, without(middle))) == {("cut", middle + 1)}
    assert auditor.kinds(changed(path, without(middle, middle + 1))) == {("cut", middle + 2)}
    assert ("cut", last - 1) in auditor.kinds(changed(path, lines[: at[last]]))
    heads = [index for index, line in enumerate(lines) if line.startswith(b"head ")]
    older = lines[: heads[-2] + 1]  # ends in a signed head, but not one of an export
    assert auditor.kinds(changed(path, older)) == {("cut", max(numbers(older)))}
    assert ("cut", 2) in auditor.kinds(changed(path, without(1)))

    # Edited: the record, and the record with its own hash made right.
    def edited(number: int, *, hash: bool = False, all_after: bool = False) -> list[bytes]:
        copy = list(lines)
        previous = bytes.fromhex(lines[at[number - 1]].split(b" ", 3)[2].decode())
        for index in range(at[number], len(lines)):
            if not lines[index].startswith(b"record "):
                continue
            kind, count, old, body = lines[index].rstrip(b"\n").split(b" ", 3)
            if int(count) == number:
                body = body.replace(b'"units":1', b'"units":3')
            previous = log.chained(previous, body)
            new = previous.hex().encode() if hash else old
            copy[index] = b" ".join((kind, count, new, body)) + b"\n"
            if not all_after:
                break
        assert copy != lines
        return copy

    assert auditor.kinds(changed(path, edited(middle))) == {("edited", middle)}
    found = auditor.kinds(changed(path, edited(middle, hash=True)))
    assert found == {("edited", middle + 1)}, found
    kinds = auditor.kinds(changed(path, edited(middle, hash=True, all_after=True)))
    assert kinds
    assert {kind for kind, _ in kinds} <= {"edited", "cut"}
    first_head = min(record for kind, record in kinds if kind == "edited")
    assert middle <= first_head <= last

    # Reordered.
    swapped = list(lines)
    pair = at[middle], at[middle + 1]
    if pair[1] == pair[0] + 1:
        swapped[pair[0]], swapped[pair[1]] = swapped[pair[1]], swapped[pair[0]]
        assert auditor.kinds(changed(path, swapped)) == {("reordered", middle)}

    # Rolled back: the earlier export is whole in itself, and older than a head that was seen.
    assert auditor.kinds(before) == set()
    seen = log_verification.verify(lines).logs[0].last
    assert ("rolled_back", max(numbers(lines_of(before)))) in auditor.kinds(
        before, "--head", str(seen)
    )
    # And another root signs nothing here.
    done = world.lab.run(
        [str(BIN / "keypeg"), "audit", "verify", str(path), "--root", "00" * 32],
        env={},
        check=False,
    )
    assert done.returncode == 1


@pytest.mark.behaviour("WATCH-3")
def test_a_database_that_was_changed_while_no_server_ran_is_found(
    world: World, customer: Customer, new_name: Namer, auditor: Auditor
) -> None:
    """By one who can write the file and compute hashes, but does not have the server's secrets."""
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 4)
    lease = acquire(customer.member, pool).lease
    assert world.server
    world.server.kill()
    name = f"{customer.account}/logs/main"
    with contextlib.closing(sqlite3.connect(world.data / "keypegd.sqlite3")) as database, database:
        rows = database.execute(
            "SELECT sequence, hash, body FROM log_block WHERE log = ? ORDER BY sequence", (name,)
        ).fetchall()
        number, _, body = rows[-1]
        assert json.loads(body)["lease"] == lease.name.rpartition("/")[2]
        forged = body.replace(b'"units":1', b'"units":2')
        hash = log.chained(rows[-2][1], forged)
        database.execute(
            "UPDATE log_block SET body = ?, hash = ? WHERE log = ? AND sequence = ?",
            (forged, hash, name, number),
        )
        database.execute("UPDATE log SET hash = ? WHERE id = ?", (hash, name))
    world.serve()
    assert ("reported", number + 1) in auditor.kinds(auditor.export())


@pytest.mark.behaviour("SEAT-14")
def test_the_report_counts_what_was_used_and_denied(
    world: World, customer: Customer, new_name: Namer, auditor: Auditor
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 3)
    held = [acquire(customer.member, pool).lease for _ in range(3)]
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.member, pool)
    for lease in held:
        release(customer.member, lease)
    about = ("--account", customer.account)
    _, rows = world.keypeg(auditor.computer, "report", "usage", "--by", "hour", *about)
    mine = [one for one in rows if one["pool"] == pool]
    assert sum(one["granted"] for one in mine) == 3
    assert max(one["peak"] for one in mine) == 3
    assert sum(one["refused"] for one in mine) == 1
    assert sum(one["denied"] for one in mine) == 0  # 5 minutes have not passed
    assert all(one["seat_count"] == 3 and 0 <= one["mean"] <= 3 for one in mine)
    exported = auditor.export()
    done = world.lab.run(
        [str(BIN / "keypeg"), "-o", "csv", "report", "usage", str(exported), "--per", "product"],
        env={},
    )
    head, *table = done.stdout.splitlines()
    assert head == "from,product,seats,peak,mean,p95,granted,refused,denied"
    assert sum(int(line.split(",")[6]) for line in table if product in line) == 3
    chart = world.lab.run(
        [str(BIN / "keypeg"), "report", "usage", str(exported), "--chart"], env={}
    ).stdout
    assert "USE" in chart
    shown = product.rpartition("/")[2]  # a table has short names
    drawn = next(line for line in chart.splitlines() if shown in line).split()[-1]
    assert re.fullmatch(r"(?=.{20}$)#*-*", drawn)  # usual use, then the peak: by the minute
    code, what = world.keypeg(
        auditor.computer,
        "report",
        "what-if",
        "--pool",
        pool,
        "--seats",
        "2",
        "--seats",
        "4",
        *about,
    )
    assert code == 0
    assert (what["recorded"]["demand_count"], what["recorded"]["seat_count"]) == (4, 3)
    assert what["recorded"]["peak_units"] == 3
    assert [one["peak_units"] for one in what["simulated"]] == [2, 4]


@pytest.mark.behaviour("WATCH-4")
def test_recorded_demand_is_replayed_with_other_seats_and_other_rules(
    world: World, customer: Customer, new_name: Namer, auditor: Auditor
) -> None:
    product = world.product(new_name("solver"), locations=[SITE])
    pool = world.seats(customer.account, product, 2)
    held = [acquire(customer.member, pool).lease for _ in range(2)]
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.member, pool)
    with refused(Reason.POOL_EXHAUSTED):
        acquire(customer.admin, pool)
    for lease in held:
        release(customer.member, lease)

    def what_if(*how: str) -> dict[str, Any]:
        code, answer = world.keypeg(
            auditor.computer,
            "report",
            "what-if",
            "--pool",
            pool,
            *how,
            "--account",
            customer.account,
        )
        assert code == 0
        return dict(answer)

    more = what_if("--seats", "2", "--seats", "4")
    assert more["recorded"]["seat_count"] == 2
    assert (more["recorded"]["demand_count"], more["recorded"]["served_count"]) == (4, 2)
    same, four = more["simulated"]
    assert (same["served_count"], same["peak_units"]) == (2, 2)
    assert (four["served_count"], four["peak_units"]) == (4, 4)
    (fewer,) = what_if("--seats", "1")["simulated"]
    assert fewer["peak_units"] == 1
    assert float(fewer["wait_max"].removesuffix("s")) > 0  # the second waits for the first

    rules = auditor.folder / "rules.toml"
    rules.write_text('counting = "user"\n')
    (shared,) = what_if("--rules", str(rules))["simulated"]
    # All of one user share a seat: nobody is refused, and two seats are enough.
    assert (shared["seat_count"], shared["served_count"]) == (2, 4)
    assert shared["peak_units"] == 2

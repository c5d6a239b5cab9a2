"""The keys that seats are signed with, replaced under apps, borrowed seats and credential files."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keypeg.borrowed import verify_borrow
from keypeg.document import Ed25519Signer
from keypeg.v1 import borrow_service_pb2, seat_service_pb2, session_pb2
from keypeg.v1.document_pb2 import LicenseDocument
from lab.postgres import Postgres
from lab.processes import BIN, Lab
from lab.world import CLOUD, SITE, Api, World, request_id
from tests.server.keypegd import command, failed
from tests.system.fleet import Fleet
from tests.system.fleet import postgres as postgres
from tests.system.people import Customer, new_id
from tests.system.streams import Stream
from tests.system.test_borrow import borrow, borrowable, offline, seat_app, set_rules
from tests.system.test_server_keys import rotate as rotate_signing_key

pytestmark = pytest.mark.own_server

KEYPEGD = str(BIN / "keypegd")


class Workshop(Customer):
    """A customer with seats of a product."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.world = world
        self.product = world.product(new_id("solver"), locations=[SITE])
        self.pool = world.seats(self.account, self.product, 5)

    def stream(self, api: Api | None = None) -> Stream:
        return Stream(api or self.member, self.world.root, self.product, new_id("device"))

    def leases(self) -> set[str]:
        wanted = seat_service_pb2.ListLeasesRequest(parent=self.pool)
        return {one.name for one in self.admin.seats.ListLeases(wanted).leases}


def site_key(world: World, *words: str) -> str:
    """What `keypegd site-key` says."""
    code, said = command("site-key", words[0], "--data", str(world.data), *words[1:])
    assert code == 0, said
    return said


def rotate(world: World) -> str:
    """The id of a new key."""
    return site_key(world, "rotate").split()[2]


def keys(world: World) -> list[dict[str, Any]]:
    found: dict[str, Any] = json.loads(site_key(world, "list", "-o", "json"))
    assert found["documents_of_no_key"] == 0
    listed: list[dict[str, Any]] = found["keys"]
    return listed


def signs(key: str, shop: Workshop, api: Api | None = None) -> None:
    """Wait until this key signs for who opens a session; each proof is verified."""

    _until(lambda: opened(shop, api).signed_by == key)


def opened(shop: Workshop, api: Api | None = None) -> Stream:
    """A session that was opened just now, and left."""
    fresh = shop.stream(api)
    fresh.close()
    return fresh


def _until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not done():
        assert time.monotonic() < until


def test_a_new_site_key_takes_over_under_apps_and_borrowed_seats(world: World) -> None:
    shop = Workshop(world)
    set_rules(shop.admin, shop.pool, borrowable())
    desk, laptop = (world.computer(new_id(one), token=shop.member_token) for one in ("desk", "lap"))
    app = seat_app(world, desk, shop.product)
    app.expect("seat")
    lent = borrow(world, laptop, shop.pool)
    running, held = shop.stream(), shop.leases()
    (first,) = keys(world)
    assert (first["key_id"], first["newest"]) == (running.signed_by, True)
    assert first["documents"] > 0

    new = rotate(world)
    assert [(one["key_id"], one["newest"]) for one in keys(world)] == [
        (new, True),
        (first["key_id"], False),
    ]
    _until(lambda: [one["documents"] for one in keys(world)] == [first["documents"], 0])
    signs(new, shop)
    running.renew()
    assert shop.leases() == held
    assert app.running
    assert "stopped" not in app.said()
    # What was borrowed before is good without a server, also beside what was borrowed after, and is renewed and given
    # back with one.
    later = borrow(world, laptop, shop.pool)
    for _ in (lent, later):
        away = seat_app(world, offline(laptop), shop.product)
        away.expect("seat")
        away.stop()
    for words in (("renew", lent["name"], "--for", "2h"), ("return", lent["name"])):
        world.keypeg(laptop, "borrow", *words)
    assert app.stop() == 0
    running.close()
    code, said = command("check", "--data", world.data)
    assert code == 0
    assert f"{first['documents']} license documents name it" in said


def test_a_server_that_is_killed_amid_goes_on_when_it_starts(world: World) -> None:
    shop = Workshop(world)
    for _ in range(20):
        world.seats(shop.account, shop.product, 2)
    total = sum(one["documents"] for one in keys(world))
    assert world.server is not None
    new = rotate(world)
    world.server.signal(signal.SIGKILL)
    world.server.wait(10)
    assert sum(one["documents"] for one in keys(world)) == total
    world.serve()
    _until(lambda: keys(world)[0]["documents"] == total)
    signs(new, shop)
    # And beside no server at all: the program takes the key itself.
    world.server.stop()
    last = rotate(world)
    assert [one["documents"] for one in keys(world)][:2] == [0, total]
    code, said = command("check", "--data", world.data)
    assert (code, "name one before the newest" in said) == (0, True)
    world.serve()
    signs(last, shop)


def test_seats_outlive_a_publisher_s_key_that_is_withdrawn(world: World) -> None:
    """Their license documents are made anew, before anybody is asked to believe one of the old."""
    shop = Workshop(world)
    app = seat_app(world, world.computer(new_id("desk"), token=shop.member_token), shop.product)
    app.expect("seat")
    running, held = shop.stream(), shop.leases()
    listed = json.loads(
        command("key", "list", "--data", str(world.data), "--publisher", "acme", "-o", "json")[1]
    )
    (old,) = [one["key_id"] for one in listed["keys"] if one["signs"]]
    before = running.generation
    rotate_signing_key(world)
    _until(lambda: opened(shop).generation == before + 1)
    running.renew()  # and is shown the delegation between, after which no older one is believed
    rotate_signing_key(world, "--withdraw", old)
    _until(lambda: opened(shop).generation == before + 2)
    running.renew()
    assert running.generation == before + 1
    late = shop.stream()
    assert late.generation == before + 2
    assert shop.leases() == held
    assert app.running
    assert "stopped" not in app.said()
    assert app.stop() == 0
    for one in (running, late):
        one.close()


@pytest.mark.long
@pytest.mark.behaviour("SEAT-10")
def test_what_was_borrowed_before_a_signing_key_was_replaced_is_good_beside_what_was_after(
    world: World,
) -> None:
    shop = Workshop(world)
    set_rules(shop.admin, shop.pool, borrowable())
    laptop = world.computer(new_id("lap"), token=shop.member_token)
    first = borrow(world, laptop, shop.pool, "1h")
    before = opened(shop).generation
    rotate_signing_key(world)
    _until(lambda: opened(shop).generation > before)
    later = borrow(world, laptop, shop.pool, "3h")  # the one that lasts is used
    for lent in (later, first):
        app = seat_app(world, offline(laptop), shop.product)
        app.expect("seat")
        assert app.stop() == 0
        world.keypeg(laptop, "borrow", "return", lent["name"].rpartition("/")[2])


@pytest.mark.long
def test_a_credential_file_is_good_until_the_key_that_signed_it_is_withdrawn(
    world: World, tmp_path: Path
) -> None:
    customer = Customer(world)
    world.license(customer.account, world.product(new_id("daw"), locations=[CLOUD]))
    owner = world.computer(new_id("owner"), token=customer.member_token)

    def made(verb: str) -> Path:
        path = tmp_path / f"{new_id('file')}.keypeg"
        world.keypeg(owner, "credential", verb, "studio", "--out", str(path))
        return path

    def shown(path: Path) -> tuple[int, str]:
        """On a computer that knows nothing but the file."""
        guest = world.computer(new_id("guest"))
        for name in ("KEYPEG_SERVER", "KEYPEG_CA_FILE", "KEYPEG_TOKEN"):
            guest.env.pop(name, None)
        for argv in (("credential", "import", str(path)), ("session", "show")):
            done = world.lab.run([str(BIN / "keypeg"), *argv], env=guest.env, check=False)
            if done.returncode:
                break
        return done.returncode, done.stderr

    before = made("create")
    rotate(world)
    first = keys(world)[1]["key_id"]
    assert shown(before)[0] == 0
    after = made("rotate")
    site_key(world, "withdraw", first)
    assert keys(world)[1]["withdrawn"]
    _until(lambda: shown(before)[0] != 0)  # the server looks every 2 s
    code, said = shown(before)
    assert (code, "ask for a new file" in said) == (4, True)
    assert shown(after)[0] == 0


def test_an_answer_that_was_lost_is_believed_when_it_is_asked_for_again_after_a_rotation(
    world: World,
) -> None:
    shop = Workshop(world)
    set_rules(shop.admin, shop.pool, borrowable())
    id, kept = request_id(), Ed25519Signer.generate().public_key

    def asked() -> borrow_service_pb2.CreateBorrowResponse:
        request = borrow_service_pb2.CreateBorrowRequest(
            request_id=id,
            pool=shop.pool,
            units=1,
            device=session_pb2.Device(id="device-lost", host_name="lost"),
            app=session_pb2.App(name="cad", version="1"),
            return_key=kept,
        )
        request.duration.FromTimedelta(timedelta(hours=1))
        return shop.member.borrows.CreateBorrow(request)

    first = asked()
    signs(rotate(world), shop)
    _until(lambda: keys(world)[1]["documents"] == 0)
    again = asked()
    assert again.borrow.name == first.borrow.name
    for proof in (first.proof, again.proof):
        document = LicenseDocument.FromString(proof.license.payload)
        said = verify_borrow(proof.borrow, document)
        assert said.borrow == first.borrow.name
    assert again.proof.borrow.payload == first.proof.borrow.payload


def test_what_is_no_key_to_withdraw_or_none_at_all_is_refused_and_the_server_goes_on(
    world: World,
) -> None:
    shop = Workshop(world)
    running = shop.stream()
    of = ("--data", world.data)
    assert "rotate` first" in failed("site-key", "withdraw", *of, running.signed_by)[1]
    assert "site-key list" in failed("site-key", "withdraw", *of, "00" * 16)[1]
    incoming = world.data / "incoming"
    incoming.mkdir(exist_ok=True)
    (incoming / "nonsense.key").write_bytes(b"\xff\x00")
    assert world.server is not None
    world.server.signal(signal.SIGHUP)
    refused = incoming / "nonsense.refused"
    _until(refused.exists)
    assert "not in hexadecimal" in refused.read_text()
    assert not (incoming / "nonsense.key").exists()
    running.renew()
    running.close()


@pytest.mark.long
def test_each_server_of_a_database_signs_with_the_new_key(
    tmp_path: Path, postgres: Postgres
) -> None:
    with Lab(tmp_path) as lab:
        fleet = Fleet(lab, postgres, 1)
        world = fleet.world
        other = lab.folder / "other-data"
        shutil.copytree(world.data, other)
        address = fleet.addresses[fleet.add(data=other)]
        shops = [Workshop(world), Workshop(world)]
        apis = [
            Api(at, world.ca_file.read_bytes(), shop.member_token)
            for at, shop in zip((world.address, address), shops, strict=True)
        ]
        running = [shop.stream(api) for shop, api in zip(shops, apis, strict=True)]
        new = rotate(world)
        for shop, api, one in zip(shops, apis, running, strict=True):
            signs(new, shop, api)
            one.renew()
            one.close()
        _until(lambda: [one["documents"] for one in keys(world)] == [2, 0])

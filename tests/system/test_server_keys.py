"""Keys and certificates of real servers, replaced while apps are on their streams."""

from __future__ import annotations

import json
import shutil
import signal
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from keypeg_server import tls
from lab.postgres import Postgres
from lab.processes import BIN, Lab
from lab.world import CLOUD, Api, World
from tests.server.keypegd import command, failed
from tests.server.softhsm import softhsm
from tests.system.fleet import Fleet
from tests.system.fleet import postgres as postgres
from tests.system.people import Customer, new_id
from tests.system.streams import Stream

pytestmark = pytest.mark.own_server

KEYPEGD = str(BIN / "keypegd")


class Studio(Customer):
    """A customer whose cloud is open on one computer, with a license for a product."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.product = world.product(new_id("daw"), locations=[CLOUD])
        world.license(self.account, self.product)
        self.computer = world.computer(new_id("studio"), token=self.member_token)
        world.open_cloud(self.member, self.account, self.computer)


def rotate(world: World, *more: str) -> None:
    """A new key, signed for with the root key at hand."""
    root = str(world.data / "root" / "acme.key")
    done(*("key", "rotate", *_of(world), "--root-key", root, *more))


def keys(world: World) -> dict[str, object]:
    """What `keypegd key list` says."""
    found: dict[str, object] = json.loads(done("key", "list", *_of(world), "-o", "json"))
    return found


def done(*arguments: str) -> str:
    """Run keypegd; what it said."""
    code, said = command(*arguments)
    assert code == 0, said
    return said


def _of(world: World) -> tuple[str, ...]:
    return "--data", str(world.data), "--publisher", "acme"


def stream(world: World, studio: Studio, api: Api | None = None) -> Stream:
    device = studio.computer.device.id
    return Stream(api or studio.member, world.root, studio.product, device)


def test_a_new_signing_key_takes_over_while_streams_and_apps_go_on(world: World) -> None:
    studio = Studio(world)
    app = world.app(new_id("app"), studio.computer, studio.product)
    app.expect("running")
    other = Studio(world)  # the cloud session of a computer runs one copy of it
    before = stream(world, other)
    first = before.signed_by
    rotate(world)
    found = keys(world)
    assert found["generation"] == before.generation + 1
    reached(before, before.generation + 1)
    assert before.signed_by != first
    after = stream(world, other)
    assert after.signed_by == before.signed_by
    assert app.running
    assert "stopped" not in app.said()
    assert app.stop() == 0
    for one in (before, after):
        one.close()


@pytest.mark.long
def test_a_root_on_another_computer_signs_by_files(world: World, tmp_path: Path) -> None:
    studio = Studio(world)
    running = stream(world, studio)
    root, request, response = (tmp_path / name for name in ("acme.key", "request", "response"))
    shutil.copy(world.data / "root" / "acme.key", root)
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("kept in a drawer\n")
    sealed = ["--root-key", str(root), "--passphrase-file", str(passphrase)]
    done("root", "seal", *sealed)
    done("key", "rotate", *_of(world), "--request", str(request))
    shown = done("root", "sign", *sealed, "--yes", str(request), str(response))
    assert f"generation:        {running.generation + 1}" in shown
    install = ["key", "install", "--data", str(world.data), str(response)]
    world.lab.run([KEYPEGD, *install])  # the program itself, from another process
    reached(running, running.generation + 1)
    assert "is in use" in failed(*install)[1]
    running.close()


def test_a_withdrawn_key_is_believed_no_more(world: World) -> None:
    studio = Studio(world)
    running = stream(world, studio)
    old = running.signed_by
    rotate(world, "--withdraw", old)
    named = [one["key_id"] for one in keys(world)["keys"]]  # type: ignore[attr-defined]  # JSON
    assert old not in named
    reached(running, running.generation + 1)
    running.close()


def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    world: World, tmp_path: Path
) -> None:
    studio = Studio(world)
    running = stream(world, studio)
    host, _, port = world.address.rpartition(":")
    ca = world.ca_file

    def serial() -> int:
        pem = ssl.get_server_certificate((host, int(port)), ca_certs=str(ca))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    first = serial()
    for name in (tls.CA_FILE, "ca.key"):
        shutil.copy(ca.parent / name, tmp_path)
    tls.development_identity(tmp_path, [], datetime.now(UTC))
    for name in ("server.key", tls.SERVER_FILE):
        (tmp_path / name).replace(ca.parent / name)
    assert world.server is not None
    world.server.signal(signal.SIGHUP)
    until = time.monotonic() + 30
    while serial() == first:  # a whole handshake each
        assert time.monotonic() < until
    running.renew()
    stream(world, studio, Api(world.address, ca.read_bytes(), studio.member_token)).close()
    running.close()


def test_what_is_no_delegation_of_the_root_is_refused_and_the_server_goes_on(
    world: World, tmp_path: Path
) -> None:
    assert world.server is not None
    running = stream(world, Studio(world))
    generation, other = running.generation, tmp_path / "other.key"
    request, response = tmp_path / "request", tmp_path / "response"
    done("root", "create", "--root-key", str(other))
    done("key", "renew", *_of(world), "--request", str(request))
    done("root", "sign", "--root-key", str(other), "--yes", str(request), str(response))
    assert "not trusted here" in failed("key", "install", "--data", world.data, response)[1]
    incoming = world.data / "incoming"
    incoming.mkdir(exist_ok=True)
    forged = incoming / "forged.delegation"
    shutil.copy(response, forged)
    (incoming / "nonsense.delegation").write_bytes(b"\xff\x00")
    world.server.signal(signal.SIGHUP)
    until = time.monotonic() + 30
    while len(list(incoming.glob("*.refused"))) < 2:
        running.renew()
        assert time.monotonic() < until
    assert "not trusted here" in forged.with_suffix(".refused").read_text()
    assert list(incoming.glob("*.delegation")) == []
    running.renew()
    assert running.generation == generation
    running.close()


def reached(running: Stream, generation: int) -> None:
    """Renew on the same stream until its proofs are of this generation; each one is verified."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        running.renew()
        if running.generation == generation:
            return
    raise AssertionError(f"still signed under generation {running.generation}")


def taken_over(begin: Callable[[], Stream]) -> Stream:
    """A stream at a server that takes over from one that has just stopped."""
    until = time.monotonic() + 30
    while True:
        try:
            return begin()
        except grpc.RpcError as error:
            away = error.code() is grpc.StatusCode.UNAVAILABLE
            if not away or time.monotonic() > until:
                raise


@pytest.mark.long
def test_each_server_of_a_database_learns_a_new_key_also_with_a_directory_of_its_own(
    tmp_path: Path, postgres: Postgres
) -> None:
    with Lab(tmp_path) as lab:
        fleet = Fleet(lab, postgres, 1)
        world = fleet.world
        other = lab.folder / "other-data"
        shutil.copytree(world.data, other)
        address = fleet.addresses[fleet.add(data=other)]
        studios = [Studio(world), Studio(world)]
        apis = [
            Api(at, world.ca_file.read_bytes(), studio.member_token)
            for at, studio in zip((world.address, address), studios, strict=True)
        ]
        running = [stream(world, studio, api) for studio, api in zip(studios, apis, strict=True)]
        rotate(world)
        for one in running:
            reached(one, one.generation + 1)
        assert len({one.signed_by for one in running}) == 1
        until = time.monotonic() + 30
        while (
            running[0].signed_by not in fleet.programs[1].log.read_text()
        ):  # "signing keys replaced"
            running[1].renew()
            assert time.monotonic() < until
        # The other server has what it needs, when the one that made the key is gone for good.
        fleet.programs[0].stop()
        for one in running:
            one.close()
        later = taken_over(lambda: stream(world, studios[1], apis[1]))
        assert later.signed_by == running[0].signed_by
        later.close()


@pytest.mark.long
def test_a_key_in_a_token_takes_over_on_a_running_server_whose_files_are_wrapped(
    tmp_path: Path, made_data: Path
) -> None:
    (tmp_path / "lab").mkdir()
    with softhsm(tmp_path) as env, Lab(tmp_path / "lab") as lab:
        data = tmp_path / "data"
        shutil.copytree(made_data, data)
        to = ["secrets", "rewrap", "--data", str(data), "--to", "pkcs11:wrapping"]
        lab.run([KEYPEGD, *to], env=env)
        env = {**env, "KEYPEGD_SECRETS__WRAPPING_KEY": "pkcs11:wrapping"}
        world = World(lab, like=data, server_env=env)
        studio = Studio(world)
        running = stream(world, studio)
        root = ["--root-key", str(world.data / "root" / "acme.key"), "--pkcs11", "acme-2026"]
        lab.run([KEYPEGD, "key", "rotate", *_of(world), *root], env=env)
        reached(running, running.generation + 1)
        file = world.data / "secrets" / f"signing-acme.{running.signed_by}.key"
        assert file.read_text() == "pkcs11:acme-2026\n"
        running.close()

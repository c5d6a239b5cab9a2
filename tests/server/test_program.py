"""The program keypegd: what it says when it can not start, and what survives its end."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import resource
import shlex
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from google.protobuf.timestamp_pb2 import Timestamp

from keypeg.calls import translate
from keypeg.document import Ed25519Signer, verify_delegation
from keypeg.errors import Reason
from keypeg.sessionkey import KeyShare
from keypeg.v1 import (
    account_service_pb2,
    catalog_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    license_pb2,
    license_service_pb2,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from keypeg_server.secret_files import exposed, read_key
from keypeg_server.storage.upkeep import HIGH_WATER
from lab.processes import BIN, Lab
from lab.world import ADMIN, FAST_PASSWORDS, World, request_id
from tests.server.keypegd import command, failed, sentence

KEYPEGD = str(BIN / "keypegd")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, made_data: Path) -> Iterator[World]:
    with Lab(tmp_path_factory.mktemp("program")) as made:
        yield World(made, settings='[server]\ndrain_time = "1s"\n', like=made_data)


@pytest.fixture
def world(shared: World) -> World:
    """A running server, with what the tests before this one have left in it."""
    assert shared.server is not None
    if not shared.server.running:
        shared.serve()
        shared.publisher.accounts.ListAccounts(
            account_service_pb2.ListAccountsRequest(), wait_for_ready=True
        )
    return shared


@pytest.fixture
def data(tmp_path: Path, made_data: Path) -> Path:
    """A data directory that nobody serves."""
    return Path(shutil.copytree(made_data, tmp_path / "data"))


_numbers = itertools.count(1)


def named(stem: str) -> str:
    """An id that no other test has."""
    return f"{stem}-{next(_numbers)}"


def studio(world: World) -> tuple[str, str]:
    """An account of its own, and the login of its admin."""
    login = named("ada")
    return world.account(named("studio"), {login: ADMIN}), login


def accounts(world: World) -> list[str]:
    listed = world.publisher.accounts.ListAccounts(account_service_pb2.ListAccountsRequest())
    return [account.name for account in listed.accounts]


# Making a server


def test_init_says_what_to_pin_and_makes_a_login(lab: Lab) -> None:
    data = lab.folder / "data"
    done = lab.run([KEYPEGD, "init", "--data", str(data), "--publisher", "acme"])
    said = dict(line.split(":", 1) for line in done.stdout.splitlines())
    root = Ed25519Signer(read_key(data / "root" / "acme.key"))
    assert said["root public key"].strip() == root.public_key.key.hex()
    assert len(said["CA fingerprint"].strip()) == 95
    login = json.loads((data / "secrets" / "publisher-login.json").read_text())
    assert login["password"] not in done.stdout
    for path in [
        *(data / "secrets").iterdir(),
        data / "root" / "acme.key",
        data / "keypegd.sqlite3",
    ]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    code, told = failed("init", "--data", data, "--publisher", "acme")
    assert (code, "holds a server already" in told) == (1, True)


def test_init_goes_on_where_it_was_interrupted_and_keeps_its_keys(data: Path) -> None:
    key = Ed25519Signer(read_key(data / "root" / "acme.key")).public_key.key
    (data / "initialized").unlink()
    code, said = command("init", "--data", data, "--publisher", "acme")
    assert code == 0
    assert key.hex() in said


def test_init_takes_a_root_key_and_a_password(tmp_path: Path) -> None:
    data, root = tmp_path / "data", tmp_path / "root.key"
    password = tmp_path / "password"
    root.write_text("11" * 32)
    password.write_text("correct horse battery\n")
    options = ["--root-key", str(root), "--publisher-password-file", str(password)]
    code, said = command("init", "--data", data, "--publisher", "acme", *options)
    assert code == 0
    assert Ed25519Signer(bytes.fromhex("11" * 32)).public_key.key.hex() in said
    assert not (data / "root").exists()
    assert not (data / "secrets" / "publisher-login.json").exists()
    root.write_text("11")
    code, told = failed(
        "init", "--data", tmp_path / "d2", "--publisher", "acme", "--root-key", root
    )
    assert (code, "has 1 bytes, not 32" in told) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "env", "code", "said"),
    [
        (["serve", "--data", "{}/none"], {}, 1, "keypegd init --data"),
        (["init", "--data", "{}/d", "--publisher", "Not An Id"], {}, 1, "publisher id"),
        (["init", "--data", "/proc/none", "--publisher", "a"], {}, 1, "can not be made"),
        (["serve", "--data", "{}/d", "--settings", "{}/no.toml"], {}, 2, "no such settings file"),
        (["serve", "--data", "{}/d"], {"KEYPEGD_X": "1"}, 2, "there is no section 'x'"),
        (["serve", "--data", "{}/d"], {"KEYPEGD_LOGS__LEVEL": "loud"}, 2, "is one of debug"),
    ],
)
def test_what_can_not_be_is_one_sentence(
    tmp_path: Path, arguments: list[str], env: dict[str, str], code: int, said: str
) -> None:
    here = [one.replace("{}", str(tmp_path)) for one in arguments]
    found, told = failed(*here, env=env)
    assert found == code
    assert said in told


def test_the_program_ends_with_its_sentence_and_without_a_traceback(lab: Lab) -> None:
    done = lab.run([KEYPEGD, "serve", "--data", f"{lab.folder}/none"], check=False)
    assert done.returncode == 1
    assert "keypegd init --data" in sentence(done.stderr)
    assert not done.stdout


def test_wrong_usage_is_exit_code_2() -> None:
    for arguments in (["serve"], ["nonsense"], ["serve", "--data"]):
        assert command(*arguments)[0] == 2


# Starting


def test_a_data_directory_has_one_server(world: World) -> None:
    assert world.server is not None
    code, told = failed("serve", "--data", world.data, "--listen", "127.0.0.1:0")
    assert code == 1
    assert f"in use by another keypegd (process {world.server.pid})" in told


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("", "Address already in use"),
        ("192.0.2.1:7400", "Cannot assign requested address"),
        ("nowhere.invalid:7400", "can not listen"),
        ("7400", "is no address and port"),
        ("127.0.0.1:99999", "is no address and port"),
    ],
)
def test_where_a_server_can_not_listen_is_one_sentence(
    world: World, data: Path, listen: str, said: str
) -> None:
    code, told = failed("serve", "--data", data, "--listen", listen or world.address)
    assert (code, said in told) == (1, True), told


def test_a_server_whose_keys_are_not_right_does_not_start(data: Path) -> None:
    serve = ("serve", "--data", data, "--listen", "127.0.0.1:0")
    key = data / "secrets" / "site.key"
    kept = key.read_text()
    away = key.rename(data / "site.key")
    assert "site.key can not be read" in failed(*serve)[1]
    away.rename(key).write_text("not hexadecimal")
    assert "is not in hexadecimal" in failed(*serve)[1]
    key.write_text(kept)
    (data / "secrets" / "signing-acme.key").write_text("22" * 32)
    assert "has delegated none of the keys" in failed(*serve)[1]
    (data / "keypegd.toml").write_text('[server]\ntls_certificate = "a"\ntls_key = "b"\n')
    assert "certificate can not be used" in failed(*serve)[1]


def test_a_directory_that_can_not_be_written_is_one_sentence(data: Path) -> None:
    done = subprocess.run(
        [KEYPEGD, "serve", "--data", str(data), "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # Whoever runs the tests may write anywhere: what is refused is to write at all.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "a full or read-only disk?" in done.stderr.splitlines()[-1]


def test_dev_makes_and_serves_a_server_and_says_how_to_sign_in(lab: Lab) -> None:
    data, ready = lab.folder / "dev", lab.folder / "ready"
    (lab.folder / "fast.toml").write_text(FAST_PASSWORDS)
    arguments = ["dev", "--data", str(data), "--settings", str(lab.folder / "fast.toml")]
    arguments += ["--listen", "127.0.0.1:0", "--ready-file", str(ready)]
    for name in ("first", "second"):
        program = lab.start(name, [KEYPEGD, *arguments])
        found = lab.ready(program, ready)
        assert found["pid"] == program.pid
        program.expect(lambda event: "--password-file" in event.get("text", ""))
        said = "\n".join(event["text"] for event in program.events)
        root = Ed25519Signer(read_key(data / "root" / "acme.key")).public_key.key
        assert f"root key, which apps pin:\n  {root.hex()}\n" in said
        command = shlex.split(said.partition("sign in:")[2].replace("\\\n", ""))
        done = lab.run(
            [str(BIN / command[0]), *command[1:]],
            env={"KEYPEG_CONFIG_DIR": str(lab.folder / name)},
        )
        assert "Signed in as publisher" in done.stderr
        assert program.stop() == 0
        assert not ready.exists()
    assert exposed(data) == []


def test_the_root_renews_the_delegation_beside_a_running_server(world: World) -> None:
    root = world.data / "root" / "acme.key"
    delegate = ["delegate", "--data", str(world.data), "--publisher", "acme", "--root-key"]
    other = world.lab.folder / "other.key"
    other.write_text("33" * 32)
    assert "is not the root key" in failed(*delegate, other)[1]
    world.lab.run([KEYPEGD, *delegate, str(root)])
    found = world.publisher.catalog.GetPublisher(
        catalog_service_pb2.GetPublisherRequest(name="publishers/acme"), wait_for_ready=True
    )
    certificate = x509.load_pem_x509_certificate(world.ca_file.read_bytes())
    delegation = verify_delegation(
        found.delegation,
        publisher="publishers/acme",
        root=world.root,
        now=certificate.not_valid_before_utc.replace(
            year=certificate.not_valid_before_utc.year + 1
        ),
    )
    assert delegation.generation == 2


# Ending


@pytest.mark.behaviour("CLOUD-4")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_acknowledged_is_there_after_a_restart(world: World, end: int) -> None:
    account, ada = studio(world)
    owned = world.license(account, world.product(named("daw")))
    admin = world.sign_in(ada)
    opened = world.open_cloud(admin, account, world.computer("a")).cloud_session
    assert world.server is not None
    world.server.signal(end)
    assert world.server.wait(20) == (0 if end == signal.SIGTERM else -signal.SIGKILL)
    world.serve()
    # The same token, the same channel, no new sign-in.
    found = admin.cloud.GetCloudSession(
        cloud_session_service_pb2.GetCloudSessionRequest(name=f"{account}/cloudSession"),
        wait_for_ready=True,
    ).cloud_session
    assert found == opened
    assert found.state == cloud_session_pb2.CLOUD_SESSION_STATE_OPEN
    assert found.host_name == "a"
    listed = admin.licenses.ListLicenses(license_service_pb2.ListLicensesRequest(parent=account))
    assert [(one.name, one.activations_used_count) for one in listed.licenses] == [(owned.name, 1)]


def test_a_stream_is_told_before_the_server_goes(world: World) -> None:
    account, ada = studio(world)
    product = world.product(named("daw"))
    world.license(account, product)
    admin, computer = world.sign_in(ada), world.computer("a")
    world.open_cloud(admin, account, computer)
    sent: queue.SimpleQueue[session_service_pb2.HoldSessionRequest | None] = queue.SimpleQueue()
    stub = session_service_pb2_grpc.SessionServiceStub(admin.channel)
    answers = stub.HoldSession(iter(sent.get, None))
    opening = session_pb2.Open(
        sequence=1,
        protocol_version=1,
        device=computer.device,
        app=session_pb2.App(name="test"),
        product=product,
        nonce=bytes(32),
        key_share=KeyShare.generate().public,
    )
    sent.put(session_service_pb2.HoldSessionRequest(open=opening))
    assert next(answers).opened.valid_for.seconds == 180
    assert world.server is not None
    world.server.signal(signal.SIGTERM)
    draining = next(answers)
    assert draining.draining.closes_in.seconds == 1
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert translate(caught.value).reason is Reason.SERVER_DRAINING
    sent.put(None)
    assert world.server.wait(20) == 0


@pytest.mark.long
def test_a_clock_that_is_set_back_does_not_revive_a_license(lab: Lab, made_data: Path) -> None:
    world = World(lab, like=made_data)
    account, ada = studio(world)
    now = datetime.now(UTC)
    end = Timestamp()
    end.FromDatetime(now + timedelta(hours=12))
    owned = world.license(account, world.product(named("daw")), expire_time=end)
    assert owned.state == license_pb2.LICENSE_STATE_ACTIVE
    assert world.server is not None
    assert world.server.stop() == 0
    # As if the server had run until tomorrow, and the clock were set back to today after that.
    tomorrow = int((now + timedelta(days=1)).timestamp() * 1_000_000)
    with contextlib.closing(sqlite3.connect(world.data / "keypegd.sqlite3")) as database:
        (kept,) = database.execute(f"SELECT value FROM meta WHERE key = '{HIGH_WATER}'").fetchone()
        assert abs(int(kept) - int(now.timestamp() * 1_000_000)) < 600 * 1_000_000
        database.execute(f"UPDATE meta SET value = '{tomorrow}' WHERE key = '{HIGH_WATER}'")
        database.commit()
    world.serve()
    found = world.sign_in(ada).licenses.GetLicense(
        license_service_pb2.GetLicenseRequest(name=owned.name)
    )
    assert found.license.state == license_pb2.LICENSE_STATE_EXPIRED
    assert world.server.stop() == 0
    assert "clock set back" in world.server.log.read_text()


def test_nothing_that_was_acknowledged_is_lost_to_a_kill_under_load(world: World) -> None:
    acknowledged: list[str] = []
    enough = threading.Event()

    def work() -> None:
        for _ in range(1_000):
            request = account_service_pb2.CreateAccountRequest(
                request_id=request_id(), display_name="x"
            )
            try:
                answer = world.publisher.accounts.CreateAccount(request)
            except grpc.RpcError:
                return
            acknowledged.append(answer.account.name)
            if len(acknowledged) == 20:
                enough.set()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert enough.wait(30)
    assert world.server is not None
    world.server.kill()
    for worker in workers:
        worker.join(30)
    world.serve()
    world.publisher.accounts.ListAccounts(
        account_service_pb2.ListAccountsRequest(), wait_for_ready=True
    )
    listed: set[str] = set()
    token = ""
    while True:
        page = world.publisher.accounts.ListAccounts(
            account_service_pb2.ListAccountsRequest(page_size=1_000, page_token=token)
        )
        listed |= {account.name for account in page.accounts}
        token = page.next_page_token
        if not token:
            break
    assert set(acknowledged) <= listed


def test_a_full_disk_refuses_and_comes_back(world: World) -> None:
    assert world.server is not None
    pid = world.server.pid
    before = accounts(world)
    full = 4_096  # bytes: less than the database's log has by now
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    request = account_service_pb2.CreateAccountRequest(
        request_id=request_id(), account_id="late", display_name="Late"
    )
    with pytest.raises(grpc.RpcError) as caught:
        world.publisher.accounts.CreateAccount(request)
    error = translate(caught.value)
    assert error.reason is Reason.STORAGE_UNAVAILABLE
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error.retry_after is not None
    assert accounts(world) == before
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    world.publisher.accounts.CreateAccount(request)
    assert accounts(world) == sorted([*before, "accounts/late"])


def test_the_program_s_log_has_no_secret(world: World) -> None:
    assert world.server is not None
    token = world.token(studio(world)[1])
    assert world.server.stop() == 0
    log = world.server.log.read_text()
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[0] == "serving"
    assert events[-2:] == ["draining", "stopped"]
    login = json.loads((world.data / "secrets" / "publisher-login.json").read_text())
    secrets = [path.read_text().strip() for path in (world.data / "secrets").glob("*.key")]
    for secret in (token, login["password"], "correct horse battery", *secrets):
        assert secret not in log


def test_the_port_is_free_again_after_the_end(world: World) -> None:
    assert world.server is not None
    host, _, port = world.address.rpartition(":")
    assert world.server.stop() == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, int(port)))

"""keypegd backup, restore and check, on real servers and on spoiled backups."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest

from keypeg.calls import translate
from keypeg.errors import Reason
from keypeg.v1 import seat_pb2, seat_service_pb2, session_pb2
from keypeg_server import manifest as manifests
from keypeg_server.domain.restored import APP
from keypeg_server.storage import snapshot
from lab.processes import BIN, Lab
from lab.world import ADMIN, SITE, Api, World, request_id
from tests.server import databases
from tests.server.databases import PostgresPlace
from tests.server.keypegd import command, failed

KEYPEGD = str(BIN / "keypegd")
DATABASE = "keypegd.sqlite3"
# A server that takes the place of another may take some seconds to start, on a busy machine.
SETTINGS = '[server]\ndrain_time = "1s"\n[sessions]\nseat_grant = "20s"\n'
SEATS = 40


def quiet(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def refused(*arguments: object) -> str:
    """Run keypegd, which fails with one sentence and exit code 1."""
    code, said = failed(*arguments)
    assert code == 1, said
    return said


def checked(data: Path, *options: str) -> dict[str, str]:
    """What `keypegd check` says of each thing that is wrong."""
    code, said = command("check", "--data", data, "-o", "json", *options)
    found = json.loads(said)
    wrong = {one["check"]: one["said"] for one in found["checks"] if one["verdict"] == "bad"}
    assert all(one["advice"] for one in found["checks"] if one["verdict"] != "good")
    assert (code, found["clean"]) == ((1, False) if wrong else (0, True))
    return wrong


def acquire(api: Api, pool: str, identifier: str = "") -> seat_pb2.Lease:
    return api.seats.AcquireSeat(
        seat_service_pb2.AcquireSeatRequest(
            pool=pool,
            request_id=identifier or request_id(),
            units=1,
            device=session_pb2.Device(id="device-load", host_name="load"),
            app=session_pb2.App(name="load"),
        )
    ).lease


def release(api: Api, lease: seat_pb2.Lease) -> None:
    api.seats.ReleaseSeat(
        seat_service_pb2.ReleaseSeatRequest(name=lease.name, fencing_number=lease.fencing_number)
    )


class Load:
    """Takes and gives back seats, and keeps some, until it is stopped."""

    def __init__(self, api: Api, pool: str) -> None:
        self.api = api
        self.pool = pool
        self.done = 0
        self.kept: list[str] = []  # acknowledged, and never given back
        self.highest = 0
        self.error: BaseException | None = None
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                lease = acquire(self.api, self.pool)
                self.highest = max(self.highest, lease.fencing_number)
                if self.done % 40 == 0 and len(self.kept) < 8:
                    self.kept.append(lease.name)
                else:
                    release(self.api, lease)
                with self._changed:
                    self.done += 1
                    self._changed.notify_all()
        except BaseException as error:  # told in the thread of the test
            with self._changed:
                self.error = error
                self._changed.notify_all()

    def reach(self, count: int) -> None:
        """Return when so much is done."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.done >= count or self.error, 20)
        assert self.error is None, self.error

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(10)
        assert self.error is None, self.error


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("backup")) as made:
        yield made


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, settings=SETTINGS, like=made_data)


@pytest.fixture(scope="module")
def account(world: World) -> str:
    return world.account("ada", {"ada": ADMIN})


@pytest.fixture(scope="module")
def pool(world: World, account: str) -> str:
    product = world.product("solver", locations=[SITE], features=["mesh"])
    pool = world.seats(account, product, SEATS, features={"mesh": 2})
    world.seats(account, world.product("other", locations=[SITE]), 3)
    return pool


@pytest.fixture(scope="module")
def admin(world: World, pool: str) -> Api:
    return world.sign_in("ada")


@pytest.fixture(scope="module")
def saved(world: World, admin: Api, pool: str) -> Path:
    """A backup with a lease or two in it."""
    folder = world.lab.folder / "saved"
    leases = [acquire(admin, pool), acquire(admin, pool)]
    code, said = command("backup", "--data", world.data, folder)
    for lease in leases:
        release(admin, lease)
    assert code == 0, said
    return folder


# Beside a running server


@pytest.mark.long
def test_under_load_everything_acknowledged_before_is_in_the_backup_and_served_again(
    world: World, account: str, admin: Api, pool: str
) -> None:
    lab = world.lab
    token = world.token("ada")
    loads = [Load(admin, pool) for _ in range(3)]
    for load in loads:
        load.reach(50)
    before = [name for load in loads for name in list(load.kept)]
    assert before
    done_before = [load.done for load in loads]
    lab.run([KEYPEGD, "backup", "--data", str(world.data), str(lab.folder / "loaded")])
    assert checked(world.data) == {}
    for load, done in zip(loads, done_before, strict=True):
        load.reach(done + 10)  # went on, and goes on after it
        load.stop()
    highest = max(load.highest for load in loads)
    assert world.server is not None
    assert "storage failed" not in world.server.log.read_text()

    restored = lab.folder / "restored"
    how = ["--data", restored, "--stopped-for", "3598s", lab.folder / "loaded"]
    assert command("restore", *how)[0] == 0
    assert checked(restored) == {}
    (restored / "keypegd.toml").write_text(SETTINGS.replace("20s", "3s"))  # seats come back sooner
    other = Twin(world, restored)
    try:
        api = Api(other.address, other.ca_file.read_bytes(), token)
        held = {lease.name for lease in world.leases(api, pool)}
        assert set(before) <= held
        # Whoever got a seat after the backup may believe in it still: nobody is given one now.
        with pytest.raises(grpc.RpcError) as caught:
            acquire(api, pool)
        assert translate(caught.value).reason is Reason.POOL_EXHAUSTED
        assert APP in {lease.app for lease in world.leases(api, pool)}
        lease = eventually(lambda: acquire(api, pool))
        assert lease.fencing_number > highest + 10**12
        assert APP not in {lease.app for lease in world.leases(api, pool)}
        release(api, lease)
        api.close()
    finally:
        other.stop()


class Twin:
    """A second server, on a restored directory."""

    def __init__(
        self, world: World, data: Path, listen: str = "127.0.0.1:0", database: str = ""
    ) -> None:
        ready = world.lab.folder / f"{data.name}.ready"
        options = ["--listen", listen, "--ready-file", str(ready)]
        options += ["--database", database] if database else []
        self.program = world.lab.start(
            f"twin-{data.name}", [KEYPEGD, "serve", "--data", str(data), *options]
        )
        found = world.lab.ready(self.program, ready)
        self.address, self.ca_file = found["address"], Path(found["ca_file"])

    def stop(self) -> None:
        assert self.program.stop() == 0


def eventually(work: Callable[[], seat_pb2.Lease]) -> seat_pb2.Lease:
    """The lease, once the pool gives one."""
    tick = threading.Event()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            return work()
        except grpc.RpcError as error:
            if translate(error).reason is not Reason.POOL_EXHAUSTED:
                raise
        tick.wait(0.1)
    raise AssertionError("the pool gave no seat within 30 s")


def test_a_copy_ends_and_is_of_one_moment_though_every_step_of_it_is_followed_by_a_write(
    world: World, admin: Api, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "PAGES_AT_ONCE", 1)
    before = {lease.name.rpartition("/")[2] for lease in world.leases(admin, pool)}
    steps: list[int] = []

    def write(_what: str, done: int, _total: int) -> None:
        steps.append(done)
        assert len(steps) < 5_000, "the copy does not end"
        if len(steps) % 3 == 1:
            lease = acquire(admin, pool)
            if len(steps) > 6:  # a few stay
                release(admin, lease)

    held = len(before)
    snapshot.copy(world.data / DATABASE, tmp_path / "copy", write)
    assert len(steps) > 20
    assert steps == sorted(set(steps)), "the copy was begun again"
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert {id for (id,) in copy.execute("SELECT id FROM lease")} >= before
        (count,) = copy.execute(
            "SELECT count(*) FROM lease WHERE pool = ?", (pool.rpartition("/")[2],)
        ).fetchone()
        assert count == held
    for lease in world.leases(admin, pool):
        if lease.name.rpartition("/")[2] not in before:
            release(admin, lease)


def test_reading_changes_no_byte_of_the_database_or_of_its_log(
    world: World, saved: Path, admin: Api, pool: str
) -> None:
    files = [world.data / DATABASE, world.data / f"{DATABASE}-wal"]

    def state() -> list[tuple[str, int, int]]:
        return [
            (hashlib.sha256(file.read_bytes()).hexdigest(), stat.S_IMODE(s.st_mode), s.st_ino)
            for file in files
            for s in [file.stat()]
        ]

    lock = (world.data / f"{DATABASE}.lock").read_text()
    before = state()
    assert files[1].stat().st_size > 0
    assert command("backup", "--data", world.data, world.lab.folder / "again")[0] == 0
    assert checked(world.data) == {}
    assert state() == before
    assert (world.data / f"{DATABASE}.lock").read_text() == lock
    release(admin, acquire(admin, pool))  # the server writes on


def test_a_killed_server_is_backed_up_with_what_only_its_log_holds(
    world: World, saved: Path, admin: Api, pool: str, tmp_path: Path
) -> None:
    lease = acquire(admin, pool)
    assert world.server is not None
    world.server.kill()
    files = [world.data / DATABASE, world.data / f"{DATABASE}-wal"]
    before = [file.read_bytes() for file in files]
    assert lease.name.rpartition("/")[2].encode() not in before[0]
    assert command("backup", "--data", world.data, tmp_path / "b")[0] == 0
    assert checked(world.data) == {}
    assert [file.read_bytes() for file in files] == before
    with closing(sqlite3.connect(tmp_path / "b" / DATABASE)) as copy:
        ids = copy.execute("SELECT id FROM lease").fetchall()
    assert (lease.name.rpartition("/")[2],) in ids
    world.serve()
    release(admin, lease)


@pytest.mark.long
def test_an_app_that_holds_a_seat_goes_on_with_it_at_the_restored_server(
    world: World, account: str, admin: Api, tmp_path: Path
) -> None:
    product = world.product("suite", locations=[SITE])
    pool = world.seats(account, product, 2)
    token = world.token("ada")
    app = world.app("suite", world.computer("desk", token=token), product, "--seat")
    app.expect("seat")
    (before,) = world.leases(admin, pool)
    assert command("backup", "--data", world.data, tmp_path / "b")[0] == 0
    restored = tmp_path / "restored-suite"
    assert command("restore", "--data", restored, tmp_path / "b")[0] == 0
    assert world.server is not None
    world.server.kill()
    other = Twin(world, restored, listen=world.address)
    try:
        app.expect("reconnected")
        api = Api(other.address, other.ca_file.read_bytes(), token)
        leases = world.leases(api, pool)
        api.close()
        found = [(lease.name, lease.fencing_number) for lease in leases if lease.app != APP]
        assert found == [(before.name, before.fencing_number)]
        assert app.running
        assert {"seat_lost", "stopped"}.isdisjoint(event["event"] for event in app.events)
    finally:
        app.stop()
        other.stop()
        world.serve()


# The backup itself


def test_a_backup_is_its_owners_only_and_its_manifest_tells_what_it_holds(
    world: World, saved: Path
) -> None:
    made = manifests.read((saved / "manifest.json").read_bytes())
    names = {entry.path for entry in made.files}
    on_disk = [path for path in saved.rglob("*") if path.is_file()]
    assert {path.relative_to(saved).as_posix() for path in on_disk} == names | {"manifest.json"}
    assert {DATABASE, "keypegd.toml", "secrets/site.key", "secrets/signing-acme.key"} <= names
    assert not any("root" in name for name in names)
    assert made.counts["accounts"] == 1
    assert made.with_secrets
    assert {stat.S_IMODE(path.stat().st_mode) for path in on_disk} == {0o600}
    folders = [saved, *(path for path in saved.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


def test_without_secrets_it_says_what_that_means_and_starts_once_they_are_back(
    world: World, saved: Path, tmp_path: Path
) -> None:
    code, said = command("backup", "--data", world.data, tmp_path / "b", "--without-secrets")
    assert code == 0
    assert "can sign nothing and starts only when both are put back" in said
    assert not (tmp_path / "b" / "secrets").exists()
    assert not (tmp_path / "b" / "tls").exists()
    code, said = command("restore", "--data", tmp_path / "d", tmp_path / "b")
    assert (code, "secrets/site.key; put it" in said) == (0, True)
    assert set(checked(tmp_path / "d")) == {"secrets", "delegation acme", "CA", "certificate"}
    for folder in ("secrets", "tls"):
        shutil.copytree(world.data / folder, tmp_path / "d" / folder, dirs_exist_ok=True)
    assert checked(tmp_path / "d") == {}


def test_what_can_not_be_backed_up_is_one_sentence_and_leaves_nothing(
    world: World, saved: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert command("restore", "--data", data, saved)[0] == 0
    assert "holds no server" in refused("backup", "--data", tmp_path / "none", tmp_path / "b")
    assert "is there already" in refused("backup", "--data", data, saved)
    assert "no directory" in refused("backup", "--data", data, tmp_path / "x" / "b")
    secret = (data / "secrets" / "site.key").read_text()
    (data / "secrets" / "site.key").unlink()
    assert "site.key can not be read" in refused("backup", "--data", data, tmp_path / "b")
    (data / "secrets" / "site.key").write_text(secret[:10])
    assert "site.key has 5 bytes, not 32" in refused("backup", "--data", data, tmp_path / "b")
    (data / "secrets" / "site.key").write_text(secret)
    spoil(data / DATABASE)
    said = refused("backup", "--data", data, tmp_path / "b")
    assert any(words in said for words in ("is damaged", "damaged database?", "malformed"))
    (data / DATABASE).unlink()
    assert "There is no database" in refused("backup", "--data", data, tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def spoil(database: Path) -> None:
    """Overwrite the middle of a file, as a bad disk does."""
    size = database.stat().st_size
    with database.open("r+b") as handle:
        handle.seek(size // 3)
        handle.write(b"\xa5" * (size // 3))


# Restoring


def _edit(backup: Path, **changes: Any) -> None:
    """Change the manifest without anyone noticing by its own digest."""
    found = json.loads((backup / "manifest.json").read_text())
    found.update(changes)
    del found["sha256"]
    found["sha256"] = manifests._digest(found)
    (backup / "manifest.json").write_text(json.dumps(found))


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _files(backup: Path) -> list[dict[str, Any]]:
    files = json.loads((backup / "manifest.json").read_text())["files"]
    assert isinstance(files, list)
    return files


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a corrupted database": (lambda b: spoil(b / DATABASE), "is not what was backed up"),
    "a truncated database": (lambda b: _truncate(b / DATABASE), "is not what was backed up"),
    "no database": (lambda b: (b / DATABASE).unlink(), "lacks"),
    "no manifest": (lambda b: (b / "manifest.json").unlink(), "is no backup"),
    "a truncated manifest": (lambda b: _truncate(b / "manifest.json"), "may be truncated"),
    "a manifest of something else": (
        lambda b: (b / "manifest.json").write_text("[1]"),
        "is not JSON",
    ),
    "a changed manifest": (
        lambda b: (b / "manifest.json").write_text(
            (b / "manifest.json").read_text().replace('"accounts": 1', '"accounts": 2')
        ),
        "was changed after it was written",
    ),
    "a manifest of another database": (
        lambda b: _edit(b, counts={"accounts": 2}),
        "is not the one of its manifest",
    ),
    "a newer format": (lambda b: _edit(b, version=2), "use a newer one"),
    "a path that leads out": (
        lambda b: _edit(b, files=[{"path": "../x", "bytes": 0, "sha256": "0" * 64}]),
        "that no backup holds",
    ),
    "an absolute path": (
        lambda b: _edit(b, files=[{"path": "/etc/passwd", "bytes": 0, "sha256": "0" * 64}]),
        "that no backup holds",
    ),
    "a secret that is not named": (
        lambda b: _edit(b, files=[one for one in _files(b) if "site" not in one["path"]]),
        "names no secrets/site.key",
    ),
    "a missing secret": (lambda b: (b / "secrets" / "ticket.key").unlink(), "lacks"),
    "another secret": (
        lambda b: (b / "secrets" / "ticket.key").write_text("00" * 32 + "\n"),
        "is not what was backed up",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_backup_is_refused_with_a_sentence_and_leaves_nothing(
    case: str, saved: Path, tmp_path: Path
) -> None:
    spoiling, sentence = SPOILED[case]
    backup = tmp_path / "backup"
    shutil.copytree(saved, backup)
    spoiling(backup)
    said = refused("restore", "--data", tmp_path / "data", backup)
    assert sentence in said
    assert not (tmp_path / "data").exists()
    (tmp_path / "empty").mkdir()
    refused("restore", "--data", tmp_path / "empty", backup)
    assert not list((tmp_path / "empty").iterdir())


def test_a_restore_replaces_nothing(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    assert "is not empty" in refused("restore", "--data", tmp_path, saved)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    code, said = command("restore", "--data", tmp_path / "mine", saved)
    assert code == 2, said


def test_nothing_that_may_have_been_given_after_the_backup_comes_again(
    saved: Path, tmp_path: Path
) -> None:
    assert command("restore", "--data", tmp_path / "one", saved)[0] == 0
    assert command("restore", "--data", tmp_path / "two", saved, "--sign-out")[0] == 0
    with closing(sqlite3.connect(saved / DATABASE)) as rows:
        before = numbers(rows)
        assert rows.execute("SELECT count(*) FROM sign_in").fetchone() != (0,)
    with closing(sqlite3.connect(tmp_path / "one" / DATABASE)) as rows:
        one = numbers(rows)
        pools = rows.execute("SELECT id, seat_count FROM pool ORDER BY id").fetchall()
        held_back = rows.execute(
            "SELECT pool, units, valid_for_us FROM lease WHERE user = '' ORDER BY pool"
        ).fetchall()
        assert held_back == [(id, seats, 3_600_000_000) for id, seats in pools]
        assert rows.execute("SELECT count(*) FROM sign_in").fetchone() != (0,)
    with closing(sqlite3.connect(tmp_path / "two" / DATABASE)) as rows:
        two = numbers(rows)
        assert rows.execute("SELECT count(*) FROM sign_in").fetchone() == (0,)
    assert len(before) == len(one) == len(two) > 3
    for name, number in before.items():
        assert one[name] > number + 1_000_000 or name == "wall clock"
        assert two[name] > one[name] >= number


def numbers(rows: sqlite3.Connection) -> dict[str, int]:
    """All that must never go backward."""
    found = {
        f"{what} {id}": number
        for what, query in {
            "fencing": "SELECT id, fencing_number FROM pool",
            "document": "SELECT id, generation FROM activation",
            "cloud": "SELECT id, cloud_generation FROM account",
        }.items()
        for id, number in rows.execute(query)
    }
    (mark,) = rows.execute("SELECT value FROM meta WHERE key = 'wall_high_water_us'").fetchone()
    return {**found, "wall clock": int(mark)}


def test_the_clock_goes_on_no_earlier_than_at_the_backup(saved: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(saved, backup)
    later = datetime(2100, 1, 1, tzinfo=UTC)
    _edit(backup, create_time=later.isoformat())
    assert command("restore", "--data", tmp_path / "data", backup)[0] == 0
    with closing(sqlite3.connect(tmp_path / "data" / DATABASE)) as rows:
        assert numbers(rows)["wall clock"] == int(later.timestamp()) * 1_000_000


def test_a_server_that_stopped_long_ago_holds_nothing_back(saved: Path, tmp_path: Path) -> None:
    code, said = command("restore", "--data", tmp_path / "d", saved, "--stopped-for", "1h")
    assert (code, "no other seat" in said) == (0, False)
    with closing(sqlite3.connect(tmp_path / "d" / DATABASE)) as rows:
        found = rows.execute("SELECT count(*) FROM lease WHERE user = ''").fetchone()
        assert found == (0,)
    code, said = command("restore", "--data", tmp_path / "e", saved, "--stopped-for", "soon")
    assert (code, "is no duration such as" in said) == (2, True)


# Checking

PLACE = (
    "INSERT INTO place (id, pool, session, user, device, host_name, app, process_id, features, units, "
    "priority, arrival, create_time_us, valid_for_us, request_id) "
    "SELECT hex(randomblob(16)), pool.id, 's', 'u', 'd', 'h', 'a', 0, ''"
)

PLANTED: dict[str, tuple[str, str]] = {
    "seats": ("UPDATE pool SET seat_count = 0", "has 0 seats, and"),
    "feature seats": (
        """UPDATE lease SET features = '{"mesh": 3}'""",
        "of mesh, and",
    ),
    "fencing": ("UPDATE pool SET fencing_number = 0", "above the pool's 0"),
    "fencing twice": ("UPDATE lease SET fencing_number = 1", "gave number 1 to two leases"),
    "queue": (f"{PLACE}, 1000, 0, 1, 0, 0, '' FROM pool", "waits for 1000 of"),
    "queue twice": (f"{PLACE}, 1, 0, 1, 0, 0, '' FROM pool, account, user", "have arrival 1 in"),
    "activations": ("UPDATE license SET activation_count = 0", "has 0 activations, and 1 are used"),
    "documents": (
        "UPDATE activation SET document = (SELECT document FROM activation ORDER BY id LIMIT 1)",
        "is of accounts/",
    ),
    "documents unread": ("UPDATE activation SET document = x'ffff'", "can not be read"),
    "pools": (
        "UPDATE pool SET activation = 'accounts/a/licenses/l/activations/x'",
        "is at no site",
    ),
    "cloud sessions": ("UPDATE account SET cloud_state = 2", "is open, with device ''"),
    "database file": ("UPDATE lease SET pool = 'gone'", "refers to no pool"),
    "schema": ("UPDATE alembic_version SET version_num = '9999'", "the schema is 9999"),
    "delegation acme": ("UPDATE publisher SET root_public_key = zeroblob(32)", ""),
}


@pytest.fixture(scope="module")
def whole(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with nothing wrong, and no server on it."""
    data = tmp_path_factory.mktemp("whole") / "data"
    assert command("restore", "--data", data, saved)[0] == 0
    assert checked(data) == {}
    return data


@pytest.mark.parametrize("case", PLANTED)
def test_check_finds_what_is_wrong_in_the_database(case: str, whole: Path, tmp_path: Path) -> None:
    statement, said = PLANTED[case]
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    with closing(sqlite3.connect(data / DATABASE)) as rows, rows:
        assert rows.execute(statement).rowcount > 0
    name = case.removesuffix(" twice").removesuffix(" unread").removeprefix("feature ")
    wrong = checked(data)
    assert said in wrong[name]


def test_check_finds_what_is_wrong_with_files(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    data.chmod(0o755)
    (data / "secrets" / "site.key").chmod(0o644)
    assert set(checked(data)) == {"file modes"}
    (data / "secrets" / "site.key").chmod(0o600)
    (data / "secrets" / "site.key").write_text("11" * 32)
    (data / "tls" / "server.pem").write_text("no certificate")
    assert set(checked(data)) == {"site key", "certificate"}
    (data / "secrets" / "signing-acme.key").unlink()
    (data / "tls" / "ca.pem").unlink()
    assert set(checked(data)) == {"secrets", "delegation acme", "certificate", "CA"}
    spoil(data / DATABASE)
    assert "database file" in checked(data)
    (data / DATABASE).write_bytes(b"no database")
    assert "can not be read" in checked(data)["database file"]
    (data / DATABASE).unlink()
    assert "There is no database" in checked(data)["database file"]
    assert "holds no server" in checked(tmp_path)["directory"]


def test_check_prints_a_table(whole: Path) -> None:
    code, said = command("check", "--data", whole)
    assert code == 0
    assert "✓ seats " in said
    assert "leases, of 2 pools" in said


# Into PostgreSQL, and out of it


@pytest.mark.long
def test_a_server_moves_to_postgresql_is_backed_up_there_under_load_and_moves_back(
    world: World, account: str, admin: Api, pool: str, tmp_path: Path
) -> None:
    place = PostgresPlace(databases.server(), own=True)
    on = ("--database", place.where)
    token = world.token("ada")
    held = {lease.name for lease in world.leases(admin, pool)}
    saved = tmp_path / "now"
    assert command("backup", "--data", world.data, saved)[0] == 0
    try:
        data = tmp_path / "moved"
        code, said = command("restore", "--data", data, "--stopped-for", "2h", *on, saved)
        assert code == 0, said
        assert "storage.database" in said
        assert place.server.own.password not in said
        assert not (data / DATABASE).exists()
        assert checked(data, *on) == {}
        again = refused("restore", "--data", tmp_path / "again", *on, saved)
        assert "holds a server already" in again
        assert not (tmp_path / "again").exists()

        twin = Twin(world, data, database=place.where)
        api = Api(twin.address, twin.ca_file.read_bytes(), token)
        load = Load(api, pool)
        load.reach(30)
        kept = list(load.kept)
        assert kept
        done = load.done
        assert command("backup", "--data", data, *on, tmp_path / "b")[0] == 0
        load.reach(done + 10)
        assert checked(data, *on) == {}
        load.stop()
        leases = {lease.name for lease in world.leases(api, pool)}
        api.close()
        twin.stop()
        assert twin.program.log.read_text().find(place.server.own.password) < 0

        back = tmp_path / "back"
        assert command("restore", "--data", back, "--stopped-for", "2h", tmp_path / "b")[0] == 0
        assert checked(back) == {}
        with closing(sqlite3.connect(back / DATABASE)) as rows:
            found = {f"{pool}/leases/{id}" for (id,) in rows.execute("SELECT id FROM lease")}
            assert not rows.execute("SELECT 1 FROM meta WHERE key LIKE 'writer/%'").fetchall()
        assert set(kept) <= found
        assert found & leases
    finally:
        place.clear()
    assert {lease.name for lease in world.leases(admin, pool)} == held


def test_what_can_not_be_reached_is_told_without_its_password(
    world: World, saved: Path, tmp_path: Path
) -> None:
    nowhere = "postgresql://keypeg:s3cret@127.0.0.1:1/keypeg"
    for sentence in (
        refused("restore", "--data", tmp_path / "d", "--database", nowhere, saved),
        refused("backup", "--data", world.data, "--database", nowhere, tmp_path / "b"),
        refused("serve", "--data", world.data, "--database", nowhere),
        checked(world.data, "--database", nowhere)["database"],
    ):
        assert "127.0.0.1" in sentence
        assert "s3cret" not in sentence
    assert not (tmp_path / "d").exists()

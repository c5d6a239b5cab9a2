"""Credential files: made, imported, rotated, reset and removed through the real programs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keypeg.errors import Reason
from keypeg.v1 import cloud_session_service_pb2, credential_service_pb2
from lab.processes import BIN, Program
from lab.world import CLOUD, SITE, Api, Computer, World, request_id
from tests.system.people import Customer, refused

Namer = Callable[[str], str]


class Studio:
    """A customer with a cloud license, and a member's computer that makes credential files."""

    def __init__(self, world: World, customer: Customer, new_name: Namer, folder: Path) -> None:
        self.world, self.customer, self._new_name, self._folder = world, customer, new_name, folder
        self.product = world.product(new_name("daw"), locations=[CLOUD])
        world.license(customer.account, self.product)
        self.owner = world.computer(new_name("owner"), token=customer.member_token)
        self.called = new_name("studio")

    def file(self, *more: str, command: str = "create") -> Path:
        path = self._folder / f"{self._new_name('file')}.keypeg"
        self.keypeg(self.owner, "credential", command, self.called, "--out", str(path), *more)
        return path

    def computer(self) -> Computer:
        """One that knows nothing: no server, no certificates, no token."""
        computer = self.world.computer(self._new_name("pc"), token="")
        for name in ("KEYPEG_SERVER", "KEYPEG_CA_FILE", "KEYPEG_TOKEN"):
            computer.env.pop(name, None)
        return computer

    def keypeg(self, computer: Computer, *argv: str, check: bool = True) -> tuple[int, Any]:
        return self.world.keypeg(computer, *argv, check=check)

    def app(self, computer: Computer, *argv: str) -> Program:
        return self.world.app(self._new_name("app"), computer, self.product, *argv)

    def credential(self) -> dict[str, Any]:
        _, found = self.keypeg(self.owner, "credential", "list")
        return next(one for one in found if one["display_name"] == self.called)


@pytest.fixture
def studio(world: World, customer: Customer, new_name: Namer, tmp_path: Path) -> Studio:
    return Studio(world, customer, new_name, tmp_path)


@pytest.mark.behaviour("CLOUD-16")
def test_an_imported_file_runs_apps_until_a_reset_cuts_off_every_holder(studio: Studio) -> None:
    file = studio.file()
    first, second = studio.computer(), studio.computer()
    for computer in (first, second):
        studio.keypeg(computer, "credential", "import", str(file))
    app = studio.app(first, "--cloud", "open")
    app.expect("running")
    listed = {one["device"] for one in studio.credential()["devices"]}
    assert listed == {first.device.id, second.device.id}
    studio.file(command="reset")
    assert app.expect("stopped", timeout=5)["reason"] == "CREDENTIAL_REVOKED"
    code, _ = studio.keypeg(second, "session", "show", check=False)
    assert code == 4


@pytest.mark.behaviour("CLOUD-17")
def test_of_four_devices_that_start_by_one_file_at_once_one_runs_and_three_are_in_use(
    studio: Studio,
) -> None:
    file = studio.file()
    computers = [studio.computer() for _ in range(4)]
    for computer in computers:
        computer.env["KEYPEG_CREDENTIAL"] = str(file)
    apps = [studio.app(computer, "--cloud", "open") for computer in computers]
    answers = [app.expect(lambda event: event["event"] != "started") for app in apps]
    told = {one.get("reason", "RUNNING"): one for one in answers}
    assert sorted(one.get("reason", "RUNNING") for one in answers) == [
        "CLOUD_SESSION_ELSEWHERE",
        "CLOUD_SESSION_ELSEWHERE",
        "DEVICES_EXHAUSTED",
        "RUNNING",
    ]
    assert "in use on 3 devices" in told["DEVICES_EXHAUSTED"]["sentence"]
    another = computers[answers.index(told["CLOUD_SESSION_ELSEWHERE"])]
    again = studio.app(another, "--cloud", "never")
    _, shown = studio.keypeg(studio.owner, "credential", "active")
    kept_out = computers[answers.index(told["DEVICES_EXHAUSTED"])].device.id
    assert {one["device"] for one in shown} == {one.device.id for one in computers} - {kept_out}
    assert again.expect("stopped")["reason"] == "CLOUD_SESSION_ELSEWHERE"
    runs = apps[answers.index(told["RUNNING"])]
    assert [one["event"] for one in runs.events] == ["started", "running"]


@pytest.mark.long
@pytest.mark.behaviour("CLOUD-16")
def test_the_file_alone_opens_the_cloud_licenses_and_a_reset_cuts_off_every_holder(
    studio: Studio,
) -> None:
    file = studio.file()
    assert file.stat().st_mode & 0o077 == 0
    first, second = studio.computer(), studio.computer()
    for computer in (first, second):
        studio.keypeg(computer, "credential", "import", str(file))
    app = studio.app(first, "--cloud", "open")
    app.expect("running")
    assert len(studio.credential()["devices"]) == 2
    # From the second computer it is moved, and the first is told.
    studio.keypeg(second, "session", "open")
    assert app.expect("stopped")["reason"] == "CLOUD_SESSION_MOVED"
    on_second = studio.app(second, "--cloud", "never")
    on_second.expect("running")

    begun = time.monotonic()
    new = studio.file(command="reset")
    stopped = on_second.expect("stopped", timeout=5)
    assert stopped["reason"] == "CREDENTIAL_REVOKED"
    assert on_second.arrival(stopped) - begun < 1.5  # the command itself takes most of it
    for computer in (first, second):
        code, _ = studio.keypeg(computer, "session", "show", check=False)
        assert code == 4
    assert studio.credential().get("devices", []) == []
    studio.keypeg(second, "credential", "import", str(new))
    again = studio.app(second, "--cloud", "never")
    again.expect("running")
    again.stop()
    # Taken off a shared computer: nothing is left there, and the cloud session is closed.
    studio.keypeg(second, "credential", "remove")
    code, _ = studio.keypeg(second, "session", "show", check=False)
    assert code != 0
    assert studio.credential().get("devices", []) == []


@pytest.mark.long
@pytest.mark.behaviour("CLOUD-16")
def test_a_sealed_file_is_used_once_and_leaves_nothing_and_a_rotated_one_works_in_its_overlap(
    studio: Studio, tmp_path: Path
) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("a passphrase of its own\n")
    file = studio.file("--passphrase-file", str(passphrase), "--devices", "2")
    assert "PRIVATE" not in file.read_text()
    guest = studio.computer()
    code, _ = studio.keypeg(guest, "credential", "import", str(file), check=False)
    assert code == 2, "nobody can be asked"
    sealed = ("credential", "import", str(file), "--passphrase-file", str(passphrase))
    probe = "import keypeg; print(keypeg.CloudSession().open().device)"
    studio.world.lab.run(
        [str(BIN / "keypeg"), *sealed, "--once", "--", str(BIN / "python"), "-c", probe],
        env=guest.env,
    )
    assert studio.credential().get("devices", []) == []
    assert not list(guest.folder.glob("credentials/*"))
    assert not list(guest.folder.glob("tokens/*"))

    old, new = studio.computer(), studio.computer()
    rotated = studio.file("--overlap", "1h", command="rotate")
    studio.keypeg(old, *sealed)
    studio.keypeg(new, "credential", "import", str(rotated))
    studio.keypeg(old, "session", "open")
    assert {one["generation"] for one in studio.credential()["devices"]} == {"1", "2"}
    third = studio.computer()
    code, _ = studio.keypeg(third, "credential", "import", str(rotated), check=False)
    assert code == 5, "two devices, and no more"
    studio.file("--overlap", "0s", command="rotate")
    code, _ = studio.keypeg(old, *sealed, check=False)
    assert code == 4, "the first key is two keys old"


@pytest.mark.long
@pytest.mark.behaviour("CLOUD-16")
def test_a_token_of_a_credential_is_good_for_the_cloud_session_on_its_device_and_for_nothing_else(
    studio: Studio,
) -> None:
    world, account = studio.world, studio.customer.account
    counted = world.product(f"{studio.called}-cad", locations=[SITE])
    world.seats(account, counted, 1)
    computer, other = studio.computer(), studio.computer()
    studio.keypeg(computer, "credential", "import", str(studio.file()))
    refused_app = world.app(f"{studio.called}-cad", computer, counted)
    assert refused_app.expect("stopped")["reason"] in ("PERMISSION_DENIED", "LICENSE_MISSING")

    folder = computer.folder
    probe = (
        "import asyncio, keypeg.profile as p, keypeg.credential_sign_in as c;"
        "print(asyncio.run(c.signed_in(p.load(), p.device_id())).token)"
    )
    token = world.lab.run([str(BIN / "python"), "-c", probe], env=computer.env).stdout.strip()
    api = Api(world.address, world.ca_file.read_bytes(), token)
    cloud = f"{account}/cloudSession"
    api.cloud.GetCloudSession(cloud_session_service_pb2.GetCloudSessionRequest(name=cloud))
    with refused(Reason.PERMISSION_DENIED):  # for another device
        api.cloud.OpenCloudSession(
            cloud_session_service_pb2.OpenCloudSessionRequest(
                name=cloud, request_id=request_id(), device=other.device
            )
        )
    with refused(Reason.PERMISSION_DENIED):  # and for what it is not for
        api.credentials.ListActiveDevices(
            credential_service_pb2.ListActiveDevicesRequest(parent=account)
        )
    with refused(Reason.TOKEN_INVALID):
        Api(world.address, world.ca_file.read_bytes(), token[:-4] + "AAAA").cloud.GetCloudSession(
            cloud_session_service_pb2.GetCloudSessionRequest(name=cloud)
        )
    assert token not in "".join(path.read_text() for path in folder.rglob("*") if path.is_file()), (
        "kept nowhere"
    )
    studio.keypeg(studio.owner, "credential", "delete", studio.called)
    with refused(Reason.CREDENTIAL_REVOKED):
        api.cloud.GetCloudSession(cloud_session_service_pb2.GetCloudSessionRequest(name=cloud))
    api.close()


@pytest.mark.long
@pytest.mark.behaviour("CLOUD-17")
def test_a_license_of_one_runs_on_one_device_and_an_account_is_in_use_on_three(
    studio: Studio,
) -> None:
    file = studio.file("--devices", "10")
    computers = [studio.computer() for _ in range(4)]
    for computer in computers[:3]:
        studio.keypeg(computer, "credential", "import", str(file))
    # However many hold it: one runs, and the others are told who.
    running = studio.app(computers[0], "--cloud", "open")
    running.expect("running")
    for computer in computers[1:3]:
        told = studio.app(computer, "--cloud", "open").expect("stopped")
        assert told["reason"] == "CLOUD_SESSION_ELSEWHERE"
        assert running.running
    # A fourth is refused with the names of the three, and what to do.
    done = studio.world.lab.run(
        [str(BIN / "keypeg"), "credential", "import", str(file)],
        env=computers[3].env,
        check=False,
    )
    assert done.returncode == 5
    assert "3 devices" in done.stderr
    assert "keypeg credential remove" in done.stderr
    assert "wait until" in done.stderr
    _, shown = studio.keypeg(studio.owner, "credential", "active")
    assert {one["device"] for one in shown} == {one.device.id for one in computers[:3]}
    # One that was active before goes on; one place that is given up is free at once.
    studio.keypeg(computers[1], "session", "show")
    studio.keypeg(computers[1], "credential", "remove")
    studio.keypeg(computers[3], "credential", "import", str(file))
    running.stop()
    # The account's own number.
    five = credential_service_pb2.SetActiveDeviceLimitRequest(
        name=studio.customer.account, request_id=request_id(), limit=5
    )
    assert studio.world.publisher.credentials.SetActiveDeviceLimit(five).limit == 5
    with refused(Reason.PERMISSION_DENIED):
        studio.customer.admin.credentials.SetActiveDeviceLimit(five)
    studio.keypeg(computers[1], "credential", "import", str(file))

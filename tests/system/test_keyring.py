"""Tokens in a desktop's keyring: Debian's, on a session bus of its own, with the real programs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keypeg.token_file import IN_KEYRING, Tokens, read
from lab.processes import BIN, Lab
from lab.world import PASSWORD, Computer, World
from tests.system.people import SETTINGS, Customer

Namer = Callable[[str], str]
pytestmark = pytest.mark.long

LOCK = "import secretstorage as s; s.Collection(s.dbus_init()).lock()"


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path) -> World:
    return World(lab, settings=SETTINGS.replace('access = "7d"', 'access = "1s"'), like=made_data)


@pytest.fixture
def customer(world: World) -> Customer:
    login = json.loads((world.data / "secrets" / "publisher-login.json").read_text())
    world.publisher = world.sign_in(login["login"], login["password"])
    return Customer(world)


@pytest.fixture
def desktop(lab: Lab, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a desktop session with an unlocked keyring in a home of its own."""
    if not (shutil.which("gnome-keyring-daemon") and shutil.which("dbus-daemon")):
        pytest.skip("there is no keyring here: apt-get install gnome-keyring dbus")
    if importlib.util.find_spec("keyring") is None:
        pytest.skip("the library keyring is not installed: pip install 'keypeg[keyring]'")
    with tempfile.TemporaryDirectory() as folder:  # the names of sockets are short
        bus = Path(folder) / "bus"
        home = tmp_path / "home"
        home.mkdir()
        session = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": folder,
            "XDG_DATA_HOME": str(home / "data"),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}",
        }
        address = f"--address=unix:path={bus}"
        daemon = lab.start("bus", ["dbus-daemon", "--session", "--nofork", address], env=session)
        deadline, tick = time.monotonic() + 30, threading.Event()
        while not bus.exists():
            assert daemon.running, daemon.tail()
            assert time.monotonic() < deadline, daemon.tail()
            tick.wait(0.01)
        lab.run(
            ["gnome-keyring-daemon", "--unlock", "--components=secrets"],
            env=session,
            stdin="of the desktop",
        )
        yield session
        daemon.stop()  # the keyring ends with its bus


class Desk:
    """A person at a computer of that session."""

    def __init__(self, world: World, session: dict[str, str], name: str, login: str) -> None:
        self.world, self.session, self.login = world, session, login
        self.computer: Computer = world.computer(name)
        self.computer.env |= session | {"KEYPEG_TOKENS": "auto"}

    def keypeg(self, *args: str, stdin: str = "", **env: str) -> tuple[int, str]:
        """Its exit code, and what it said to people."""
        done = self.world.lab.run(
            [str(BIN / "keypeg"), *args],
            env=self.computer.env | env,
            stdin=stdin,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def sign_in(self, *args: str) -> tuple[int, str]:
        return self.keypeg("login", "--login", self.login, *args, stdin=PASSWORD)

    def entry(self) -> Tokens:
        """What another program finds in the keyring."""
        program = [sys.executable, "-m", "keyring", "get", "keypeg"]
        name = f"default of {os.path.realpath(self.computer.folder)}"
        done = self.world.lab.run([*program, name], env=self.session, check=False)
        return read(done.stdout.strip().encode())

    def file(self) -> bytes:
        path = self.computer.folder / "tokens" / "default"
        return path.read_bytes() if path.exists() else b""

    def outlive(self) -> None:
        """Wait until the kept token has ended."""
        threading.Event().wait(max(0.0, self.entry().until - time.time()))

    def token_in_a_file(self) -> list[Path]:
        """The files of home and configuration that hold any token."""
        folders = (Path(self.session["HOME"]), self.computer.folder)
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        assert any(path.suffix == ".keyring" for path in files), "the keyring itself was looked at"
        return [path for path in files if {b"kpa_", b"kpr_"} & _words(path.read_bytes())]


def _words(data: bytes) -> set[bytes]:
    return {word for word in (b"kpa_", b"kpr_") if word in data}


def test_a_sign_in_lives_in_the_keyring_of_the_desktop(
    world: World, customer: Customer, desktop: dict[str, str], new_name: Namer
) -> None:
    desk = Desk(world, desktop, new_name("pc"), customer.member_login)
    code, said = desk.sign_in()
    assert code == 0, said
    assert "The tokens are in the system's keyring." in said
    assert desk.file() == IN_KEYRING
    first = desk.entry()
    assert first.refresh_token.startswith("kpr_")
    assert desk.token_in_a_file() == []

    # Several programs at once refresh once: a second refresh would be a copy that was used.
    desk.outlive()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: desk.keypeg("-o", "json", "whoami"), range(3)))
    assert all(code == 0 and desk.login in said for code, said in answers), answers
    assert desk.entry().refresh_token not in ("", first.refresh_token)
    assert desk.token_in_a_file() == []

    # To a file and back, the sign-in goes on.
    assert desk.keypeg("whoami", KEYPEG_TOKENS="file")[0] == 0
    assert desk.token_in_a_file() == [desk.computer.folder / "tokens" / "default"]
    assert desk.entry() == Tokens("")
    assert desk.keypeg("whoami", KEYPEG_TOKENS="keyring")[0] == 0
    assert desk.token_in_a_file() == []
    assert "in the system's keyring" in desk.keypeg("doctor")[1]

    code, said = desk.keypeg("logout")
    assert code == 0, said
    assert desk.entry() == Tokens("")
    assert desk.file() == b""
    assert desk.keypeg("whoami")[0] == 4


def test_a_locked_keyring_is_told_and_asks_nobody(
    world: World, customer: Customer, desktop: dict[str, str], new_name: Namer
) -> None:
    desk = Desk(world, desktop, new_name("pc"), customer.member_login)
    assert desk.sign_in()[0] == 0
    world.lab.run([sys.executable, "-c", LOCK], env=desktop)
    code, said = desk.keypeg("whoami")
    assert code == 4
    assert "in the system's keyring, and it is locked" in said
    assert "keypeg login --tokens file" in said
    code, said = desk.sign_in("--tokens", "keyring")
    assert code == 2
    assert "it is locked" in said
    code, said = desk.sign_in()
    assert code == 0, said
    assert "There is a keyring of the system, but it is locked." in said
    assert desk.keypeg("whoami")[0] == 0
    nowhere = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={desktop['HOME']}/none"}
    assert desk.keypeg("whoami", **nowhere)[0] == 0, "what is in a file needs no session"


def test_without_its_session_what_is_in_a_keyring_is_told(
    world: World, customer: Customer, desktop: dict[str, str], new_name: Namer
) -> None:
    desk = Desk(world, desktop, new_name("pc"), customer.member_login)
    assert desk.sign_in("--tokens", "keyring")[0] == 0
    for address in ("", "unix:path=/nowhere/bus"):
        code, said = desk.keypeg("whoami", DBUS_SESSION_BUS_ADDRESS=address)
        assert code == 4, said
        assert "in the system's keyring, and there is none in this session" in said
    assert desk.keypeg("whoami")[0] == 0

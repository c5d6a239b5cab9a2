"""Other people's programs for security keys (libfido2's) on the emulated key, through the kernel's HID driver."""

from __future__ import annotations

import base64
import os
import re

import pytest

from tests.bridge.emukey import Emukey
from tests.usb import kernel
from tests.usb.programs import Tools

pytestmark = [pytest.mark.system, pytest.mark.behaviour("KEY-10")]

PIN, OTHER_PIN = "1234", "567890"
RELYING_PARTY = "example.org"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return Tools(tmp_path_factory.mktemp("fido"))


@pytest.fixture
def node(usb_key: Emukey) -> str:
    [key] = kernel.plugged_in()
    return str(key.node)


class Account:
    """A credential of somebody at the relying party, and what the tools need to use it."""

    def __init__(self, tools: Tools, name: str) -> None:
        self.tools = tools
        self.name = name
        self.id = ""

    def request(self) -> str:
        """The file that asks for a credential."""
        lines = [encoded(os.urandom(32)), RELYING_PARTY, self.name, encoded(self.name.encode())]
        self._write("request", *lines)
        return self._file("request")

    def make(self, node: str, *options: str, kind: str = "es256", pin: str = "") -> None:
        """Have the key make it, and the tool verify what the key says."""
        words = ("fido2-cred", "-M", *options, "-i", self.request(), "-o", self._file("made"), node, kind)  # fmt: skip
        if pin:
            self.tools.asked(*words, answers=[pin])
        else:
            self.tools.run(*words)
        flags = [one for one in options if one in ("-h", "-v")]
        if "-u" not in options:
            verify = ("fido2-cred", "-V", *flags, "-i", self._file("made"), "-o", self._file("verified"), kind)  # fmt: skip
            self.tools.run(*verify)
            self.id, *key = self._read("verified")
            self._write("key", *key)

    def use(self, node: str, *options: str, kind: str = "es256", pin: str = "", salt: str = "", verify: tuple[str, ...] = ()) -> list[str]:  # fmt: skip
        """Have the key sign, and the tool verify it; what the key said."""
        named = [] if "-r" in options else [self.id]
        lines = [encoded(os.urandom(32)), RELYING_PARTY, *named, *([salt] if salt else [])]
        self._write("question", *lines)
        words = ("fido2-assert", "-G", *options, "-i", self._file("question"), "-o", self._file("answer"), node)  # fmt: skip
        if pin:
            self.tools.asked(*words, answers=[pin])
        else:
            self.tools.run(*words)
        self.tools.run("fido2-assert", "-V", *verify, "-i", self._file("answer"), self._file("key"), kind)  # fmt: skip
        return self._read("answer")

    def _file(self, what: str) -> str:
        return f"{self.name}.{what}"

    def _write(self, what: str, *lines: str) -> None:
        (self.tools.folder / self._file(what)).write_text("".join(f"{line}\n" for line in lines))

    def _read(self, what: str) -> list[str]:
        return (self.tools.folder / self._file(what)).read_text().splitlines()


def test_the_key_is_listed_and_says_what_it_can(tools: Tools, node: str) -> None:
    assert f"{node}: vendor=0x1209, product=0x0001" in tools.run("fido2-token", "-L")
    said = tools.run("fido2-token", "-I", node)
    for line in (
        "proto: 0x02",
        "version strings: U2F_V2, FIDO_2_0, FIDO_2_1_PRE, FIDO_2_1",
        "extension strings: credProtect, hmac-secret, largeBlobKey",
        "transport strings: usb",
    ):
        assert line in said
    assert re.search(r"options: .*noclientPin", said)


def test_credentials_are_made_and_sign(tools: Tools, node: str) -> None:
    for kind in ("es256", "eddsa"):
        account = Account(tools, f"anna-{kind}")
        account.make(node, kind=kind)
        account.use(node, "-p", kind=kind, verify=("-p",))
        account.use(node, "-t", "up=false", kind=kind)


def test_the_key_keeps_a_secret_for_each_salt(tools: Tools, node: str) -> None:
    account = Account(tools, "berta")
    account.make(node, "-h")
    salts = [encoded(bytes([n]) * 32) for n in (1, 1, 2)]
    one, same, other = (
        account.use(node, "-h", "-p", salt=s, verify=("-h", "-p"))[-1] for s in salts
    )
    assert one == same != other
    assert len(base64.b64decode(one)) == 32


def test_it_speaks_u2f(tools: Tools, node: str) -> None:
    account = Account(tools, "carl")
    account.make(node, "-u")
    # The tool verifies no U2F registrations of its own making; what was registered signs.
    lines = (tools.folder / "carl.made").read_text().splitlines()
    assert lines[2] == "fido-u2f"


def test_a_pin_guards_what_the_key_remembers(usb_key: Emukey, tools: Tools, node: str) -> None:
    tools.asked("fido2-token", "-S", node, answers=[PIN, PIN])
    assert "clientPin" in tools.run("fido2-token", "-I", node)
    tools.asked("fido2-token", "-C", node, answers=["9999", OTHER_PIN, OTHER_PIN], fails=True)
    assert "pin retries: 7" in tools.run("fido2-token", "-I", node)
    tools.asked("fido2-token", "-C", node, answers=[PIN, OTHER_PIN, OTHER_PIN])
    assert "pin retries: 8" in tools.run("fido2-token", "-I", node)

    account = Account(tools, "dora")
    account.make(node, "-r", "-b", "-v", pin=OTHER_PIN)
    account.use(node, "-r", "-p", "-v", pin=OTHER_PIN, verify=("-p", "-v"))
    listed = tools.asked("fido2-token", "-L", "-r", node, answers=[OTHER_PIN])
    assert RELYING_PARTY in listed
    names = tools.asked("fido2-token", "-L", "-k", RELYING_PARTY, node, answers=[OTHER_PIN])
    assert encoded(b"dora") in names or "dora" in names
    counted = tools.asked("fido2-token", "-I", "-c", node, answers=[OTHER_PIN])
    assert "existing rk(s): 1" in counted

    (tools.folder / "blob").write_bytes(b"something to keep")
    blob = ("-b", "-n", RELYING_PARTY)
    tools.asked("fido2-token", "-S", *blob, "blob", node, answers=[OTHER_PIN])
    tools.asked("fido2-token", "-G", *blob, "back", node, answers=[OTHER_PIN])
    assert (tools.folder / "back").read_bytes() == b"something to keep"
    tools.asked("fido2-token", "-D", *blob, node, answers=[OTHER_PIN])

    tools.asked("fido2-token", "-D", "-i", account.id, node, answers=[OTHER_PIN])
    counted = tools.asked("fido2-token", "-I", "-c", node, answers=[OTHER_PIN])
    assert "existing rk(s): 0" in counted


def test_a_wrong_pin_is_refused_after_three_tries_until_it_is_plugged_in_anew_and_a_reset_forgets_it(
    usb_key: Emukey, tools: Tools, node: str
) -> None:
    for _ in range(3):
        tools.asked("fido2-token", "-L", "-r", node, answers=["0000"], fails=True)
    blocked = tools.asked("fido2-token", "-L", "-r", node, answers=[OTHER_PIN], fails=True)
    assert "FIDO_ERR_PIN_AUTH_BLOCKED" in blocked
    usb_key.unplug()
    kernel.all_gone()
    usb_key.plug()
    [key] = kernel.plugged_in()
    tools.run("fido2-token", "-R", str(key.node))  # within 10 s of plugging it in
    assert "noclientPin" in tools.run("fido2-token", "-I", str(key.node))

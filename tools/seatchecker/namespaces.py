"""Networks of their own for the programs of a run: Linux network namespaces, wired to one bridge device.

Promises: what `cut` takes off the bridge loses every packet silently, both ways, until it is healed: nobody is told,
connections stay, and what was sent is sent again by TCP. All of it is inside a namespace of the run's own, so that
nothing is changed on the computer and nothing is left behind. Refusals say what this computer does not allow.

Leaves to others: who is put where (run, adapters). Needs Linux with iproute2 and util-linux, and the right to make
namespaces: root's, or that of unprivileged user namespaces.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MARK: Final = "SEATCHECK_NETWORK"
"""Set in a process that runs in a network of its own; its value says how that was made."""

HUB: Final = "198.18.0.1"  # of the range for tests of networks (RFC 2544)
BRIDGE: Final = "hub"
TRIES: Final[dict[str, tuple[str, ...]]] = {
    "root": ("unshare", "--net"),
    "user": ("unshare", "--user", "--map-root-user", "--net"),
}


class NotAllowed(Exception):
    """This computer makes no namespaces: one sentence, for people."""


def inside() -> bool:
    """Whether this process is in a network that was made for it."""
    return bool(os.environ.get(MARK))


def enter(argv: Sequence[str]) -> None:
    """Begin the program again in a network of its own; NotAllowed when there can be none.

    Does not return otherwise.
    """
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            raise NotAllowed(f"there is no program `{tool}` here (Debian: util-linux, iproute2)")
    why = ""
    for name, under in TRIES.items():
        tried = subprocess.run(
            [*under, "ip", "link", "add", "name", BRIDGE, "type", "bridge"],
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.returncode == 0:
            os.environ[MARK] = name
            os.execvp(under[0], [*under, *argv])
        why = tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else "not allowed"
    raise NotAllowed(f"this computer makes no network namespaces ({why})")


class Namespaces:
    """The bridge device in this process's network, and the namespaces that are wired to it."""

    def __init__(self) -> None:
        if not inside():
            raise NotAllowed("the run is not in a network of its own")
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._wires: dict[str, str] = {}  # by name: the end of its wire at the bridge
        self._addresses: dict[str, str] = {}
        self._numbers = itertools.count(2)
        _ip("link", "set", "lo", "up")
        if not Path("/sys/class/net", BRIDGE).exists():
            _ip("link", "add", "name", BRIDGE, "type", "bridge")
        # Else it has the least of its wires' addresses, and changes it unheard when a wire comes or goes.
        _ip("link", "set", BRIDGE, "address", "02:00:c6:12:00:01")
        _ip("addr", "replace", f"{HUB}/16", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")

    def add(self, name: str) -> str:
        """A namespace with one wire to the bridge; its address. One of the same name is replaced."""
        self.remove(name)
        number = next(self._numbers)
        address = f"198.18.{number // 250}.{number % 250 + 2}"
        wire = f"wire{number}"
        holder = subprocess.Popen(
            # `cat` waits for the end of its input: the namespace lives no longer than this process.
            ["unshare", "--net", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._holders[name] = holder
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            raise NotAllowed("a further network namespace was refused")
        _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", str(holder.pid))
        _ip("link", "set", wire, "master", BRIDGE, "up")
        within = self.under(name)
        for command in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{address}/16", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            _ip(*command, under=within)
        self._wires[name] = wire
        self._addresses[name] = address
        return address

    def under(self, name: str) -> tuple[str, ...]:
        """What starts a program in that namespace."""
        return ("nsenter", f"--net=/proc/{self._holders[name].pid}/ns/net", "--")

    def has(self, name: str) -> bool:
        """Whether there is one of that name."""
        return name in self._wires

    def cut(self, name: str) -> None:
        """Lose every packet from and to it."""
        _ip("link", "set", self._wires[name], "nomaster")

    def heal(self, name: str) -> None:
        """Carry its packets again."""
        _ip("link", "set", self._wires[name], "master", BRIDGE)

    def address(self) -> str:
        """A further address of the run's own, for a program whose answers may be lost."""
        number = next(self._numbers)
        address = f"198.18.{number // 250}.{number % 250 + 2}"
        _ip("addr", "add", f"{address}/32", "dev", BRIDGE)
        return address

    def mute(self, source: str, name: str) -> None:
        """Lose what that address of the run's own says to it; what it says itself arrives."""
        _ip("rule", "add", *self._said(source, name))

    def hear(self, source: str, name: str) -> None:
        """Carry that again."""
        _ip("rule", "del", *self._said(source, name))

    def _said(self, source: str, name: str) -> tuple[str, ...]:
        return ("from", source, "to", f"{self._addresses[name]}/32", "blackhole")

    def remove(self, name: str) -> None:
        """Take the wire away for good: what is still under way is lost."""
        if wire := self._wires.pop(name, ""):
            _ip("link", "del", wire)
        if holder := self._holders.pop(name, None):
            _end(holder)

    def close(self) -> None:
        """End all of them."""
        for holder in self._holders.values():
            _end(holder)
        self._holders.clear()
        self._wires.clear()


def restart_inside() -> str:
    """Run this program in a network of its own; returns why it can not be, or how it was done."""
    if inside():
        return ""
    try:
        enter([sys.executable, *sys.argv])
    except NotAllowed as refusal:
        return str(refusal)
    raise AssertionError("another program runs here now")


def _ip(*command: str, under: Sequence[str] = ()) -> None:
    done = subprocess.run(
        [*under, "ip", *command], capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode:
        raise NotAllowed(f"`ip {' '.join(command)}` was refused: {done.stderr.strip()}")


def _end(holder: subprocess.Popen[bytes]) -> None:
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.close()
    holder.wait(10)
    holder.stdout.close()

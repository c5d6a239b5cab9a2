"""The distribution's card service (pcscd) for one test: in a room of its own, or as the computer's.

Promises: in a room of its own, it has run files, a network and readers that nobody else sees, and nobody else's service is
seen by it; it is ready when its readers are; it ends with the `with` block. Its readers there are vsmartcard's virtual ones.

Leaves to others: the cards (keypeg-emukey --vpicc), and the programs that speak to them, which are to be started `under` it.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lab.processes import LabError

PCSCD: Final = "/usr/sbin/pcscd"
READER: Final = Path("/usr/lib/pcsc/drivers/serial/libifdvpcd.so")
VPCD: Final = "127.0.0.1:35963"  # by vsmartcard's own configuration
READY: Final = b"daemon ready"
READY_SECONDS: Final = 20.0
END_SECONDS: Final = 10.0
TRIES: Final = (
    ("unshare", "--mount", "--net"),
    ("unshare", "--user", "--map-root-user", "--mount", "--net"),
)
# What makes the room: nobody else's run files, a loopback interface of its own; then it waits to be ended.
ROOM: Final = """
import fcntl, socket, struct, subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "room", "/run"], check=True)
any_socket = socket.socket()
fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x8 | 0x40))  # SIOCSIFFLAGS: up, loopback, running
print("ready", flush=True)
sys.stdin.read()
"""


def missing() -> list[str]:
    """The Debian packages that a card service with virtual readers wants and this computer lacks."""
    there = {
        "pcscd": Path(PCSCD).exists(),
        "vsmartcard-vpcd": READER.exists(),
        "util-linux": shutil.which("unshare") is not None and shutil.which("nsenter") is not None,
    }
    return [package for package, present in there.items() if not present]


@contextlib.contextmanager
def room() -> Iterator[tuple[str, ...]]:
    """A room of its own; what starts programs in it."""
    holder, how = _holder()
    try:
        ways = ["--mount", "--net"] + (
            ["--user", "--preserve-credentials"] if "--user" in how else []
        )
        yield ("nsenter", f"--target={holder.pid}", *ways, "--")
    finally:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.close()
        holder.wait(END_SECONDS)
        holder.stdout.close()


def _holder() -> tuple[subprocess.Popen[bytes], Sequence[str]]:
    said = ""
    for how in TRIES:
        holder = subprocess.Popen(
            [*how, sys.executable, "-c", ROOM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert holder.stdout is not None
        if holder.stdout.readline() == b"ready\n":
            return holder, how
        said = holder.communicate(timeout=END_SECONDS)[1].decode().strip()
    raise LabError(f"this computer makes no namespaces: {said}")


class _Listener:
    """Reads what a program says, so that it never waits to say it."""

    def __init__(self, program: subprocess.Popen[bytes]) -> None:
        self.said: deque[bytes] = deque(maxlen=50)
        self._program = program
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._read, name="read-pcscd", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            self.said.append(line)
            if READY in line:
                self._ready.set()
        self._ready.set()

    def wait(self) -> None:
        """Until it is ready."""
        heard = self._ready.wait(READY_SECONDS)
        if not heard or self._program.poll() is not None:
            text = b"".join(self.said).decode(errors="replace")
            raise LabError(f"pcscd was not ready in {READY_SECONDS:.0f} s: {text}")

    def join(self) -> None:
        """Until it has said its last."""
        self._thread.join(END_SECONDS)


@contextlib.contextmanager
def card_service(under: Sequence[str] = ()) -> Iterator[None]:
    """The service, ready; in the room that `under` starts programs in."""
    words = [*under, "sh", "-c", f"mkdir -p /run/pcscd && exec {PCSCD} --foreground --info"]
    service = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    listener = _Listener(service)
    try:
        listener.wait()
        yield
    except BaseException:
        sys.stderr.write(b"".join(listener.said).decode(errors="replace"))
        raise
    finally:
        service.terminate()
        try:
            service.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait(END_SECONDS)
        listener.join()
        assert service.stdout is not None
        service.stdout.close()

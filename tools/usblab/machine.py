"""One boot of the guest: its initial file system, the emulator's command line, its output line by line, its end.

Promises: the guest reads this computer's files and writes only to the output folder; it has no network; it is emulated, never
accelerated (an accelerator that does not work is worse than none); it ends by `limit`, by being killed if need be.

Leaves to others: the packages (packages.py), and what runs in the guest (the caller).
"""

from __future__ import annotations

import selectors
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from usblab import modules
from usblab.cpio import Archive
from usblab.packages import Store

QEMU: Final = "qemu-system-x86_64"
MEMORY: Final = "2048"  # MiB
# The fewest extensions that the distribution is built for: an emulator makes each wide vector instruction of many, and
# libraries that find such take them. Random numbers, as the kernel waits for those.
PROCESSOR: Final = "qemu64,+rdrand"
_STATUS_OFFSET: Final = 16  # see `last`
_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Ended:
    """How a boot ended: the exit status of what ran in the guest, None when there is none, and the time from power-on."""

    status: int | None
    seconds: float


def initial_files(store: Store, repository: Path, script: str) -> bytes:
    """The guest's initial file system; `script` is run by a shell once its root is complete."""
    archive = Archive()
    busybox = store.root / "usr" / "bin" / "busybox"
    archive.file("init", (_FOLDER / "init").read_bytes(), executable=True)
    archive.file("job/last", (_FOLDER / "last").read_bytes())
    archive.file("bin/busybox", busybox.read_bytes(), executable=True)
    order = modules.in_order(store.modules)
    for path in order:
        archive.file(f"job/modules.d/{path.name}", path.read_bytes())
    archive.file("job/modules", "".join(f"{path.name}\n" for path in order).encode())
    archive.file("job/repository", f"{repository}\n".encode())
    archive.file("job/run", script.encode())
    return bytes(archive)


def command(store: Store, initial: Path, out: Path, cores: int) -> list[str]:
    """The emulator's command line."""
    folders = [  # tag, folder, whether it may be written to
        ("host", Path("/"), False),
        ("packages", store.root, False),
        ("out", out, True),
    ]
    shared = []
    for tag, folder, writable in folders:
        ways = "security_model=none,multidevs=remap" + ("" if writable else ",readonly=on")
        shared += ["-fsdev", f"local,id={tag},path={folder},{ways}"]
        shared += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    return [
        QEMU,
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
        "-machine", "q35,accel=tcg", "-cpu", PROCESSOR, "-smp", str(cores), "-m", MEMORY,
        "-kernel", str(store.kernel), "-initrd", str(initial),
        "-append", "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off random.trust_cpu=on",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
        "-device", "virtio-rng-pci",
        *shared,
    ]  # fmt: skip


def boot(words: Sequence[str], limit: float, show: Callable[[bytes], None]) -> Ended:
    """Run the emulator until the guest ends it; its console goes to `show` as it comes."""
    begun = time.monotonic()
    machine = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert machine.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(machine.stdout, selectors.EVENT_READ)
            while (left := begun + limit - time.monotonic()) > 0:
                if selector.select(min(left, 1)):
                    said = machine.stdout.read1(65_536)  # type: ignore[attr-defined] # a BufferedReader
                    if not said:
                        break
                    show(said)
        code = machine.wait(10 if left > 0 else 0.1)
    except subprocess.TimeoutExpired:
        return Ended(None, time.monotonic() - begun)
    finally:
        if machine.poll() is None:
            machine.kill()
            machine.wait()
        machine.stdout.close()
    status = (code - 1) // 2 - _STATUS_OFFSET if code & 1 else -1
    return Ended(status if status >= 0 else None, time.monotonic() - begun)

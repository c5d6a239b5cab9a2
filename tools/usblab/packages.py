"""What the guest has that this computer may lack: the distribution's kernel and programs, unpacked and never installed.

Promises: needs no privileges and changes nothing outside its folder; downloads each version once, through apt, and works
without a network after that; a failed download says what was wanted.

Leaves to others: what is done with the files (machine.py), and the host's own needs (`NEEDED`, checked by tools/usb_lab).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from usblab import kernel_image

KERNEL: Final = (
    "linux-image-amd64"  # stands for the newest kernel package; the cloud flavour has no USB
)
PROGRAMS: Final = (
    "busybox-static",
    "fido2-tools",
    "libccid",
    "opensc",
    "pcsc-tools",
    "pcscd",
    "udev",
    "ykcs11",
    "yubico-piv-tool",
)
# Directories that are links since the distribution merged them; packages still carry them as directories.
MERGED: Final = ("bin", "lib", "lib64", "sbin")


class PackageError(Exception):
    """A package could not be had; the text is a sentence for people."""


class Store:
    """A folder with downloaded packages and what is in them."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.root = folder / "root"
        self.kernel_root = folder / "kernel"
        self._archives = folder / "archives"
        self._stamp = folder / "unpacked.txt"
        self._say = say

    def prepare(self) -> None:
        """Have everything unpacked; nothing to do when it is."""
        if self._current():
            return
        kernel = _kernel_package()
        programs = _wanted(PROGRAMS)
        self._archives.mkdir(parents=True, exist_ok=True)
        for name in (kernel, *programs):
            self._download(name)
        for place in (self.root, self.kernel_root):
            shutil.rmtree(place, ignore_errors=True)
            for one in MERGED:
                (place / "usr" / one).mkdir(parents=True, exist_ok=True)
                (place / one).symlink_to(f"usr/{one}")
        self._unpack(self._archive(kernel), self.kernel_root, "./boot", "./lib/modules")
        for name in programs:
            self._unpack(self._archive(name), self.root)
        packed = next((self.kernel_root / "boot").glob("vmlinuz-*"))
        if (unpacked := kernel_image.unpacked(packed.read_bytes())) is not None:
            packed.with_name(packed.name.replace("vmlinuz", "vmlinux")).write_bytes(unpacked)
        self._stamp.write_text(_asked())

    @property
    def kernel(self) -> Path:
        """The kernel's image; the unpacked one, where it could be."""
        return min((self.kernel_root / "boot").glob("vmlinu[xz]-*"))

    @property
    def modules(self) -> Path:
        """The folder of the kernel's modules, named for its release."""
        return next((self.kernel_root / "usr" / "lib" / "modules").iterdir())

    def _current(self) -> bool:
        return self._stamp.is_file() and self._stamp.read_text() == _asked()

    def _archive(self, package: str) -> Path:
        name, _, version = package.partition("=")
        found = sorted(self._archives.glob(f"{name}_{version.replace(':', '%3a')}*.deb"))
        if not found:
            raise PackageError(f"apt-get downloaded no archive of {package} to {self._archives}.")
        return found[-1]

    def _download(self, package: str) -> None:
        try:
            self._archive(package)
        except PackageError:
            self._say(f"downloading {package}")
            _apt("apt-get", "download", "-qq", package, cwd=self._archives)

    def _unpack(self, archive: Path, place: Path, *members: str) -> None:
        """Unpack into a folder whose merged directories are links."""
        self._say(f"unpacking {archive.name}")
        packed = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE)
        tar = [
            "tar",
            "-x",
            "--keep-directory-symlink",
            "--no-same-owner",
            "-C",
            str(place),
            *members,
        ]
        done = subprocess.run(tar, stdin=packed.stdout, capture_output=True, text=True)
        if packed.wait() != 0 or done.returncode != 0:
            raise PackageError(f"{archive} cannot be unpacked: {done.stderr.strip()}")


def _asked() -> str:
    """What the unpacked files were made from: this file."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest() + "\n"


def _kernel_package() -> str:
    """The package that the newest kernel is in."""
    found = re.search(r"Depends: (linux-image-\S+)", _apt("apt-cache", "depends", KERNEL))
    if found is None:
        raise PackageError(
            f"apt knows no kernel {KERNEL}. Run `apt-get update` first; it needs Debian's packages."
        )
    return found[1]


def _wanted(programs: Sequence[str]) -> list[str]:
    """These programs and what they need beyond what is installed, as `name=version`; the asked ones in any case."""
    said = _apt(
        "apt-get", "install", "--print-uris", "-qq", "--reinstall", "--no-install-recommends",
        "-o", "Debug::NoLocking=1", *programs,
    )  # fmt: skip
    names = re.findall(r"^'\S+' (\S+?)_(\S+?)_\S+\.deb ", said, re.MULTILINE)
    return [f"{name}={version.replace('%3a', ':')}" for name, version in names]


def _apt(*words: str, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=600)
    except FileNotFoundError as error:
        raise PackageError(
            f"{words[0]} is missing: this tool takes kernel and programs from Debian's packages."
        ) from error
    if done.returncode:
        raise PackageError(
            f"`{' '.join(words)}` failed: {done.stderr.strip()} Run `apt-get update` first."
        )
    return done.stdout

"""Which kernel modules go into the guest, and in which order they can be loaded, from what the modules say themselves.

Promises: gives each module after those that it needs; a module that is built into the kernel is passed over, and one that
the kernel does not have at all is an error with its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

WANTED: Final = (
    "virtio_pci",
    "virtio_rng",
    "9pnet_virtio",
    "9p",
    "overlay",
    "hid_generic",
    "usbhid",
    "vhci_hcd",
)


class ModuleMissing(Exception):
    """The kernel has no such module; the text is a sentence for people."""


def name_of(path: Path | str) -> str:
    """A module's name: its file's, in which - and _ are the same."""
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def needs(content: bytes) -> list[str]:
    """The modules that a module says it needs."""
    found = re.search(rb"(?:^|\x00)depends=([^\x00]*)\x00", content)
    words = found[1].decode().split(",") if found else []
    return [word.replace("-", "_") for word in words if word]


def in_order(folder: Path, wanted: Iterable[str] = WANTED) -> list[Path]:
    """The files to load, one after the other; `folder` is one release's below /lib/modules."""
    files = {name_of(path): path for path in folder.rglob("*.ko")}
    built_in = {name_of(line) for line in (folder / "modules.builtin").read_text().split()}
    order: list[Path] = []

    def add(name: str) -> None:
        if name in built_in:
            return
        if name not in files:
            raise ModuleMissing(f"The kernel in {folder} has no module {name}.")
        if files[name] not in order:
            for needed in needs(files[name].read_bytes()):
                add(needed)
            order.append(files[name])

    for name in wanted:
        add(name)
    return order

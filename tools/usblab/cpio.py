"""An initial file system for a Linux kernel: the cpio format that it unpacks (newc), written without any program."""

from __future__ import annotations

import stat
from typing import Final

_TRAILER: Final = "TRAILER!!!"


class Archive:
    """Collects files; `bytes(archive)` is what the kernel takes."""

    def __init__(self) -> None:
        self._written = bytearray()
        self._inode = 0
        self._folders: set[str] = set()

    def file(self, path: str, content: bytes, *, executable: bool = False) -> None:
        """A regular file, with the directories above it."""
        self._above(path)
        self._entry(path, stat.S_IFREG | (0o755 if executable else 0o644), content)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._above(path)
        self._entry(path, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, path: str) -> None:
        """An empty directory."""
        self._above(path)
        if path not in self._folders:
            self._folders.add(path)
            self._entry(path, stat.S_IFDIR | 0o755, b"")

    def __bytes__(self) -> bytes:
        end = Archive()
        end._entry(_TRAILER, 0, b"")
        return bytes(self._written + end._written)

    def _above(self, path: str) -> None:
        above, slash, _ = path.rpartition("/")
        if slash:
            self.folder(above)

    def _entry(self, path: str, mode: int, content: bytes) -> None:
        self._inode += 1
        name = path.encode() + b"\x00"
        fields = (
            self._inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0,
        )  # fmt: skip
        head = b"070701" + b"".join(b"%08x" % field for field in fields)
        self._padded(head + name)
        self._padded(content)

    def _padded(self, data: bytes) -> None:
        self._written += data + bytes(-len(data) % 4)

"""hidapi's module, as its `hidraw` flavour behaves on Linux, with keys that tests plug in and out."""

from __future__ import annotations

import queue
from collections.abc import Callable
from typing import Any

Answering = Callable[[bytes], list[bytes]]
"""What a key does with a report: the reports that it sends back."""


class Key:
    """A plugged-in interface."""

    def __init__(self, path: bytes, node: int, answering: Answering, **facts: Any) -> None:
        self.path = path
        self.node = node
        self.answering = answering
        self.plugged = True
        self.allowed = True
        self.held = False
        self.opened: list[Device] = []
        self.facts = {
            "path": path,
            "vendor_id": 0x1209,
            "product_id": 0x0001,
            "manufacturer_string": "ACME",
            "product_string": "ACME key",
            "serial_number": "",
            "usage_page": 0xF1D0,
            "usage": 1,
            "interface_number": 0,
            **facts,
        }


class Device:
    """`hidraw.device`."""

    def __init__(self, library: HidLibrary) -> None:
        self._library = library
        self._key: Key | None = None
        self._reports: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def open_path(self, path: bytes) -> None:
        key = self._library.at(path)
        if key is None or not key.plugged or not key.allowed or key.held:
            raise OSError("open failed")
        self._key = key
        key.opened.append(self)

    def write(self, data: bytes) -> int:
        if self._key is None:
            raise ValueError("not open")
        if not self._key.plugged:
            return -1  # and no exception
        assert data[:1] == b"\x00", "the number of the report comes first"
        for report in self._key.answering(bytes(data[1:])):
            self._reports.put(report)
        return len(data)

    def read(self, size: int, timeout_ms: int) -> list[int]:
        if self._key is None:
            raise ValueError("not open")
        try:
            report = self._reports.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            return []
        if report is None:
            self._reports.put(None)
            raise OSError("read error")
        return list(report[:size])

    def close(self) -> None:
        self._key = None

    def pull(self) -> None:
        """Its key was unplugged: whoever reads is woken up."""
        self._reports.put(None)


class HidLibrary:
    """The module."""

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.stale: list[Key] = []
        self.problem: OSError | None = None
        self.asked = 0
        self._nodes = 100

    def at(self, path: bytes) -> Key | None:
        return next((one for one in self.keys if one.path == path), None)

    def plug(self, answering: Answering, path: bytes = b"/dev/hidraw3", **facts: Any) -> Key:
        self._nodes += 1
        key = Key(path, self._nodes, answering, **facts)
        self.keys.append(key)
        return key

    def pull(self, key: Key, *, listed: bool = False) -> None:
        """Unplug; with `listed` the library shows it still, as it sometimes does."""
        key.plugged = False
        self.keys.remove(key)
        if listed:
            self.stale.append(key)
        for device in key.opened:
            device.pull()

    def node(self, path: bytes) -> int | None:
        """The inode of a path, as `os.stat` tells it."""
        key = self.at(path)
        return key.node if key else None

    def nodes(self) -> frozenset[tuple[bytes, int]]:
        """What stands in /dev."""
        return frozenset((one.path, one.node) for one in self.keys)

    def may_open(self, path: bytes) -> bool:
        key = self.at(path)
        return key is not None and key.allowed

    def enumerate(self) -> list[dict[str, Any]]:
        self.asked += 1
        if self.problem is not None:
            raise self.problem
        return [dict(one.facts) for one in (*self.keys, *self.stale)]

    def device(self) -> Device:
        return Device(self)

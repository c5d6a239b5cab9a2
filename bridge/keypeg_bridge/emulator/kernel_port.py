"""`--vhci`: emulated keys in this computer's own Linux kernel, through its virtual host controller (module vhci-hcd).

Promises: needs no network: the kernel gets one end of a socket pair; a key that is plugged in is a USB device of the system's,
and unplugging it takes it away at once; a kernel that cannot take it is an error that says what to do.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.usbip_bus import Bus, Port
from keypeg_bridge.emulator.usbip_server import transfers
from keypeg_bridge.wire import usb, usbip
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ServerDecoder

CONTROLLER: Final = Path("/sys/devices/platform/vhci_hcd.0")
_FREE: Final = "004"  # VDEV_ST_NULL in the kernel's drivers/usb/usbip/usbip_common.h
_HIGH_SPEED_HUB: Final = "hs"  # and every speed below

_log = logging.getLogger(__name__)


def free_port(status: str) -> int | None:
    """The number of a free port in the text of a `status` file; None when all are taken.

    Its lines are `hub port sta spd dev sockfd local_busid`, after one of headings.
    """
    for line in status.splitlines():
        match line.split():
            case [hub, number, state, *_] if hub == _HIGH_SPEED_HUB and state == _FREE:
                if number.isdecimal():
                    return int(number)
    return None


@dataclass(frozen=True, slots=True)
class Controller:
    """The kernel's virtual host controller as files."""

    folder: Path = CONTROLLER

    def attach(self, device: usbip.Device, end: socket.socket) -> int:
        """Give the kernel its end of a connection to a device; the port that it took."""
        number = self._free()
        line = f"{number} {end.fileno()} {device.device_id} {usb.SPEED_FULL}"
        try:
            (self.folder / "attach").write_text(line)
        except OSError as error:
            raise EmulatorError(
                f"The kernel did not take the key: {error.strerror}. {_advice(error)}"
            ) from error
        return number

    def _free(self) -> int:
        """A free port, over all controllers: their tables are in the first one's folder."""
        try:
            tables = [path.read_text() for path in sorted(self.folder.glob("status*"))]
        except OSError as error:
            raise EmulatorError(
                f"Cannot read {self.folder}: {error.strerror}. {_advice(error)}"
            ) from error
        if not tables:
            raise EmulatorError(
                "This kernel has no virtual USB host controller. Load it with `modprobe vhci-hcd`, as root;"
                " Linux has it as a module of its own."
            )
        numbers = [number for table in tables if (number := free_port(table)) is not None]
        if not numbers:
            raise EmulatorError(
                "All ports of the virtual USB host controller are taken. Unplug something first."
            )
        return numbers[0]


def _advice(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Only root may plug virtual USB devices in, and not in a container."
    return "Its log (`dmesg`) says why."


class KernelPorts:
    """Plugs the keys of a bus into the kernel."""

    def __init__(self, bus: Bus, controller: Controller) -> None:
        self._bus = bus
        self._controller = controller
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> str:
        """Plug in what is plugged in, and from now on whatever will be; where."""
        for port in self._bus.plugged:
            self._plugged(port)
        self._bus.plugged_in = self._plugged
        return str(self._controller.folder)

    async def close(self) -> None:
        """Take all out."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _plugged(self, port: Port) -> None:
        device = port.describe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            number = self._controller.attach(device, theirs)
        except EmulatorError:
            ours.close()
            raise
        finally:
            theirs.close()  # the kernel holds it by itself
        _log.info("plugged into port %s of the kernel", number)
        task = asyncio.create_task(self._carry(port, device.device_id, ours))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, port: Port, device_id: int, ours: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            # Unplugged meanwhile, and perhaps plugged in again: that is another connection's.
            if port.describe().device_id != device_id:
                return
            if port.attach(writer.transport) == usbip.STATUS_OK:
                await transfers(reader, writer, ServerDecoder(True), port, device_id)
        except MalformedFrame as error:
            _log.warning("the kernel sent what is no USB/IP: %s", error)
        except OSError as error:
            _log.info("the kernel let go: %s", error)
        finally:
            port.detach(writer.transport)
            writer.close()

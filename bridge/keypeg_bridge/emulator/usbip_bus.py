"""The sockets that emulated keys are plugged into.

Promises: unplugging closes the importer's connection at once. One importer a key.

Leaves to others: the port on which the keys are served (usbip_server.py), what a key answers (attachment.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.usb_device import UsbKey
from keypeg_bridge.wire import usb, usbip

BUS: Final = 1
MAX_PORTS: Final = 24  # of the bus; a test bench has 16 keys


class Pump:
    """Lets an attached key do what is due in time, and writes the answers of transfers that end by it."""

    def __init__(self, attachment: Attachment, transport: asyncio.WriteTransport) -> None:
        self._attachment = attachment
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def run(self) -> None:
        """Do what is due now."""
        if self._transport.is_closing():
            return
        for answer in self._attachment.poll():
            self._transport.write(answer.encode())
        self.plan()

    def plan(self) -> None:
        """Be called again when there is something to do."""
        self.stop()
        deadline = self._attachment.deadline
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self.run)

    def stop(self) -> None:
        """Be called no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Port:
    """Where one key is plugged in, or not. Made by `Bus`."""

    def __init__(self, key: UsbKey, bus_id: str, bus: Bus) -> None:
        self.key = key
        self.bus_id = bus_id
        self.plugged = False
        self._bus = bus
        self._address = 0
        self._importer: asyncio.WriteTransport | None = None
        self._pump: Pump | None = None

    @property
    def address(self) -> int:
        """Its present or last address on the bus; 0 before the first plugging."""
        return self._address

    @property
    def attached(self) -> bool:
        """Whether a host holds the key."""
        return self._importer is not None

    def plug(self) -> None:
        """Put the key in; as on a real bus it gets a new address. Nothing happens when it is in."""
        if not self.plugged:
            self.plugged = True
            self._address = self._bus.next_address()
            self.key.power_up()
            try:
                self._bus.plugged_in(self)
            except EmulatorError:
                self.plugged = False
                raise

    def unplug(self) -> None:
        """Pull the key: the importer's connection ends now. Nothing happens when it is out."""
        self.plugged = False
        importer, self._importer = self._importer, None
        if importer is not None:
            importer.abort()
        self.key.power_up()

    def poke(self) -> None:
        """Something happened to the key that no transfer told: a touch. Waiting transfers may end by it."""
        if self._pump is not None:
            self._pump.run()

    def drive(self, pump: Pump | None) -> None:
        """Who moves the transfers of the importer."""
        self._pump = pump

    def describe(self) -> usbip.Device:
        """The plugged key as lists show it."""
        d = self.key.descriptor
        return usbip.Device(
            path=f"/keypeg/emulated/{self.bus_id}", bus_id=self.bus_id, bus=BUS, address=self._address,
            speed=usb.SPEED_FULL, vendor=d.vendor, product=d.product, release=d.release,
            device_class=d.device_class, device_subclass=d.device_subclass,
            device_protocol=d.device_protocol, configuration=0, configurations=d.configurations,
            interface_count=len(self.key.configuration.interfaces),
            interfaces=tuple(
                (i.interface_class, i.subclass, i.protocol) for i in self.key.configuration.interfaces
            ),
        )  # fmt: skip

    def attach(self, transport: asyncio.WriteTransport) -> int:
        """Give the key to a host; a USB/IP status."""
        if not self.plugged:
            return usbip.STATUS_NO_DEVICE
        if self._importer is not None:
            return usbip.STATUS_BUSY
        self._importer = transport
        self.key.power_up()
        return usbip.STATUS_OK

    def detach(self, transport: asyncio.WriteTransport) -> None:
        """The host let go; the card loses power."""
        if self._importer is transport:
            self._importer = None
            self._pump = None
            self.key.power_up()


class Bus:
    """All ports. As on a real bus, no two keys have the same address at once, and a new plugging has a new one."""

    def __init__(self) -> None:
        self._ports: dict[str, Port] = {}
        self._address = 0
        self.plugged_in: Callable[[Port], None] = lambda _: None
        """Who is told of a key that was plugged in, if somebody wants to; an `EmulatorError` takes it out again."""

    def add(self, key: UsbKey) -> Port:
        """A new port for this key, which is not plugged in yet."""
        free = (f"{BUS}-{number}" for number in range(1, MAX_PORTS + 1))
        bus_id = next((one for one in free if one not in self._ports), None)
        if bus_id is None:
            raise EmulatorError(f"One process serves at most {MAX_PORTS} keys. Start another one.")
        port = self._ports[bus_id] = Port(key, bus_id, self)
        return port

    def remove(self, port: Port) -> None:
        """Unplug a key for good."""
        port.unplug()
        self._ports.pop(port.bus_id, None)

    def find(self, bus_id: str) -> Port | None:
        """The port of this name."""
        return self._ports.get(bus_id)

    @property
    def plugged(self) -> tuple[Port, ...]:
        """The ports with a key in them."""
        return tuple(port for port in self._ports.values() if port.plugged)

    def next_address(self) -> int:
        """For a key that is being plugged in."""
        while True:
            self._address = self._address % 127 + 1
            if not any(port.address == self._address for port in self.plugged):
                return self._address

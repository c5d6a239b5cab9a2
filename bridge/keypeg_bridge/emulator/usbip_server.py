"""The USB/IP server of emulated keys, on loopback only, and the sockets that they are plugged into.

Promises: any bytes on the port end in an answer or a closed connection, never in a stopped server; memory per connection
and the number of connections are bounded; unplugging closes the importer's connection at once. One importer a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable
from typing import Final

from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.usb_device import UsbKey
from keypeg_bridge.wire import usb, usbip
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ServerDecoder

BUS: Final = 1
MAX_PORTS: Final = 24  # of the bus; a test bench has 16 keys
MAX_CONNECTIONS: Final = 32  # more are closed unread; a host needs one a key, and one to list them
OPERATION_SECONDS: Final = 10  # for a client to say what it wants; an import has no limit
READ_BYTES: Final = 65_536
WRITE_BUFFER_BYTES: Final = 262_144  # answers waiting for a client that does not read

_log = logging.getLogger(__name__)


def loopback(host: str) -> str:
    """`host` if it is a loopback address; anything else is refused, as an emulated key has no protection at all."""
    name = "127.0.0.1" if host == "localhost" else host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(name).is_loopback:
            return name
    raise EmulatorError(
        f"{host!r} is not a loopback address, and an emulated key is served on loopback only."
        " Use 127.0.0.1 or ::1, and a tunnel of your own if it must be reached from elsewhere."
    )


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


class UsbIpServer:
    """Serves a bus to USB/IP clients."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, number: int) -> str:
        """Listen; the address as host:port."""
        address = loopback(host)
        try:
            self._server = await asyncio.start_server(self._accept, address, number)
        except OSError as error:
            raise EmulatorError(
                f"Cannot listen on {address}:{number}: {error.strerror or error}. Choose another"
                " port, or 0 for any free one."
            ) from error
        bound_host, bound_port = self._server.sockets[0].getsockname()[:2]
        return f"[{bound_host}]:{bound_port}" if ":" in bound_host else f"{bound_host}:{bound_port}"

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        writer.transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        try:
            await self._answer(reader, writer)
        except MalformedFrame as error:
            _log.info("connection closed: %s", error)
        except (OSError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # the server is closing; nobody awaits this task for a result
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = ServerDecoder()
        async with asyncio.timeout(OPERATION_SECONDS):
            while (request := decoder.next()) is None:
                if not await _feed(reader, decoder):
                    return
            if not isinstance(request, usbip.ImportRequest):
                present = tuple(port.describe() for port in self._bus.plugged)
                writer.write(usbip.ListReply(present).encode())
                await writer.drain()
                return
            port = self._bus.find(request.bus_id)
            status = usbip.STATUS_NO_DEVICE if port is None else port.attach(writer.transport)
            if port is None or status != usbip.STATUS_OK:
                writer.write(usbip.ImportReply(status, None).encode())
                await writer.drain()
                return
        try:
            await self._hold(reader, writer, decoder, port)
        finally:
            port.detach(writer.transport)

    async def _hold(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        decoder: ServerDecoder,
        port: Port,
    ) -> None:
        device = port.describe()
        async with asyncio.timeout(OPERATION_SECONDS):
            writer.write(usbip.ImportReply(usbip.STATUS_OK, device).encode())
            await writer.drain()
        decoder.imported()
        await transfers(reader, writer, decoder, port, device.device_id)


async def transfers(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    decoder: ServerDecoder,
    port: Port,
    device_id: int,
) -> None:
    """Answer the transfers of the host that has attached itself to `port`, until it lets go; `MalformedFrame` when it errs."""
    attachment = Attachment(port.key)
    pump = Pump(attachment, writer.transport)
    port.drive(pump)
    try:
        while True:
            while (message := decoder.next()) is not None:
                if not isinstance(message, usbip.Submit | usbip.Unlink):
                    raise MalformedFrame("USB/IP", "an operation inside an import")
                if message.device_id != device_id:
                    raise MalformedFrame("USB/IP", f"device {message.device_id} is not imported")
                if writer.transport.is_closing():
                    return
                for answer in attachment.handle(message):
                    writer.write(answer.encode())
                pump.plan()
                await writer.drain()
            if not await _feed(reader, decoder):
                return
    finally:
        pump.stop()


async def _feed(reader: asyncio.StreamReader, decoder: ServerDecoder) -> bool:
    data = await reader.read(READ_BYTES)
    decoder.feed(data)
    return bool(data)

"""The USB/IP server of one emulated key, on loopback only, and the socket that it is plugged into.

Promises: any bytes on the port end in an answer or a closed connection, never in a stopped server; memory per connection
and the number of connections are bounded; unplugging closes the importer's connection at once. One importer at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from typing import Final

from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.usb_device import UsbKey
from keypeg_bridge.wire import usb, usbip
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ServerDecoder

BUS: Final = 1
BUS_ID: Final = "1-1"
MAX_CONNECTIONS: Final = 32  # more are closed unread; a host needs two
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
    """Where the key is plugged in, or not."""

    def __init__(self, key: UsbKey) -> None:
        self.key = key
        self.plugged = False
        self._address = 0
        self._importer: asyncio.WriteTransport | None = None
        self._pump: Pump | None = None

    @property
    def attached(self) -> bool:
        """Whether a host holds the key."""
        return self._importer is not None

    def plug(self) -> None:
        """Put the key in; as on a real bus it gets a new address. Nothing happens when it is in."""
        if not self.plugged:
            self.plugged = True
            self._address = self._address % 127 + 1
            self.key.power_up()

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
            path=f"/keypeg/emulated/{BUS_ID}", bus_id=BUS_ID, bus=BUS, address=self._address,
            speed=usb.SPEED_FULL, vendor=d.vendor, product=d.product, release=d.release,
            device_class=d.device_class, device_subclass=d.device_subclass,
            device_protocol=d.device_protocol, configuration=0, configurations=d.configurations,
            interface_count=len(self.key.configuration.interfaces),
            interfaces=tuple(
                (i.interface_class, i.subclass, i.protocol) for i in self.key.configuration.interfaces
            ),
        )  # fmt: skip

    def attach(self, bus_id: str, transport: asyncio.WriteTransport) -> int:
        """Give the key to a host; a USB/IP status."""
        if not self.plugged or bus_id != BUS_ID:
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


class UsbIpServer:
    """Serves one port to USB/IP clients."""

    def __init__(self, port: Port) -> None:
        self._port = port
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
            await self._serve(reader, writer)
        except MalformedFrame as error:
            _log.info("connection closed: %s", error)
        except (OSError, TimeoutError):
            pass
        except asyncio.CancelledError:
            pass  # the server is closing; nobody awaits this task for a result
        finally:
            self._connections.discard(task)
            self._port.detach(writer.transport)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = ServerDecoder()
        async with asyncio.timeout(OPERATION_SECONDS):
            while (request := decoder.next()) is None:
                if not await _feed(reader, decoder):
                    return
            if not isinstance(request, usbip.ImportRequest):
                present = (self._port.describe(),) if self._port.plugged else ()
                writer.write(usbip.ListReply(present).encode())
                await writer.drain()
                return
            status = self._port.attach(request.bus_id, writer.transport)
            device = self._port.describe() if status == usbip.STATUS_OK else None
            writer.write(usbip.ImportReply(status, device).encode())
            await writer.drain()
        if device is not None:
            decoder.imported()
            await self._transfers(reader, writer, decoder, device.device_id)

    async def _transfers(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        decoder: ServerDecoder,
        device_id: int,
    ) -> None:
        attachment = Attachment(self._port.key)
        pump = Pump(attachment, writer.transport)
        self._port.drive(pump)
        try:
            while True:
                while (message := decoder.next()) is not None:
                    if not isinstance(message, usbip.Submit | usbip.Unlink):
                        raise MalformedFrame("USB/IP", "an operation inside an import")
                    if message.device_id != device_id:
                        raise MalformedFrame(
                            "USB/IP", f"device {message.device_id} is not imported"
                        )
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

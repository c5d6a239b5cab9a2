"""The USB/IP server of emulated keys, on loopback only.

Promises: any bytes on the port end in an answer or a closed connection, never in a stopped server; memory per connection
and the number of connections are bounded.

Leaves to others: the sockets that the keys are plugged into (usbip_bus.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from typing import Final

from keypeg_bridge.emulator.attachment import Attachment
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.usbip_bus import Bus, Port, Pump
from keypeg_bridge.wire import usbip
from keypeg_bridge.wire.errors import MalformedFrame
from keypeg_bridge.wire.usbip_stream import ServerDecoder

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

"""`--vpicc`: an emulated key's card in a virtual reader of the card service (vsmartcard's vpcd), for as long as it is plugged in.

Promises: connects to loopback only; a reader that is not there at the start is an error, and one that goes away later is waited
for; unplugging ends the connection at once. The FIDO side of the key has no way through a card reader and stays silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

from keypeg_bridge.emulator.card import ATR, Card
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.usbip_bus import Bus, Port
from keypeg_bridge.emulator.usbip_server import loopback
from keypeg_bridge.wire import usbip
from keypeg_bridge.wire.vpcd import Apdu, CardDecoder, Order, frame

DEFAULT_PORT: Final = 35_963  # what vpcd's own configuration says
CONNECT_SECONDS: Final = 5
RETRY_SECONDS: Final = 0.5  # a card service that restarts is back in a few of these
POLL_SECONDS: Final = 0.02  # how late a touch is seen
READ_BYTES: Final = 65_536

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_log = logging.getLogger(__name__)


def address_of(text: str) -> tuple[str, int]:
    """HOST:PORT, or HOST alone; anything but loopback is refused."""
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, number = text, str(DEFAULT_PORT)
    if not number.isdecimal() or not 0 < int(number) < 65_536:
        raise EmulatorError(
            f"{text!r} is not the address of a reader. Use HOST:PORT, as in 127.0.0.1:{DEFAULT_PORT}."
        )
    return loopback(host.removeprefix("[").removesuffix("]")), int(number)


class VirtualReader:
    """Puts one key's card into the reader at an address."""

    def __init__(self, bus: Bus, card: Card, address: tuple[str, int]) -> None:
        self._bus = bus
        self._card = card
        self._address = address
        self._plugged_in = asyncio.Event()
        self._port: Port | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Be in the reader, if the key is plugged in; the reader's address."""
        host, number = self._address
        connection: Connection | None
        try:
            connection = await self._connect()
        except (OSError, TimeoutError) as error:
            raise EmulatorError(
                f"No virtual reader answers on {host}:{number}. Is a card service (pcscd) running, with"
                " vsmartcard's vpcd as a reader?"
            ) from error
        self._bus.plugged_in = self._plugged
        for port in self._bus.plugged:
            self._plugged(port)
        if not self._plugged_in.is_set():
            _, writer = connection
            writer.close()
            connection = None
        self._task = asyncio.create_task(self._run(connection))
        return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"

    async def close(self) -> None:
        """Be out of the reader."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _plugged(self, port: Port) -> None:
        self._port = port
        self._plugged_in.set()

    async def _connect(self) -> Connection:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await asyncio.open_connection(*self._address)

    async def _run(self, connection: Connection | None) -> None:
        while True:
            await self._plugged_in.wait()
            port = self._port
            if port is None or not port.plugged:
                self._plugged_in.clear()
                continue
            try:
                reader, writer = connection or await self._connect()
            except (OSError, TimeoutError):
                await asyncio.sleep(RETRY_SECONDS)
                continue
            finally:
                connection = None
            try:
                await self._be_in(port, reader, writer)
            except OSError as error:
                _log.info("the reader let go: %s", error)
            finally:
                port.detach(writer.transport)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            if port.plugged:
                await asyncio.sleep(RETRY_SECONDS)

    async def _be_in(
        self, port: Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if port.attach(writer.transport) != usbip.STATUS_OK:
            return
        decoder = CardDecoder()
        while data := await reader.read(READ_BYTES):
            for message in decoder.feed(data):
                if writer.transport.is_closing():
                    return
                answer = await self._answer(message)
                if answer is not None:
                    writer.write(frame(answer))
                    await writer.drain()

    async def _answer(self, message: Apdu | int) -> bytes | None:
        card = self._card
        match message:
            case Apdu(command):
                if not card.powered:
                    card.power_on()
                answer = card.begin(command)
                while (
                    answer is None and card.powered
                ):  # until it is touched, or told to wait no more
                    await asyncio.sleep(POLL_SECONDS)
                    answer = card.poll()
                return answer
            case Order.POWER_ON | Order.RESET:
                card.power_on()
            case Order.POWER_OFF:
                card.power_off()
            case Order.TELL_ATR:
                return ATR
        return None

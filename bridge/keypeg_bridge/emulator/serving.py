"""The process of keypeg-emukey: its keys, its way to them, its control socket, its faults, from start to signal.

The composition root of the emulator: the only module that knows all the others. One JSON line on stdout says that it is
ready.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keypeg_bridge.emulator.control import ControlServer
from keypeg_bridge.emulator.errors import EmulatorError
from keypeg_bridge.emulator.faults import Fault
from keypeg_bridge.emulator.faults_board import Board
from keypeg_bridge.emulator.faults_runner import Runner
from keypeg_bridge.emulator.faults_script import Script
from keypeg_bridge.emulator.kernel_port import Controller, KernelPorts
from keypeg_bridge.emulator.key_set import KeySet
from keypeg_bridge.emulator.key_specs import KeySpec
from keypeg_bridge.emulator.usbip_bus import Bus
from keypeg_bridge.emulator.usbip_server import UsbIpServer, loopback
from keypeg_bridge.emulator.virtual_reader import VirtualReader, address_of


@dataclass(frozen=True, slots=True)
class Options:
    """What `serve` was asked for."""

    state: Path
    control: Path
    host: str = "127.0.0.1"
    port: int = 0
    seed: str | None = None
    keys: tuple[KeySpec, ...] = (KeySpec(),)
    ready_file: Path | None = None
    vhci: bool = False
    vpicc: str | None = None
    script: Path | None = None
    script_seed: str | None = None


class Laboratory:
    """What the control socket speaks to."""

    def __init__(self, keys: KeySet, board: Board, runner: Runner, facts: dict[str, Any]) -> None:
        self._keys = keys
        self._board = board
        self._runner = runner
        self._facts = facts
        self._commands: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
            "plug": self._plug,
            "unplug": self._unplug,
            "touch": self._touch,
            "status": self._status,
            "fault": self._fault,
            "faults": self._faults,
            "clear": self._clear,
            "script": self._script,
            "history": self._history,
        }

    def handle(self, command: str, request: dict[str, Any]) -> dict[str, Any]:
        """One command; the answer's fields."""
        deed = self._commands.get(command)
        if deed is None:
            raise EmulatorError(
                f"The command {command!r} is unknown. Use {', '.join(self._commands)}."
            )
        return deed({name: value for name, value in request.items() if name != "command"})

    def _plug(self, request: dict[str, Any]) -> dict[str, Any]:
        self._board.inject(Fault.read({**request, "fault": "plug"}))
        return self._status({})

    def _unplug(self, request: dict[str, Any]) -> dict[str, Any]:
        self._board.inject(Fault.read({**request, "fault": "unplug"}))
        return self._status({})

    def _touch(self, request: dict[str, Any]) -> dict[str, Any]:
        key = self._keys.find(request.get("key"))
        key.finger.press()
        key.port.poke()
        return self._status({})

    def _status(self, request: dict[str, Any]) -> dict[str, Any]:
        keys = [key.status() for key in self._keys]
        return {
            **self._facts,
            **{name: value for name, value in keys[0].items() if name != "key"},
            "keys": keys,
            "faults": len(self._board.active),
            "script": self._runner.status(),
        }

    def _fault(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"fault": self._board.inject(Fault.read(request)).to_json()}

    def _faults(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"faults": [one.to_json() for one in self._board.active]}

    def _clear(self, request: dict[str, Any]) -> dict[str, Any]:
        number, key = request.get("number"), request.get("key")
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise EmulatorError(f"number is {number!r}; it must be that of a fault.")
        name = None if key is None else self._keys.find(key).name
        return {"faults": [one.to_json() for one in self._board.clear(number, name)]}

    def _script(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("stop") is True:
            self._runner.stop()
        else:
            table = request.get("script")
            if not isinstance(table, dict):
                raise EmulatorError('Expected {"script": {"step": [...]}}, or {"stop": true}.')
            start_script(self._runner, Script.read(table), request.get("seed"))
        return {"script": self._runner.status()}

    def _history(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"history": list(self._board.history)}


def start_script(runner: Runner, script: Script, seed: object) -> str:
    """Begin a script; the seed that was given, else the script's own, else a new one."""
    if isinstance(seed, bool) or not isinstance(seed, int | str | None):
        raise EmulatorError(f"seed is {seed!r}; it must be a whole number or text.")
    chosen = next((str(one) for one in (seed, script.seed) if one is not None), "")
    chosen = chosen or secrets.token_hex(8)
    runner.start(script, chosen)
    return chosen


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loopback(options.host)
    reader = None if options.vpicc is None else address_of(options.vpicc)
    script = None if options.script is None else Script.load(options.script)
    async with AsyncExitStack() as stack:
        bus = Bus()
        keys = KeySet(options.state, bus, loop.time)
        stack.callback(keys.close)
        keys.load(options.keys)
        facts = {
            **await _way(options, reader, bus, keys, stack),
            "control": str(options.control),
            "emulated": True,
        }
        board = Board(keys, loop.time, loop.call_at, options.seed or secrets.token_hex(8))
        runner = Runner(board, loop.time, loop.call_at)
        laboratory = Laboratory(keys, board, runner, facts)
        controls = ControlServer(options.control, laboratory.handle)
        stack.push_async_callback(controls.close)
        await controls.start()
        first = keys.find("key-1").status()
        ready = {**facts, **{name: first[name] for name in ("serial", "profile", "touch")}}
        ready["keys"] = [{"key": key.name, "serial": key.serial} for key in keys]
        if script is not None:
            ready["script_seed"] = start_script(runner, script, options.script_seed or options.seed)
        _announce(json.dumps(ready), options.ready_file)
        await stop.wait()
        runner.stop()


async def _way(
    options: Options,
    reader: tuple[str, int] | None,
    bus: Bus,
    keys: KeySet,
    stack: AsyncExitStack,
) -> dict[str, str]:
    """Serve the bus as it was asked for; where it is."""
    server: UsbIpServer | KernelPorts | VirtualReader
    if options.vhci:
        server = KernelPorts(bus, Controller())
        stack.push_async_callback(server.close)
        return {"vhci": await server.start()}
    if reader is not None:
        if len(options.keys) > 1:
            raise EmulatorError("A virtual reader takes one card. Serve one key.")
        server = VirtualReader(bus, keys.find("key-1").card, reader)
        stack.push_async_callback(server.close)
        return {"vpicc": await server.start()}
    server = UsbIpServer(bus)
    stack.push_async_callback(server.close)
    return {"usbip": await server.start(options.host, options.port)}


def _announce(line: str, ready_file: Path | None) -> None:
    if ready_file is not None:
        temporary = ready_file.with_name(ready_file.name + ".new")
        try:
            temporary.write_text(line + "\n")
            os.replace(temporary, ready_file)
        except OSError as error:
            raise EmulatorError(
                f"Cannot write the ready file {ready_file}: {error.strerror}."
            ) from error
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

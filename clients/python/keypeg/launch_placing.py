"""Activating a license onto a key, or onto this computer, from a launch.

Promises: what was interrupted anywhere is finished by doing the same again, with the same activation. A person who
waits is told what is done.

Leaves to others: the talk between a key's bridge and the server (keys), documents of this computer (hosts), which license and which key (launch_survey),
opening a session by it (client).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from keypeg import calls, hostinfo, hosts, keys, names
from keypeg.errors import KeyMissing
from keypeg.launch_calls import Side, at_server
from keypeg.launch_steps import Progress, Tell
from keypeg.launch_works import OntoHost, OntoKey
from keypeg.v1 import key_pb2, key_service_pb2, key_service_pb2_grpc, session_pb2

if TYPE_CHECKING:
    from keypeg.request import Request

WRITE_SECONDS: Final = 25.0  # for one call of a bridge: slow cards take their time
_TOUCHED: Final = "fido2"  # the driver of keys that may blink


async def onto_key(request: Request, work: OntoKey, tell: Tell) -> None:
    """Activates a license onto the key, and writes it there."""
    assert request.bridge is not None, "a key was offered without a bridge"
    account = names.parent(work.license)
    async with at_server(request) as channel, calls.connect(request.bridge) as to_bridge:
        bridge = Side(to_bridge, WRITE_SECONDS)
        key = await _plugged_in(bridge, work.key)
        called = " ".join(filter(None, (key.model, key.serial))) or "the key"
        title = f"Writing to {called}"
        touch = " Touch it if it blinks." if key.driver == _TOUCHED else ""
        tell(
            Progress(
                "preparing",
                title,
                f"The license is being activated. Leave the key plugged in.{touch}",
            )
        )
        writing = Progress(
            "writing", title, "The license is being written. Leave the key plugged in."
        )
        await keys.activate_onto_key(
            Side(channel),
            bridge,
            key,
            work.license,
            account,
            request_id=str(uuid.uuid4()),
            on_writing=lambda: tell(writing),
        )
    tell(Progress("written", title, "The license is on the key.", is_last=True))


async def _plugged_in(bridge: Side, name: str) -> key_pb2.Key:
    stub = key_service_pb2_grpc.KeyServiceStub(bridge.channel)
    found: list[key_pb2.Key] = list(
        (await bridge.call(stub.ListKeys, key_service_pb2.ListKeysRequest())).keys
    )
    for key in found:
        if key.name == name and key.state == key_pb2.KEY_STATE_PRESENT:
            return key
    raise KeyMissing("The key was unplugged; plug it in, and try again.", key=name)


async def onto_host(request: Request, work: OntoHost, tell: Tell) -> None:
    """Activates a license onto this computer, and keeps its document here."""
    called = hostinfo.host_name()
    title = f"Activating on {called}"
    tell(Progress("preparing", title, "The license is being activated for this computer."))
    async with at_server(request) as channel:
        await hosts.activate_onto_host(
            Side(channel),
            work.license,
            names.parent(work.license),
            session_pb2.Device(id=request.pinned.device, host_name=called),
            request.read_parts(),
            request.licenses,
        )
    tell(
        Progress("written", title, "It works here without a connection from now on.", is_last=True)
    )

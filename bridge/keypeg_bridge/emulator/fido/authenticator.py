"""The CTAP 2.1 authenticator of an emulated key: from the bytes of a CTAPHID_CBOR request to those of its answer.

Promises: any bytes end in a status that the specification names; commands are generators (see `core.py`), so that waiting
for a touch blocks nobody; what one command leaves for a following one is gone after any other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

from keypeg_bridge.emulator.fido.asserting import get_assertion, get_next_assertion
from keypeg_bridge.emulator.fido.attestation import AAGUID
from keypeg_bridge.emulator.fido.blobs import CAPACITY, large_blobs
from keypeg_bridge.emulator.fido.client_pin import MIN_PIN, client_pin
from keypeg_bridge.emulator.fido.core import (
    MAX_LIST,
    MAX_MESSAGE,
    MAX_RESIDENTS,
    POWER_UP_SECONDS,
    Body,
    Core,
    Steps,
)
from keypeg_bridge.emulator.fido.credential import ALGORITHMS, ID_BYTES
from keypeg_bridge.emulator.fido.making import make_credential
from keypeg_bridge.emulator.fido.managing import credential_management
from keypeg_bridge.emulator.fido.parameters import KEY_TYPE, Map, Refused
from keypeg_bridge.wire import cbor
from keypeg_bridge.wire.ctap import Command, Status
from keypeg_bridge.wire.errors import MalformedFrame

VERSIONS: Final = ("U2F_V2", "FIDO_2_0", "FIDO_2_1_PRE", "FIDO_2_1")
EXTENSIONS: Final = ("credProtect", "hmac-secret", "largeBlobKey")
FIRMWARE: Final = 1

_BARE: Final = (Command.GET_INFO, Command.RESET, Command.GET_NEXT_ASSERTION, Command.SELECTION)


class Authenticator:
    """Runs commands on one core."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self._with_touch: dict[Command, Callable[[Core, Map], Steps]] = {
            Command.MAKE_CREDENTIAL: make_credential,
            Command.GET_ASSERTION: get_assertion,
            Command.RESET: lambda core, _: _reset(core),
            Command.SELECTION: lambda core, _: _selection(core),
        }

    def start(self, request: bytes) -> Generator[None, bool, bytes]:
        """Run one request; yields for a touch, is sent whether it came, returns the answer's bytes."""
        try:
            if len(request) > MAX_MESSAGE:
                raise Refused(Status.REQUEST_TOO_LARGE)
            body = yield from self._run(request)
        except Refused as refusal:
            return bytes((refusal.status,))
        except MalformedFrame:
            return bytes((Status.INVALID_CBOR,))
        return bytes((Status.OK,)) + (b"" if body is None else cbor.encode(body))

    def _run(self, request: bytes) -> Generator[None, bool, Body]:
        core = self.core
        pending, core.pending = core.pending, None
        if not request or request[0] not in Command.__members__.values():
            raise Refused(Status.INVALID_COMMAND)
        command, parameters = Command(request[0]), _parameters(request)
        if command in self._with_touch:
            return (yield from self._with_touch[command](core, parameters))
        match command:
            case Command.GET_INFO:
                return information(core)
            case Command.GET_NEXT_ASSERTION:
                return get_next_assertion(core, pending)
            case Command.CLIENT_PIN:
                return client_pin(core, parameters)
            case Command.CREDENTIAL_MANAGEMENT | Command.CREDENTIAL_MANAGEMENT_PREVIEW:
                return credential_management(core, parameters, pending)
            case _:
                return large_blobs(core, parameters)


def _parameters(request: bytes) -> dict[Any, Any]:
    """What follows the command: a map, or nothing for commands without parameters."""
    if request[0] in _BARE:
        if len(request) > 1:
            raise Refused(Status.INVALID_LENGTH)
        return {}
    parameters = cbor.decode(request[1:])
    if type(parameters) is not dict:
        raise Refused(Status.CBOR_UNEXPECTED_TYPE)
    return parameters


def information(core: Core) -> Body:
    """authenticatorGetInfo (section 6.4)."""
    return {
        1: list(VERSIONS),
        2: list(EXTENSIONS),
        3: AAGUID,
        4: {
            "rk": True,
            "up": True,
            "plat": False,
            "clientPin": core.state.pin_hash is not None,
            "credMgmt": True,
            "credentialMgmtPreview": True,
            "largeBlobs": True,
            "pinUvAuthToken": True,
            "makeCredUvNotRqd": True,
        },
        5: MAX_MESSAGE,
        6: list(core.protocols),
        7: MAX_LIST,
        8: ID_BYTES,
        9: ["usb"],
        10: [{"alg": algorithm, "type": KEY_TYPE} for algorithm in ALGORITHMS],
        11: CAPACITY,
        13: MIN_PIN,
        14: FIRMWARE,
        20: MAX_RESIDENTS - len(core.state.residents),
    }


def _reset(core: Core) -> Steps:
    """authenticatorReset (section 6.6)."""
    if core.clock() - core.powered_at > POWER_UP_SECONDS:
        raise Refused(Status.NOT_ALLOWED)
    yield from core.touch()
    core.commit(core.state.reset())
    powered_at = core.powered_at
    core.power_up()
    core.powered_at = powered_at
    return None


def _selection(core: Core) -> Steps:
    """authenticatorSelection (section 6.9)."""
    yield from core.touch()
    return None

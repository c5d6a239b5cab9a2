"""What all commands of the emulated authenticator share: its contents, its clock, the PIN token, and waiting for a touch.

Promises: `commit` has the new contents durable before it returns, or refuses and changes nothing; `power_off` forgets
everything else. A command is a generator that yields whenever it wants a touch and is sent whether one came in time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from keypeg_bridge.emulator.fido.attestation import Attestation
from keypeg_bridge.emulator.fido.credential import Credential, Trait, Wallet, sha256
from keypeg_bridge.emulator.fido.parameters import Map, Refused, optional, required
from keypeg_bridge.emulator.fido.pin_protocol import PinProtocol, ProtocolOne, ProtocolTwo
from keypeg_bridge.emulator.fido.state import FidoState
from keypeg_bridge.wire.ctap import Permission, Status

Clock = Callable[[], float]
Body = dict[int, Any] | None
Steps = Generator[None, bool, Body]  # yields: a touch is wanted; is sent: whether it came

MAX_MESSAGE: Final = 2_048  # bytes of a request, told by getInfo
MAX_LIST: Final = 16  # credentials in one list
MAX_RESIDENTS: Final = 25
BOOT_PIN_TRIES: Final = (
    3  # wrong PINs in a row until the key must be plugged in anew (section 6.5.5.6)
)
TOKEN_UNUSED_SECONDS: Final = 30.0
TOKEN_SECONDS: Final = 600.0
STATEFUL_SECONDS: Final = 30.0  # for a command that continues another (section 6)
POWER_UP_SECONDS: Final = 10.0  # in which a reset is allowed (section 6.6)
TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class FidoProfile:
    """What kind of security key this is."""

    name: str
    certified: bool  # attestation by a certificate; else by the credential itself
    counts: bool  # whether signatures carry a counter; some keys always say 0
    silent: bool  # whether `up=false` is heeded; some keys want their touch all the same


PROFILES: Final = {
    p.name: p
    for p in (
        FidoProfile("token", certified=True, counts=True, silent=True),
        FidoProfile("token-3des", certified=True, counts=True, silent=True),
        FidoProfile("standard", certified=False, counts=False, silent=False),
    )
}


@dataclass(frozen=True, slots=True)
class Token:
    """A PIN token given out; `rp_id` None is not bound yet."""

    protocol: int
    value: bytes
    permissions: Permission
    rp_id: str | None
    begun: float
    used: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """What a following command continues: which one, what is left, until when."""

    kind: str
    rest: tuple[Any, ...]
    until: float


class Core:
    """One authenticator's contents and volatile state."""

    def __init__(
        self,
        seed: str,
        state: FidoState,
        profile: FidoProfile,
        save: Callable[[FidoState], None],
        clock: Clock,
        random: Callable[[int], bytes],
    ) -> None:
        self.state = state
        self.profile = profile
        self.clock = clock
        self.random = random
        self.attestation = Attestation(seed)
        self.protocols: Mapping[int, PinProtocol] = {2: ProtocolTwo(random), 1: ProtocolOne()}
        self.told: Callable[[int], int] = lambda counter: counter  # what signatures say of it
        self._seed = seed
        self._save = save
        self.wallet = Wallet(seed, state)
        self.power_up()

    def power_up(self) -> None:
        """Everything volatile is as after plugging in."""
        self.powered_at = self.clock()
        self.boot_tries = BOOT_PIN_TRIES
        self.pending: Pending | None = None
        self.blob_write: tuple[int, bytes] | None = None  # whole length, what came
        self.renew_agreement()
        self.token: Token | None = None

    def renew_agreement(self) -> None:
        """A new key for key agreement; shared secrets of the old one are void."""
        self.agreement = ec.generate_private_key(ec.SECP256R1())

    def commit(self, state: FidoState) -> None:
        """Make it durable, then make it so."""
        try:
            self._save(state)
        except OSError:
            raise Refused(Status.OTHER) from None
        if state.generation != self.state.generation:
            self.wallet = Wallet(self._seed, state)
        self.state = state

    def adopt(self, state: FidoState) -> None:
        """Other contents, which are durable already."""
        self.state = state
        self.wallet = Wallet(self._seed, state)

    def open(self, identifier: bytes, rp_id_hash: bytes) -> Credential | None:
        """The credential with this id, if it is one of this key's for this relying party and was not deleted."""
        credential = self.wallet.open(identifier, rp_id_hash)
        if credential is not None and Trait.RESIDENT in credential.traits:
            kept = any(r.id == identifier for r in self.state.residents)
            return credential if kept else None
        return credential

    def protocol(self, parameters: Map, key: int) -> PinProtocol:
        """The PIN protocol that a command names."""
        number = required(parameters, key, int)
        if number not in self.protocols:
            raise Refused(Status.INVALID_PARAMETER)
        return self.protocols[number]

    def give_token(self, protocol: int, permissions: Permission, rp_id: str | None) -> bytes:
        """A new token; the one before is void."""
        value = self.random(TOKEN_BYTES)
        self.token = Token(protocol, value, permissions, rp_id, self.clock())
        return value

    def check_token(
        self,
        protocol: PinProtocol,
        mac: bytes,
        message: bytes,
        permission: Permission,
        rp_id: str | None = None,
    ) -> Token:
        """The token in use, if the MAC is by it and it allows this; a free token is bound to `rp_id`."""
        token = self._living_token()
        if token is None or token.protocol != protocol.number:
            raise Refused(Status.PIN_AUTH_INVALID)
        if not protocol.verify(token.value, message, mac) or permission not in token.permissions:
            raise Refused(Status.PIN_AUTH_INVALID)
        if rp_id is not None:
            if token.rp_id not in (None, rp_id):
                raise Refused(Status.PIN_AUTH_INVALID)
            token = replace(token, rp_id=rp_id)
        self.token = replace(token, used=True)
        return self.token

    def _living_token(self) -> Token | None:
        token = self.token
        if token is not None:
            age = self.clock() - token.begun
            if age >= TOKEN_SECONDS or (age >= TOKEN_UNUSED_SECONDS and not token.used):
                self.token = None
        return self.token

    def spend_token(self) -> None:
        """After a touch a token is good for large blobs at most (section 6.5.5.7)."""
        if self.token is not None:
            allowed = self.token.permissions & Permission.LARGE_BLOB_WRITE
            self.token = replace(self.token, permissions=allowed)

    def verified(
        self, parameters: Map, keys: tuple[int, int], permission: Permission, rp_id: str
    ) -> Generator[None, bool, bool]:
        """Whether the user is verified, by the MAC over the client data hash under `keys`: MAC and protocol."""
        mac = optional(parameters, keys[0], bytes)
        if mac is None:
            return False
        if not mac:  # how platforms let the user choose a key by touch
            yield from self.touch()
            is_set = self.state.pin_hash is not None
            raise Refused(Status.PIN_INVALID if is_set else Status.PIN_NOT_SET)
        protocol = self.protocol(parameters, keys[1])
        client_data_hash = parameters[1 if permission is Permission.MAKE_CREDENTIAL else 2]
        self.check_token(protocol, mac, client_data_hash, permission, rp_id)
        return True

    def touch(self) -> Generator[None, bool, None]:
        """Wait until the key is touched."""
        if not (yield):
            raise Refused(Status.USER_ACTION_TIMEOUT)

    def header(self, rp_id_hash: bytes, flags: int) -> bytes:
        """The beginning of authenticator data; the signature it is for must have been counted."""
        counter = self.told(self.state.counter) if self.profile.counts else 0
        return rp_id_hash + bytes((flags,)) + (counter & 0xFFFFFFFF).to_bytes(4, "big")


def rp_hash(rp_id: str) -> bytes:
    """The SHA-256 of a relying party's id."""
    return sha256(rp_id.encode())

"""Resume tickets and release tokens: what the server need not remember, sealed and given to the app.

Promises: only this server's keys make or open a ticket, and its content is secret; a release token is of
one session and can not be guessed. Secrets are never in a repr.

Leaves to others: keeping the two keys (service/signing.py), and whether what a ticket says is still right.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keypeg.errors import ResumeInvalid
from keypeg_server.service.ports import AppInfo, DeviceInfo

VERSION: Final = 1
TICKET_BYTES: Final = 4_096  # of a whole ticket, as the contract says
_NONCE_BYTES: Final = 12
_CONTEXT: Final = b"keypeg resume ticket v1"
_TOKEN_CONTEXT: Final = b"release"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What lets a session go on."""

    session: str  # id
    user: str
    device: DeviceInfo
    app: AppInfo
    product: str
    kinds: tuple[int, ...]
    sequence: int  # of the frame that the ticket came with; the next is higher
    key: bytes = field(repr=False)  # the session key


class TicketBox:
    """Seals and opens tickets with AES-256-GCM; makes and checks release tokens with HMAC-SHA256."""

    def __init__(
        self,
        ticket_key: bytes,
        release_key: bytes,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._cipher: Final = AESGCM(ticket_key)
        self._release_key: Final = release_key
        self._random: Final = random

    def seal(self, ticket: Ticket) -> bytes:
        """The ticket as opaque bytes, at most TICKET_BYTES."""
        device, app = ticket.device, ticket.app
        content = {
            "s": ticket.session,
            "u": ticket.user,
            "d": [device.id, device.host_name],
            "a": [app.name, app.version, app.sdk, app.process_id, app.release_us],
            "p": ticket.product,
            "k": list(ticket.kinds),
            "n": ticket.sequence,
            "key": base64.b64encode(ticket.key).decode(),
        }
        plain = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        nonce = self._random(_NONCE_BYTES)
        return bytes([VERSION]) + nonce + self._cipher.encrypt(nonce, plain, _CONTEXT)

    def open(self, sealed: bytes) -> Ticket:
        """What `seal` sealed; ResumeInvalid for anything else."""
        try:
            if len(sealed) > TICKET_BYTES or sealed[:1] != bytes([VERSION]):
                raise ValueError
            nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
            content: dict[str, Any] = json.loads(self._cipher.decrypt(nonce, rest, _CONTEXT))
        except (InvalidTag, ValueError) as error:
            raise resume_invalid() from error
        return Ticket(
            session=content["s"],
            user=content["u"],
            device=DeviceInfo(*content["d"]),
            app=AppInfo(*content["a"]),
            product=content["p"],
            kinds=tuple(content["k"]),
            sequence=content["n"],
            key=base64.b64decode(content["key"]),
        )

    def release_token(self, session: str) -> bytes:
        """The token that ends the session with this id from outside; 32 bytes."""
        return hmac.digest(self._release_key, _TOKEN_CONTEXT + session.encode(), hashlib.sha256)

    def is_release_token(self, session: str, token: bytes) -> bool:
        """Whether this is the session's token; in constant time."""
        return hmac.compare_digest(self.release_token(session), token)


def resume_invalid() -> ResumeInvalid:
    """The refusal of a ticket, or of who brings it; never says which."""
    return ResumeInvalid(
        "The resume ticket is not one of this server's, or not yours; open a new session."
    )

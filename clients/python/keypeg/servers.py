"""Which server of several is spoken to: addresses, their order, and where to go when one fails.

Promises: pure. Each process has an order of its own, so that clients spread; who works is stayed with. A
round asks every server once before any is asked twice. Following is bounded: after FOLLOWS in a row, or
when the server that was named can not be reached, the list is asked without following, so that a server
of it relays. Only what is reached over TLS is followed to.

Leaves to others: looking names up and connecting (dialing), and when to go on (session_core, failover).
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keypeg.errors import FieldInvalid, KeypegError, Reason, Unreachable

ADDRESSES: Final = 64  # of one service; more is a list pasted by mistake
FOLLOWS: Final = 3  # in a row: an account moves at most once or twice while it is looked for

# Another server may well do what this one could not: the call or session goes on there.
GOES_ON: Final = frozenset(
    {
        Reason.UNREACHABLE,
        Reason.TIMED_OUT,
        Reason.SERVER_DRAINING,
        Reason.STORAGE_UNAVAILABLE,
        Reason.BUSY,
        Reason.ELSEWHERE,
    }
)

_SOCKET: Final = "unix:"


@dataclass(frozen=True)
class Server:
    """One place to connect to."""

    address: str  # `host:port` or `unix:/path`
    number: str = ""  # the IP address to take, where the host's name has several

    @property
    def is_socket(self) -> bool:
        """Whether it is a Unix socket."""
        return self.address.startswith(_SOCKET)

    @property
    def host(self) -> str:
        """The name or number that its certificate must be for."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Its port."""
        return int(self.address.rpartition(":")[2])

    @property
    def is_named(self) -> bool:
        """Whether its host is a name that may have several addresses."""
        return not self.is_socket and not self.number and not _is_number(self.host)

    def __str__(self) -> str:
        return f"{self.address} ({self.number})" if self.number else self.address


def joined(target: str | Iterable[str]) -> str:
    """Addresses as one text: `host:port`, several separated by commas."""
    parts = [target] if isinstance(target, str) else list(target)
    if wrong := [part for part in parts if not isinstance(part, str)]:
        raise FieldInvalid(
            f"A server address is text, host:port; {wrong[0]!r} is none.", field="server"
        )
    return ",".join(part.strip() for part in parts if part.strip())


def parse(target: str | Iterable[str]) -> tuple[Server, ...]:
    """The servers of `host:port`, several separated by commas; each once, in the order given."""
    parts = [part.strip() for part in joined(target).split(",") if part.strip()]
    if not parts:
        raise FieldInvalid(
            "No server is named; set KEYPEG_SERVER to host:port, or sign in with `keypeg login`.",
            field="server",
        )
    if len(parts) > ADDRESSES:
        raise FieldInvalid(
            f"{len(parts)} server addresses are too many; name at most {ADDRESSES}.", field="server"
        )
    return tuple(dict.fromkeys(_server(part) for part in parts))


def in_order(servers: Iterable[Server], seed: bytes) -> tuple[Server, ...]:
    """The order of one process: the same for the same seed, and spread over seeds."""

    def rank(server: Server) -> bytes:
        return hashlib.blake2b(str(server).encode(), key=seed, digest_size=8).digest()

    return tuple(sorted(servers, key=rank))


class Route:
    """Where one session connects to, now and next."""

    def __init__(self, servers: Sequence[Server] = (), *, follows: bool = False) -> None:
        self._servers = tuple(servers) or (Server(""),)
        self._index = 0
        self._wants_to_follow = follows
        self._follows = follows
        self._told = 0  # times in a row that another server was named
        self._home: Server | None = None  # the server that was followed to
        self._home_worked = False
        self._failed: dict[Server, KeypegError] = {}  # in this round
        self._said: dict[Server, KeypegError] = {}  # in this round, or the whole one before it

    @property
    def current(self) -> Server:
        """Where to connect to now."""
        return self._home or self._servers[self._index]

    @property
    def follows(self) -> bool:
        """Whether to say that another server's address will be followed."""
        return self._follows

    @property
    def has_others(self) -> bool:
        """Whether another server is left to be asked, should the current one fail."""
        if self._home is not None:
            return True
        return any(one not in self._failed and one != self.current for one in self._servers)

    @property
    def is_new_round(self) -> bool:
        """Whether every server was asked, and none has worked."""
        return not self._failed and bool(self._said)

    def worked(self) -> None:
        """The current server has answered: it is stayed with."""
        self._failed.clear()
        self._said.clear()
        self._told = 0
        self._follows = self._wants_to_follow
        self._home_worked = self._home is not None

    def failed(self, error: KeypegError) -> bool:
        """Goes on to the next; True when that one was not asked in this round yet."""
        self._note(error)
        if self._home is not None:
            # Could not be reached: the list is asked to relay. Was lost: its successor is asked for.
            self._follows = self._wants_to_follow and self._home_worked
            self._home = None
            self._home_worked = False
            return self._servers[self._index] not in self._failed or self._next()
        return self._next()

    def elsewhere(self, error: KeypegError) -> bool:
        """Another server was named; True when it, or the list without following, is asked at once."""
        if not self._follows:
            return self.failed(error)
        self._told += 1
        home = _to_follow(error.metadata.get("server", ""))
        if home is None or self._told > FOLLOWS:
            self._follows = False
            self._home = None
        else:
            self._home = home
        self._home_worked = False
        return True

    def renew(self, servers: Sequence[Server]) -> None:
        """The names were looked up again; who works is kept."""
        if not servers:
            return
        current = self._servers[self._index]
        self._servers = tuple(servers)
        self._index = self._servers.index(current) if current in self._servers else 0

    def refusal(self, error: KeypegError) -> KeypegError:
        """The error when none could be opened: that of the one server, or one that names them all."""
        return error if len(self._said) < 2 else summary(self._said)

    def _note(self, error: KeypegError) -> None:
        if not self._failed:
            self._said.clear()
        self._failed[self.current] = self._said[self.current] = error

    def _next(self) -> bool:
        count = len(self._servers)
        for step in range(1, count + 1):
            index = (self._index + step) % count
            if self._servers[index] not in self._failed:
                self._index = index
                return True
        self._index = (self._index + 1) % count
        self._failed.clear()
        self._told = 0
        self._follows = self._wants_to_follow
        return False


def summary(said: Mapping[Server, KeypegError]) -> KeypegError:
    """One error for several servers; of the most telling reason, naming each."""
    telling = [error for error in said.values() if error.reason is not Reason.UNREACHABLE]
    chosen = telling[0] if telling else next(iter(said.values()))
    each = "; ".join(f"{server}: {_short(error)}" for server, error in said.items())
    waits = [error.retry_after for error in said.values() if error.retry_after is not None]
    combined = type(chosen)(
        f"None of {len(said)} servers could do it. {each}.",
        explanation=chosen.explanation,
        retry_after=min(waits, default=None),
    )
    combined.metadata.update({**chosen.metadata, "servers": ",".join(str(one) for one in said)})
    return combined


# What gRPC and the TLS library say, in words for people; nothing decides by it.
_SAID: Final = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not signed by a trusted authority"),
    ("Hostname Verification Check failed", "its certificate is for another name"),
    ("handshake", "it does not speak TLS as expected"),
    ("Connection refused", "nothing listens there"),
    ("No such file", "there is no such socket"),
    ("DNS", "the name has no address"),
    ("Permission denied", "this user may not use it"),
    ("No route", "there is no way to that network"),
    ("Timeout", "it does not answer"),
    ("timed out", "it does not answer"),
)


def why(details: str) -> str:
    """What gRPC says about a lost connection, for people."""
    for mark, words in _SAID:
        if mark.lower() in details.lower():
            return words
    return details.strip().rstrip(".") or "the connection was lost"


def _short(error: KeypegError) -> str:
    return why(error.sentence) if isinstance(error, Unreachable) else error.sentence.rstrip(".")


def _server(text: str) -> Server:
    if text.startswith(_SOCKET) and len(text) > len(_SOCKET):
        return Server(text)
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_host = bool(bare) and not any(c in bare for c in "[]/@?# ") and bare.isprintable()
    is_port = port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536
    if not colon or not is_host or not is_port or len(bare) > 253:
        raise FieldInvalid(
            f"{text[:300]!r} is no server address; write host:port, several separated by commas.",
            field="server",
        )
    return Server(f"[{bare}]:{int(port)}" if ":" in bare else f"{bare}:{int(port)}")


def _to_follow(address: str) -> Server | None:
    """The server that was named; None when it is none that can be verified."""
    try:
        (server,) = parse(address)
    except (FieldInvalid, ValueError):  # no address, or several
        return None
    return None if server.is_socket else server


def _is_number(host: str) -> bool:
    if host == "localhost":
        return True  # one computer, whatever it is called by
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

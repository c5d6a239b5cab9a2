"""The ways from clients to servers: direct, or through something that fails on command.

Promises: a way gives each client a line of its own; what a client sent before its line was buried is not delivered
afterwards, so that nobody is served after its death.

Leaves to others: the network inside (proxy, relay, namespaces), and when it fails (playing).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from seatchecker.lines import Address, Line, joined
from seatchecker.namespaces import Namespaces
from seatchecker.proxy import Proxy
from seatchecker.relay import Relay


class Way(Protocol):
    """A way to the servers that may fail."""

    def line(self, name: str) -> Line:
        """The client's line, for a new program of its."""
        ...

    def bury(self, name: str) -> None:
        """Its program is dead: nothing of it is delivered any more."""
        ...

    def fail(self, name: str, kind: str) -> None:
        """Begin, or do, a fault."""
        ...

    def heal(self, name: str) -> None:
        """End a fault."""
        ...

    def close(self) -> None:
        """End the way."""
        ...


class Direct:
    """Nothing between client and server."""

    def __init__(self, servers: Sequence[Address]) -> None:
        self._line = Line(joined(servers))

    def line(self, name: str) -> Line:
        return self._line

    def bury(self, name: str) -> None:
        """The kernel delivers what was sent at once."""

    def fail(self, name: str, kind: str) -> None:
        raise ValueError(f"a direct way has no {kind}")

    def heal(self, name: str) -> None:
        """There is nothing to end."""

    def close(self) -> None:
        """There is nothing."""


class Proxied:
    """A proxy for connections: they are broken, delayed, or deprived of what comes back."""

    def __init__(self, servers: Sequence[Address]) -> None:
        self._proxies = tuple(Proxy(server) for server in servers)
        self._lines: dict[str, Line] = {}

    def line(self, name: str) -> Line:
        if name not in self._lines:
            self._lines[name] = Line(",".join(proxy.line(name) for proxy in self._proxies))
        return self._lines[name]

    def bury(self, name: str) -> None:
        for proxy in self._proxies:
            proxy.cut(name)

    def fail(self, name: str, kind: str) -> None:
        for proxy in self._proxies:
            {"cut": proxy.cut, "stall": proxy.stall, "mute": proxy.mute}[kind](name)

    def heal(self, name: str) -> None:
        for proxy in self._proxies:
            proxy.heal(name)

    def close(self) -> None:
        for proxy in self._proxies:
            proxy.close()


class Relayed:
    """A relay for calls: it loses some answers, or doubles what passes."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._lines: dict[str, Line] = {}

    def line(self, name: str) -> Line:
        if name not in self._lines:
            self._lines[name] = Line(self._relay.line(name))
        return self._lines[name]

    def bury(self, name: str) -> None:
        """The relay keeps nothing back: what has reached it is delivered at once."""

    def fail(self, name: str, kind: str) -> None:
        self._relay.fail(name, kind)

    def heal(self, name: str) -> None:
        self._relay.heal(name)

    def close(self) -> None:
        self._relay.close()


class Networked:
    """A network namespace for each client: all packets are lost, and nobody is told."""

    def __init__(self, servers: Sequence[Address], networks: Namespaces) -> None:
        self._address = joined(servers)
        self._networks = networks

    def line(self, name: str) -> Line:
        self._networks.add(name)
        return Line(self._address, self._networks.under(name))

    def bury(self, name: str) -> None:
        self._networks.remove(name)

    def fail(self, name: str, kind: str) -> None:
        if kind != "part":
            raise ValueError(f"a network has no {kind}")
        self._networks.cut(name)

    def heal(self, name: str) -> None:
        if self._networks.has(name):  # else its program has died meanwhile
            self._networks.heal(name)

    def close(self) -> None:
        """The namespaces end with their owner, which servers may share."""

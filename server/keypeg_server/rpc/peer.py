"""Where a call comes from, as this server sees it: never what the client says.

Promises: the address of a network connection without its port; empty for one that comes from no network
(a Unix socket), and for what gRPC writes in a way that is not known here.

A call that another server of the database carried here has the address that that one saw (relayed.py).

Leaves to others: what rules make of it (domain/pool_rules.py). Behind a proxy it is the proxy's address.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import unquote

from keypeg_server.rpc import relayed

_KNOWN_PEERS: Final = 4_096  # connections whose addresses are not read again at each call


def address_of(context: Any) -> str:
    """The address of the other side of a call."""
    carried = relayed.origin()
    return address_in(context.peer()) if carried is None else carried


@lru_cache(_KNOWN_PEERS)
def address_in(peer: str) -> str:
    """The address in what gRPC calls a peer: `ipv4:10.0.0.7:4711`, `ipv6:%5B::1%5D:4711`, `unix:`."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return plain(rest.rpartition(":")[0].strip("[]"))


def plain(host: str) -> str:
    """An address as the system writes it, in the one way that counts here; empty for what is none."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)

"""The address of a call is what gRPC says of the connection, in every form that it writes."""

from __future__ import annotations

import pytest

from keypeg_server.rpc.peer import address_in


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.7:4711", "10.0.0.7"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("ipv6:[2001:db8::7]:4711", "2001:db8::7"),
        ("ipv6:[::ffff:10.0.0.7]:4711", "10.0.0.7"),
        ("ipv6:[fe80::1%25eth0]:4711", "fe80::1"),
        ("unix:", ""),
        ("unix:/run/keypeg.sock", ""),
        ("ipv4:somewhere:1", ""),
        ("", ""),
    ],
)
def test_an_address_is_found_or_empty(peer: str, address: str) -> None:
    assert address_in(peer) == address

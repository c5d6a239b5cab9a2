"""What doctor tries on the network: one connection at a time, each with a bounded wait.

Promises: sends nothing but a TLS handshake, and never a token.

Leaves to others: what a failure means (doctor.py).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from keypeg.profile import Profile

PATIENCE: Final = 3.0  # s for one connection


def addresses(server: str) -> Iterator[tuple[str, int]]:
    """Host and port of each address of a server."""
    for part in server.split(","):
        host, _, port = part.strip().rpartition(":")
        if host and port.isdigit():
            yield host.strip("[]"), int(port)


def reach(host: str, port: int) -> str:
    """Why there is no connection; empty when there is."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return ""
    except socket.gaierror:
        return "the name has no address"
    except TimeoutError:
        return f"no answer within {PATIENCE:g} s"
    except OSError as error:
        return error.strerror or str(error)


def handshake(host: str, port: int, profile: Profile) -> str:
    """The TLS version and cipher that the server speaks, its certificate verified."""
    context = ssl.create_default_context()
    if profile.ca_file:
        context = ssl.create_default_context(cafile=str(Path(profile.ca_file).expanduser()))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=host) as secure,
    ):
        cipher = secure.cipher()
        return f"{secure.version()}, {cipher[0] if cipher else 'no cipher'}"


def socket_problem(path: str) -> str:
    """Why a Unix socket does not take a connection; empty when it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(PATIENCE)
        try:
            trial.connect(path)
        except OSError as error:
            return error.strerror or str(error)
    return ""

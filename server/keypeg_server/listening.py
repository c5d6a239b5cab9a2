"""Binding the port of a server, and saying why when it can not be.

Promises: a port that is taken, forbidden or not of this computer is a StartError of one sentence.

Leaves to others: the certificate (certificates.py), the server's options (rpc/limits.py).
"""

from __future__ import annotations

import socket

import grpc
import grpc.aio

from keypeg_server.opened import StartError


def bind(
    server: grpc.aio.Server,
    listen: str,
    credentials: grpc.ServerCredentials,
    setting: str = "--listen or server.listen",
) -> str:
    """Bind the port; the address that clients use. `setting` is what says another."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise StartError(f"{listen!r} is no address and port such as 127.0.0.1:7400 or [::1]:0.")
    if int(port):
        _check_free(host.strip("[]"), int(port), listen, setting)
    try:
        bound = server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise StartError(f"The server can not listen on {listen}; choose another.") from error
    return f"{host}:{bound}"


def _check_free(host: str, port: int, listen: str, setting: str) -> None:
    """Find out why a port can not be bound, which gRPC tells only its log."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        raise StartError(
            f"The server can not listen on {listen} ({error.strerror}); stop what uses it, or choose "
            f"another address with {setting}."
        ) from error

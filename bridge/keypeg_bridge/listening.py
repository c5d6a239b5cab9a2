"""Where the bridge is found: its own socket, TLS when it is told to, and the ready file that names both.

Promises: whatever keeps the bridge from being found safely is a `StartError` of one sentence, before any key is touched: a socket that
another user could take over, a bridge that serves there already, an address that other computers reach unasked.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog

from keypeg import discovery
from keypeg.agent import LocalPort
from keypeg_bridge import identity
from keypeg_bridge.settings import Settings

_LOG = structlog.get_logger(__name__)


class StartError(Exception):
    """Why the bridge cannot start; one sentence."""


def local_port(settings: Settings) -> LocalPort:
    """The bridge's own socket, not open yet; refused before any key is touched when another bridge serves there."""
    chosen = settings.listen.socket
    path = Path(chosen).absolute() if chosen else discovery.bridge_socket()
    if not _is_ours(path.parent):
        raise StartError(
            f"{path.parent} belongs to another user, who could put a bridge of their own there."
            " Choose another socket with --socket."
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(1)
        with contextlib.suppress(OSError):  # nobody there, or nothing: `open` says what is wrong
            trial.connect(str(path))
            raise StartError(
                f"Another bridge serves on {path} already. Use it, or choose another socket."
            )
    try:
        return LocalPort(path)
    except OSError as error:
        raise socket_error(path, error) from error


def _is_ours(folder: Path) -> bool:
    """Whether a folder is this user's or the system's own, or is not there yet."""
    try:
        return folder.stat().st_uid in (0, os.getuid())
    except OSError:
        return True  # to be made, or for `open` to say what is wrong


def socket_error(path: Path, error: OSError) -> StartError:
    """What is wrong with the socket."""
    why = (error.strerror or str(error)).rstrip(".")
    return StartError(f"The socket {path} cannot be used: {why}. Choose another with --socket.")


def add_tls(
    server: grpc.aio.Server, settings: Settings, state: Path, now: datetime
) -> dict[str, Any]:
    """Listen on loopback TLS too; what clients need to know of it."""
    text = settings.listen.tls
    host, _, number = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        address = ipaddress.ip_address(host)
        if not (number.isascii() and number.isdigit() and int(number) < 65_536):
            raise ValueError
    except ValueError:
        raise StartError(
            f"{text!r} is no address and port. Use for example 127.0.0.1:0, where port 0 takes a"
            " free one."
        ) from None
    if not address.is_loopback and not settings.listen.lan:
        raise StartError(
            f"{host} can be reached from other computers. Use 127.0.0.1, or add --lan if that is"
            " what you want."
        )
    made = identity.certificate(state, str(address), now)
    credentials = grpc.ssl_server_credentials([(made.key, made.chain)])
    shown = f"[{address}]" if address.version == 6 else str(address)
    try:
        bound = server.add_secure_port(f"{shown}:{number}", credentials)
    except RuntimeError:
        bound = 0
    if not bound:
        raise StartError(f"{text} is taken or not an address of this computer. Choose another.")
    return {"address": f"{shown}:{bound}", "ca_file": str(made.ca_file)}


def withdraw(ready_file: Path | None) -> None:
    """No ready file while the bridge does not serve."""
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)


def announce(facts: dict[str, Any], ready_file: Path | None) -> None:
    """Say that the bridge serves, in the log and in the ready file."""
    _LOG.info("serving", **facts)
    if ready_file is None:
        return
    partial = ready_file.with_name(f"{ready_file.name}.partial")
    try:
        partial.write_text(json.dumps(facts) + "\n")
        partial.replace(ready_file)
    except OSError as error:
        raise StartError(
            f"The ready file {ready_file} cannot be written: {error.strerror}."
        ) from error

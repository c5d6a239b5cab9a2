"""A tap on the wire between apps and a server: it ends TLS as the server, begins it again as the app, and writes down what passes.

Promises: HTTP/2 frames as they pass, each with its direction, time, type and payload; messages of gRPC put together
from them. It adds, drops and changes nothing.

Leaves to others: what may pass (test_cloud.py).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PING = 0, 1, 6  # RFC 9113 section 6
NAMES: Final = {0: "DATA", 1: "HEADERS", 3: "RST_STREAM", 4: "SETTINGS", 6: "PING", 7: "GOAWAY"} | {
    8: "WINDOW_UPDATE"
}


@dataclass(frozen=True)
class Frame:
    """One frame of HTTP/2."""

    at: float  # monotonic
    to_server: bool
    kind: int
    stream: int
    payload: bytes

    @property
    def called(self) -> str:
        return NAMES.get(self.kind, str(self.kind))

    @property
    def size(self) -> int:
        """With its head."""
        return 9 + len(self.payload)


class _Half:
    """Frames out of the bytes of one direction."""

    def __init__(self, to_server: bool) -> None:
        self._to_server = to_server
        self._buffer = b""
        self._begun = not to_server  # the server sends no preface

    def feed(self, data: bytes, at: float) -> list[Frame]:
        self._buffer += data
        if not self._begun:
            if len(self._buffer) < len(PREFACE):
                return []
            assert self._buffer.startswith(PREFACE), "it speaks HTTP/2"
            self._buffer, self._begun = self._buffer[len(PREFACE) :], True
        found = []
        while len(self._buffer) >= 9:
            length = int.from_bytes(self._buffer[:3])
            if len(self._buffer) < 9 + length:
                break
            stream = int.from_bytes(self._buffer[5:9]) & 0x7FFFFFFF
            payload = self._buffer[9 : 9 + length]
            found.append(Frame(at, self._to_server, self._buffer[3], stream, payload))
            self._buffer = self._buffer[9 + length :]
        return found


class Tap:
    """Listens on an address of its own, for one server."""

    def __init__(self, address: str, tls: Path, ca_file: Path) -> None:
        """`tls` is the server's folder with its certificate and key."""
        host, _, port = address.rpartition(":")
        self._server = host, int(port)
        self._as_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._as_server.load_cert_chain(tls / "server.pem", tls / "server.key")
        self._as_server.set_alpn_protocols(["h2"])
        self._as_app = ssl.create_default_context(cafile=str(ca_file))
        self._as_app.set_alpn_protocols(["h2"])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._frames: list[Frame] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def frames(self, since: int = 0) -> list[Frame]:
        """What has passed, from a number on."""
        with self._lock:
            return self._frames[since:]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                accepted, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._carry, args=(accepted,), daemon=True).start()

    def _carry(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):
            app = self._as_server.wrap_socket(accepted, server_side=True)
            server = self._as_app.wrap_socket(
                socket.create_connection(self._server), server_hostname=self._server[0]
            )
            ways = {app: (server, _Half(True)), server: (app, _Half(False))}
            with app, server, selectors.DefaultSelector() as ready:
                for one in ways:
                    one.setblocking(False)
                    ready.register(one, selectors.EVENT_READ)
                while True:
                    for key, _ in ready.select():
                        source = key.fileobj
                        assert isinstance(source, ssl.SSLSocket)
                        target, half = ways[source]
                        if not self._pump(source, target, half):
                            return

    def _pump(self, source: ssl.SSLSocket, target: ssl.SSLSocket, half: _Half) -> bool:
        """Carry what is there; False at the end."""
        while True:
            try:
                data = source.recv(65_536)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return True
            if not data:
                return False
            frames = half.feed(data, time.monotonic())
            with self._lock:
                self._frames += frames
            target.setblocking(True)
            target.sendall(data)
            target.setblocking(False)


def messages(frames: list[Frame], *, to_server: bool) -> list[bytes]:
    """The messages of gRPC in the DATA frames of one direction; none compressed or padded."""
    streams: dict[int, bytes] = {}
    found = []
    for frame in frames:
        if frame.to_server is to_server and frame.kind == DATA:
            buffer = streams.get(frame.stream, b"") + frame.payload
            while len(buffer) >= 5 and len(buffer) >= 5 + int.from_bytes(buffer[1:5]):
                assert buffer[0] == 0, "not compressed"
                end = 5 + int.from_bytes(buffer[1:5])
                found.append(buffer[5:end])
                buffer = buffer[end:]
            streams[frame.stream] = buffer
    assert not any(streams.values()), "whole messages"
    return found

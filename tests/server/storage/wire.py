"""A wire to a database that can be cut at the worst moment: a port on loopback that passes bytes on.

Promises: until it is told otherwise it passes everything on, both ways. `lose_reply` lets the next request with
COMMIT through, waits until the database has answered it, and then closes both ends; `lose_request` closes them
instead of passing it on. `down` takes no connections.

Leaves to others: what is sent.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class Wire:
    """To one port on loopback."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loses = ""
        self.cut = threading.Event()  # a commit was lost, as was asked for
        self.down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_reply(self, *, stay_down: bool = False) -> None:
        """Lose what the database says to the next COMMIT; `stay_down`: and then go down."""
        self._loses, self._stays = "reply", stay_down

    def lose_request(self) -> None:
        """Lose the next COMMIT."""
        self._loses, self._stays = "request", False

    def close(self) -> None:
        """Take no more."""
        self.down = True
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._to))
            threading.Thread(target=self._pass, args=(near, far), daemon=True).start()

    def _pass(self, near: socket.socket, far: socket.socket) -> None:
        losing = False
        with near, far, contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([near, far], [], [])
                for one in ready:
                    piece = one.recv(1 << 16)
                    if not piece or (one is far and losing):
                        if losing:
                            self._lost()
                        return
                    if one is near and self._loses and b"COMMIT" in piece:
                        losing = True
                        if self._loses == "request":
                            self._lost()
                            return
                    (far if one is near else near).sendall(piece)

    def _lost(self) -> None:
        self._loses = ""
        self.down = self._stays
        self.cut.set()

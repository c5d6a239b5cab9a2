"""Where a browser comes back to after a sign-in elsewhere: a port of this computer, for one answer (RFC 8252, 7.3).

Promises: listens on the loopback address alone, on a port that the system chooses, and takes one request: the one with
the state that was asked for. Others are answered and forgotten: whatever else speaks to the port neither ends nor
disturbs the sign-in. Requests are read up to `LINE` and for `READ_TIME`.

Leaves to others: what the answer is good for (provider_login.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, urlsplit

LINE: Final = 8_192  # bytes of a request line
READ_TIME: Final = 5.0  # seconds for it to come
PATH: Final = "/callback"
_PAGE: Final = (
    "<!doctype html><meta charset=utf-8><title>keypeg</title>"
    "<p style='font:1.2em sans-serif;margin:3em'>{text}</p>"
)


@dataclass(frozen=True)
class Redirect:
    """What a provider sends back with the browser."""

    code: str = field(repr=False)
    state: str = field(repr=False)
    issuer: str
    error: str  # a word; empty where there is a code


def read(line: bytes, state: str) -> Redirect | None:
    """What a request line says; None for one that is not the answer to this state."""
    try:
        method, target, _ = line.decode("ascii").split(" ", 2)
        parts = urlsplit(target)
        found = parse_qs(parts.query, max_num_fields=32)
    except ValueError:
        return None
    if method != "GET" or parts.path != PATH:
        return None
    said = {name: values[0] for name, values in found.items() if len(values) == 1}
    if not hmac.compare_digest(said.get("state", "").encode(), state.encode()):
        return None
    code, error = said.get("code", ""), said.get("error", "")
    if bool(code) == bool(error):
        return None
    return Redirect(code, state, said.get("iss", ""), error)


def is_page(url: str) -> bool:
    """Whether a browser may be sent there: https, or http on this computer. Other addresses open other programs."""
    try:
        parts = urlsplit(url)
        here = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1")
    except ValueError:
        return False
    safe = url.isascii() and url.isprintable() and " " not in url
    return safe and bool(parts.hostname) and (here or parts.scheme == "https")


class Callback:
    """A port that waits for a browser."""

    def __init__(self) -> None:
        self.uri = ""
        self._state = ""
        self._came: asyncio.Future[Redirect] = asyncio.get_running_loop().create_future()

    async def answer(self, state: str, seconds: float) -> Redirect:
        """What the browser brings back; TimeoutError when it does not come."""
        self._state = state
        async with asyncio.timeout(seconds):
            return await self._came

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            async with asyncio.timeout(READ_TIME):
                found = read(await reader.readline(), self._state) if self._state else None
                status, text = "404 Not Found", "There is nothing here."
                if found is not None:
                    status, text = "200 OK", "Done: close this window, and go on in the terminal."
                page = _PAGE.format(text=text).encode()
                head = (
                    f"HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\n"
                    f"content-length: {len(page)}\r\ncache-control: no-store\r\n"
                    "referrer-policy: no-referrer\r\nconnection: close\r\n\r\n"
                )
                writer.write(head.encode() + page)
                await writer.drain()
                if found is not None and not self._came.done():
                    self._came.set_result(found)
        except (TimeoutError, OSError, ValueError):
            pass  # it is not the browser that is waited for
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[Callback]:
    """A port, until the end of this."""
    callback = Callback()
    server = await asyncio.start_server(callback.serve, "127.0.0.1", 0, limit=LINE)
    port = server.sockets[0].getsockname()[1]
    callback.uri = f"http://127.0.0.1:{port}{PATH}"
    try:
        yield callback
    finally:
        server.close()

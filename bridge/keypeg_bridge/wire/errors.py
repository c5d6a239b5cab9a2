"""The one error of everything that reads foreign bytes.

Every decoder in this package raises `MalformedFrame` for bytes that its protocol does not allow, and nothing else. What
to do then (drop the connection, stall the transfer, give up the key) is left to the caller.
"""

from __future__ import annotations


class MalformedFrame(ValueError):
    """Bytes that break a protocol's rules; carries which protocol and which rule, never the bytes."""

    def __init__(self, protocol: str, detail: str) -> None:
        super().__init__(f"malformed {protocol} bytes: {detail}")
        self.protocol = protocol
        self.detail = detail

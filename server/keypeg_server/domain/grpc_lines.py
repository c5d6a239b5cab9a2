"""What gRPC's own lines mean: it tells a program nothing of connections that end before a call, and writes why.

Promises: pure. A handshake that failed has its reason in plain words, warnings and errors are what they are, and what else
gRPC says of its work is left out. Whatever the lines hold, what comes of them is printable, on one line, and bounded:
clients have a part in them.

Leaves to others: where the lines come from (grpc_words.py), and how often each kind is told (noticing.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

SAID: Final = 300  # characters of one line
LAST: Final = 4_000  # characters of several

_LINE: Final = re.compile(
    r"(?P<severity>[IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ (?P<place>[\w./-]+:\d+)\] (?P<text>.*)"
)
_HANDSHAKE: Final = re.compile(
    r"Handshake failed with error (?P<kind>\w+)"
    r"(?:: error:[0-9a-f]+:[^:]*:[^:]*:(?P<reason>\w+)(?:: (?P<detail>.*))?)?"
)
_UNKNOWN_NAME: Final = "No match found for server name: "
_NO_DETAIL: Final = "Invalid certificate verification context"  # says that there is none
_NOISE: Final = ("Log level INFO is not suitable",)

_NO_TLS: Final = "no TLS: plain text, or another protocol"
_OLD_TLS: Final = "no version of TLS from 1.2 on"
_UNTRUSTED: Final = "the client does not trust this server's certificate"
_BROKEN: Final = "what came is no TLS handshake"
_NOTHING_IN_COMMON: Final = "the client has no cipher or curve that is allowed here"

WHY: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": "no TLS: plain HTTP",
    "HTTPS_PROXY_REQUEST": "no TLS: it takes this server for a proxy",
    "UNSUPPORTED_PROTOCOL": _OLD_TLS,
    "TLSV1_ALERT_PROTOCOL_VERSION": _OLD_TLS,
    "TLSV1_ALERT_UNKNOWN_CA": _UNTRUSTED,
    "SSLV3_ALERT_BAD_CERTIFICATE": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _UNTRUSTED,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _UNTRUSTED,
    # What BoringSSL makes of a client that breaks off before it has keys of TLS 1.3: an alert in the clear.
    "BAD_PACKET_LENGTH": "the client broke off: it may not trust this server's certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client showed no certificate",
    "CERTIFICATE_VERIFY_FAILED": "the client's certificate is not of this server's authority",
    "NO_SHARED_CIPHER": _NOTHING_IN_COMMON,
    "NO_SHARED_GROUP": _NOTHING_IN_COMMON,
    "WRONG_CURVE": _NOTHING_IN_COMMON,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the client broke off",
    "DATA_LENGTH_TOO_LONG": _BROKEN,
    "ENCRYPTED_LENGTH_TOO_LONG": _BROKEN,
    "EXCESSIVE_MESSAGE_SIZE": _BROKEN,
    "UNEXPECTED_RECORD": _BROKEN,
}
"""Why a handshake failed, by the library's own reason."""

WHY_EXACTLY: Final = {
    "certificate has expired": "the client's certificate has ended",
    "certificate is not yet valid": "the client's certificate has not begun",
}
"""The same, where what the library adds to its reason says more."""

_LEVELS: Final = {"W": "warning", "E": "error", "F": "error"}


@dataclass(frozen=True)
class Record:
    """One record for the log; how often those of one `kind` are told is counted."""

    event: str
    level: str  # info, warning or error
    kind: tuple[str, ...]
    fields: dict[str, str] = field(default_factory=dict)


def records(text: str) -> Iterator[Record]:
    """What whole lines say that is worth a record, in order; what is no line of gRPC's is one record, at the end."""
    others: list[str] = []
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            others.append(line)
        elif (record := _of_line(*found.group("severity", "place", "text"))) is not None:
            yield record
    if said := one_line(others):
        yield Record("words on standard error", "warning", ("others",), {"said": said})


def last_words(text: str) -> str:
    """What the end of a process may have to do with, of what it wrote; empty when there is nothing."""
    worth = []
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        if found is None or (found["severity"] != "I" and not found["text"].startswith(_NOISE)):
            worth.append(line)
    return one_line(worth)


def one_line(lines: list[str]) -> str:
    """Lines as one that can be printed: the last of them, when they are long."""
    whole = " | ".join(line.rstrip() for line in lines if line.strip())
    return _printable(whole if len(whole) <= LAST else "... " + whole[-LAST:])


def _of_line(severity: str, place: str, text: str) -> Record | None:
    if text.startswith(_UNKNOWN_NAME):  # any client can have it written, as an error
        name = _printable(text.removeprefix(_UNKNOWN_NAME)[:SAID])
        return Record(
            "server name not in the certificate", "info", ("server name",), {"name": name}
        )
    if (failed := _HANDSHAKE.fullmatch(text)) is not None:
        return _of_handshake(failed["reason"] or failed["kind"], failed["detail"] or "")
    if severity not in _LEVELS or text.startswith(_NOISE):
        return None
    said = {"place": place, "said": _printable(text[:SAID])}
    return Record("gRPC says", _LEVELS[severity], ("gRPC", place), said)


def _of_handshake(reason: str, detail: str) -> Record:
    exactly = _printable(detail[:SAID]) if detail != _NO_DETAIL else ""
    why = WHY_EXACTLY.get(exactly) or WHY.get(reason) or "as the reason says"
    fields = {"reason": reason, "why": why} | ({"detail": exactly} if exactly else {})
    return Record("handshake failed", "info", ("handshake", reason, exactly), fields)


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)

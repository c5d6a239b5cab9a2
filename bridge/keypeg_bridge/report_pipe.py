"""The reports of one security key on standard input and output: for programs that speak FIDO themselves.

    python -m keypeg_bridge.report_pipe usbip:127.0.0.1:3240

Promises: each 64 bytes that come in go to the key as one report, and each report of the key goes out as 64 bytes; nothing
is looked at on the way. Ends when standard input does, or the key goes. Exit codes: 0 ended so, 1 no key, with a sentence
on standard error.

Leaves to others: what the reports say (CTAP), and which key; there must be one.
"""

from __future__ import annotations

import os
import select
import sys
from typing import Final

from keypeg.clock import SystemClock
from keypeg_bridge.transport.backends import FORMS, make_backend
from keypeg_bridge.transport.errors import DeviceTimeout, TransportError
from keypeg_bridge.transport.ports import FIDO, HidPipe
from keypeg_bridge.wire.ctaphid import PACKET_BYTES

WRITE_SECONDS: Final = 2.0  # for a key to take a report
READ_SECONDS: Final = 0.02  # one wait for the key; what comes in waits meanwhile
REST_SECONDS: Final = 0.05  # between two of them, unless something comes in
_IN, _OUT = 0, 1  # file descriptors: nothing is buffered


def main(arguments: list[str]) -> int:
    """Serve until there is an end; the exit code."""
    if len(arguments) != 1:
        return _failed(f"Name the way to the key: one of {FORMS}.")
    try:
        pipe = _opened(arguments[0])
    except (TransportError, ValueError) as error:
        return _failed(str(error))
    try:
        while _passed(pipe):
            pass
    except TransportError as error:
        return _failed(str(error))
    finally:
        pipe.close()
    return 0


def _passed(pipe: HidPipe) -> bool:
    """Pass on what there is in either direction; False at the end of standard input. A pipe is of one thread."""
    if select.select([_IN], [], [], 0.0)[0]:
        report = _report()
        if len(report) < PACKET_BYTES:
            return False
        pipe.write(report, WRITE_SECONDS)
        return True
    try:
        report = pipe.read(READ_SECONDS)
    except DeviceTimeout:
        select.select([_IN], [], [], REST_SECONDS)  # keys that have been asked nothing say nothing
        return True
    os.write(_OUT, report.ljust(PACKET_BYTES, b"\0"))
    return True


def _opened(way: str) -> HidPipe:
    backend = make_backend(way, SystemClock().monotonic)
    found, problems = backend.devices()
    keys = [one for one in found if FIDO in one.interfaces]
    if not keys and problems:
        raise TransportError(problems[0].text)
    if len(keys) != 1:
        raise TransportError(
            f"There are {len(keys)} security keys at {way}, and it takes exactly one; plug it in, and others out."
        )
    return backend.open_hid(keys[0].handle)


def _report() -> bytes:
    """The next report; fewer bytes at the end."""
    report = b""
    while len(report) < PACKET_BYTES and (more := os.read(_IN, PACKET_BYTES - len(report))):
        report += more
    return report


def _failed(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Argon2id, and a program that hashes and checks passwords with it when nobody else wants the processor.

Promises: what is kept of a password is a PHC string with its own salt and cost. The program does its work at the lowest rank
that the system has, and ends with whoever it was started for, however that ends.

Leaves to others: who is checked where (passwords.py), starting the program (aside.py).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import sys
import threading
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SALT_BYTES: Final = 16  # RFC 9106, 3.1
HASH_BYTES: Final = 32
INTERRUPT_SECONDS: Final = 0.000_5


@dataclass(frozen=True)
class Cost:
    """What one check costs; see settings, section passwords."""

    memory_kib: int
    iterations: int
    lanes: int


def derived(password: str, cost: Cost) -> str:
    """The PHC string to keep."""
    kdf = Argon2id(
        salt=os.urandom(SALT_BYTES),
        length=HASH_BYTES,
        iterations=cost.iterations,
        lanes=cost.lanes,
        memory_cost=cost.memory_kib,
    )
    return kdf.derive_phc_encoded(_prepared(password))


def decoy(cost: Cost) -> str:
    """A PHC string of no password, which costs as much to check as any."""
    salt, key = (
        base64.b64encode(os.urandom(size)).decode().rstrip("=") for size in (SALT_BYTES, HASH_BYTES)
    )
    return f"$argon2id$v=19$m={cost.memory_kib},t={cost.iterations},p={cost.lanes}${salt}${key}"


def verified(password: str, kept: str) -> bool:
    """Whether a password is the one of a PHC string."""
    try:
        Argon2id.verify_phc_encoded(_prepared(password), kept)
    except InvalidKey:
        return False
    return True


def _prepared(password: str) -> bytes:
    """The same bytes however a keyboard composes the same characters (RFC 8265, 4.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8")


def serve(at_once: int) -> None:
    """The program: lines `[number, password, PHC string]` are answered by `[number, right]`, so many at once in any order.

    With a Cost as an array in the place of the PHC string, the answer is one. It is null for what could not be done.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # told to the server as well, which may go on
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    under_way = threading.Semaphore(0)

    def answer(line: bytes) -> None:
        number, password, by = json.loads(line)
        found: bool | str | None = None
        try:
            found = verified(password, by) if type(by) is str else derived(password, Cost(*by))
        finally:
            under_way.acquire()
            with contextlib.suppress(BrokenPipeError):
                os.write(1, json.dumps([number, found]).encode() + b"\n")

    threading.Thread(target=_interrupt, args=(under_way,), daemon=True).start()
    threads = ThreadPoolExecutor(at_once, initializer=_give_way)
    for line in sys.stdin.buffer:
        under_way.release()
        threads.submit(answer, line)
    os._exit(0)  # nobody waits for what is under way


def _interrupt(under_way: threading.Semaphore) -> None:
    """Wake up again and again while something is under way, so that the system chooses anew who runs.

    Linux chooses when somebody wakes up, and finds that who had much of late may wait a moment; how short, it sees when
    it looks the next time: 4 ms later, or here.
    """
    while True:
        with under_way:
            pass
        time.sleep(INTERRUPT_SECONDS)


def _give_way() -> None:
    """Run this thread only when no other wants to. Whoever has no rights never comes back from that."""
    idle = getattr(os, "SCHED_IDLE", None)
    if idle is not None:
        with contextlib.suppress(OSError):  # where a filter forbids it
            os.sched_setscheduler(threading.get_native_id(), idle, os.sched_param(0))
    else:
        with contextlib.suppress(AttributeError):  # nothing of the kind on Windows
            os.nice(19)

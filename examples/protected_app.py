"""A protected app: it runs as long as its license says so, and prints what happens as lines of JSON.

Promises: it uses the SDK alone, and nothing of it that is not public. Where it finds no license and a person is at a
terminal or a desktop, it asks them what helps (--ask; KEYPEG_ASK). It ends with SIGTERM, SIGINT, or the
end of its standard input (a pipe or a terminal), giving everything back first; its exit status is then 0, and
1 when the license made it stop.

    python examples/protected_app.py --product publishers/acme/products/cad --root HEX_OR_FILE
        [--seat [--wait]] [--cloud open] [--ask never]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import keypeg
from keypeg import events

PRINTING_TIME = 2.0  # s for the last line to be printed
AGAIN_SECONDS = 0.5  # until a signal that was lost comes again

_lines = threading.Lock()


def say(event: str, **facts: Any) -> None:
    """One line of JSON; `at` is in seconds on this computer's monotonic clock."""
    with _lines:
        print(json.dumps({"event": event, "at": time.monotonic(), **facts}), flush=True)


def tell(event: keypeg.Event) -> dict[str, Any]:
    """The facts of an event."""
    match event:
        case events.Running():
            return {
                "session": event.session,
                "location": event.location,
                "features": event.features,
                "seat_required": event.seat_required,
                "borrowed_until": event.borrowed_until and event.borrowed_until.isoformat(),
                **duration(event.may_run_for),
            }
        case events.Reconnected():
            return {"session": event.session, "resumed": event.resumed}
        case events.Queued():
            return {"position": event.place.position, "waiting_count": event.place.waiting_count}
        case events.SeatAcquired():
            return {
                "lease": event.lease.name,
                "units": event.lease.units,
                "fencing_number": event.lease.fencing_number,
            }
        case events.SeatReleased():
            return {"lease": event.lease.name}
        case events.SeatRecalled() | events.SeatLost():
            return {"lease": event.lease.name, **why(event.error)}
        case events.KeyMissing():
            return {"key": event.resource, **duration(event.may_run_for), **why(event.error)}
        case events.KeyReturned():
            return {"key": event.resource}
        case events.ConnectionLost() | events.RenewalRefused():
            return {**duration(event.may_run_for), **why(event.error)}
        case events.Changed():
            return {"change": event.kind.name, "resource": event.resource}
        case events.Stopped():
            return why(event.error)
    return {}


def why(error: keypeg.KeypegError | None) -> dict[str, Any]:
    """An error as facts."""
    if error is None:
        return {"reason": None}
    return {"reason": error.reason.name, "sentence": error.sentence, "metadata": error.metadata}


def duration(may_run_for: timedelta) -> dict[str, float]:
    """A duration as facts."""
    return {"may_run_for_seconds": round(may_run_for.total_seconds(), 3)}


def event_name(event: keypeg.Event) -> str:
    """`KeyMissing` is key_missing; a seat that is acquired is plainly `seat`."""
    if isinstance(event, events.SeatAcquired):
        return "seat"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()


def run(options: argparse.Namespace) -> int:
    """The app: opens, takes its seat, and works until something ends it."""
    last = threading.Event()

    def on_event(event: keypeg.Event) -> None:
        say(event_name(event), **tell(event))
        if isinstance(event, events.Stopped):
            last.set()

    try:
        session = keypeg.launch(
            options.product,
            root=root_key(options.root),
            ask=options.ask,
            publisher=options.publisher,
            app_name="protected-app",
            app_version=options.app_version,
            app_released=options.app_released,
            locations=options.location or None,
            cloud=options.cloud,
            on_event=on_event,
        )
    except keypeg.KeypegError as error:
        say("stopped", **why(error))
        return 1
    if is_terminal():
        end_with_input()
    try:
        with session:
            return work(session, options)
    finally:
        last.wait(PRINTING_TIME)


def work(session: keypeg.Session, options: argparse.Namespace) -> int:
    """What the license is for."""
    if not options.seat:
        return until_over(session)
    seat = session.seat(
        options.units,
        options.feature,
        wait=options.wait,
        timeout=options.timeout,
        priority=options.priority,
    )
    try:
        with until_told():
            seat.acquire()
    except keypeg.KeypegError as error:
        say("denied", **why(error))
        return 1
    with seat:
        try:
            return until_over(session)
        finally:
            say("releasing")  # from here on the app does nothing that needs the seat


def until_over(session: keypeg.Session) -> int:
    """Waits until the session stops or the seat is gone."""
    with until_told():
        for event in session.events():
            if isinstance(event, events.SeatLost | events.SeatRecalled | events.Stopped):
                return 1
    return 1


def root_key(text: str) -> bytes:
    """The publisher's root: hexadecimal, or a file with that or with the 32 bytes."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    data = Path(text).read_bytes()
    return data if len(data) == 32 else bytes.fromhex(data.decode().strip())


def end_with_input() -> None:
    """Ends the app when its standard input ends, if that can end at all."""
    mode = os.fstat(sys.stdin.fileno()).st_mode if sys.stdin else 0
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or (sys.stdin and sys.stdin.isatty())):
        return

    def read() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, daemon=True).start()


def is_terminal() -> bool:
    """Whether standard input is a terminal, which is left to the questions until the app runs."""
    return sys.stdin is not None and sys.stdin.isatty()


def on_signal(number: int, frame: FrameType | None) -> None:
    """Leaves every `with` block on the way out; a second signal changes nothing.

    Python drops what is raised while it calls back for an object that goes: then it is raised again.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
    raise SystemExit(0)


@contextlib.contextmanager
def until_told() -> Iterator[None]:
    """Where the app waits: what a signal raised has come through."""
    try:
        yield
    except SystemExit:
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        raise


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line; what is missing comes from the environment."""
    env = os.environ
    parser = argparse.ArgumentParser(description="A protected app that prints what happens.")
    parser.add_argument("--product", default=env.get("APP_PRODUCT"), help="or APP_PRODUCT")
    parser.add_argument(
        "--root", default=env.get("APP_ROOT"), help="hexadecimal or a file; or APP_ROOT"
    )
    parser.add_argument("--publisher", help="accept this publisher only")
    parser.add_argument("--app-version", default="1.0.0")
    parser.add_argument("--app-released", type=date.fromisoformat, help="a day")
    parser.add_argument("--location", action="append", help="cloud, key, host or site")
    parser.add_argument("--cloud", choices=["ask", "open", "move", "never"])
    parser.add_argument("--ask", choices=["auto", "terminal", "dialog", "never"])
    parser.add_argument("--seat", action="store_true", help="take a seat")
    parser.add_argument("--wait", action="store_true", help="wait in the queue for it")
    parser.add_argument("--timeout", type=float, help="for so many seconds")
    parser.add_argument("--units", type=int, default=1)
    parser.add_argument("--priority", type=int, default=0)
    parser.add_argument("--feature", action="append", default=[], help="take it with the seat")
    options = parser.parse_args(arguments)
    if not options.product or not options.root:
        parser.error("--product and --root are needed")
    return options


def main() -> int:
    """The program."""
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    say("started", pid=os.getpid())
    if not is_terminal():
        end_with_input()
    with until_told():
        return run(options)


if __name__ == "__main__":
    sys.exit(main())

"""Sessions without asyncio: the same, from plain code, and its dangers: forks, threads, the interpreter's end."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

import keypeg
from keypeg import background, errors, events
from keypeg.testing import StandInHost
from tests.client.sdk_fixtures import computer

__all__ = ["computer"]
pytestmark = pytest.mark.usefixtures("computer")

TIMEOUT = 20  # s; a bound for what takes milliseconds


@pytest.fixture
def site():
    with StandInHost("demo", kind="site", seat_count=1, seat_required=True) as host:
        yield host


def opened(host: StandInHost, **options) -> keypeg.Session:
    return keypeg.open_session("demo", root=host.root.hex(), server=host.target, **options)


def test_an_app_takes_a_seat_and_gives_it_back(site):
    with opened(site) as session:
        assert not session.may_run
        with session.seat() as seat:
            assert session.may_run
            assert seat.held
            assert seat.lease.pool == "pools/stand-in"
            with pytest.raises(errors.TimedOut):
                session.seat(wait=True, timeout=0.1).acquire()
        assert not seat.held
        assert site.pool.leases == {}
    assert site.sessions == {}
    assert [type(event).__name__ for event in session.events()][-1] == "Stopped"


def test_many_threads_share_one_session(site):
    site.terms.seat_count = 8
    with opened(site) as session:
        numbers = []
        barrier = threading.Barrier(8)

        def work() -> None:
            with session.seat(wait=True) as seat:
                numbers.append(seat.fencing_number)
                barrier.wait(TIMEOUT)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert len(set(numbers)) == 8
        assert site.pool.leases == {}


def test_waiting_for_the_end_from_another_thread(site):
    with opened(site) as session:
        ended = []
        thread = threading.Thread(target=lambda: ended.append(session.until_stopped()))
        thread.start()
        site.end(errors.LicenseRevoked("It was revoked."))
        thread.join(TIMEOUT)
    assert isinstance(ended[0], errors.LicenseRevoked)


def test_the_background_thread_may_not_wait_for_itself(site):
    with opened(site) as session:
        said = []

        async def on_the_loop() -> None:
            with pytest.raises(RuntimeError, match=r"keypeg\.aio"):
                session.close()
            said.append(True)

        background.run(on_the_loop())
        assert said == [True]


FORK = """
import os, sys, warnings
import keypeg
warnings.simplefilter("ignore")

def attempt(name, work):
    try:
        work()
    except keypeg.KeypegError as error:
        print(name, type(error).__name__, flush=True)

root, server = sys.argv[1:]
with keypeg.open_session("demo", root=root, server=server) as session, session.seat() as seat:
    child = os.fork()
    if not child:
        print("child", session.may_run, seat.held, flush=True)
        attempt("require", session.require)
        attempt("seat", lambda: session.seat().acquire())
        attempt("events", lambda: next(session.events()))
        attempt("open", lambda: keypeg.open_session("demo", root=root, server=server))
        seat.release()
        session.close()
        print("closed", flush=True)
        sys.exit(7)  # through every with block and exit handler
    print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    print("parent", session.may_run, seat.held, flush=True)
"""

FORKS = """
import os, sys, warnings
import keypeg
warnings.simplefilter("ignore")
crashed = 0
with keypeg.open_session("demo", root=sys.argv[1], server=sys.argv[2]) as session:
    for _ in range(25):
        child = os.fork()
        if not child:
            for _ in range(20_000):
                assert not session.may_run
            os._exit(0)
        crashed += os.waitpid(child, 0)[1] != 0
    print("crashed", crashed)
"""


def script(host: StandInHost, code: str) -> list[str]:
    """What a script of its own process prints; this one has threads that no fork should meet."""
    command = [sys.executable, "-c", code, host.root.hex(), host.target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_forked_child_is_refused_and_does_no_harm(site):
    assert script(site, FORK) == [
        "child False False",
        "require SessionClosed",
        "seat SessionClosed",
        "events SessionClosed",
        "open SessionClosed",
        "closed",
        "status 7",
        "parent True True",
    ]
    assert site.sessions == {}


def test_forked_children_of_a_running_app_do_not_crash(site):
    assert script(site, FORKS) == ["crashed 0"]


APP = """
import sys, keypeg
session = keypeg.open_session("demo", root=sys.argv[1], server=sys.argv[2])
seat = session.seat().acquire()
print("running", flush=True)
if sys.argv[3] == "wait":
    session.until_stopped()
elif sys.argv[3] == "raise":
    raise ValueError("the app fails")
"""


def start(host: StandInHost, how: str) -> subprocess.Popen:
    app = subprocess.Popen(
        [sys.executable, "-c", APP, host.root.hex(), host.target, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert app.stdout is not None
    assert app.stdout.readline() == "running\n"
    return app


@pytest.mark.parametrize(("how", "status"), [("end", 0), ("raise", 1)])
def test_an_app_that_just_ends_gives_everything_back(site, how, status):
    app = start(site, how)
    _, said = app.communicate(timeout=TIMEOUT)
    assert app.returncode == status, said
    site.wait_until(lambda: not site.sessions)
    assert site.pool.leases == {}
    if not status:
        assert said == ""


def test_ctrl_c_ends_the_waiting_and_gives_everything_back(site):
    app = start(site, "wait")
    app.send_signal(signal.SIGINT)
    _, said = app.communicate(timeout=TIMEOUT)
    assert "KeyboardInterrupt" in said
    site.wait_until(lambda: not site.sessions)


def test_a_slow_callback_does_not_keep_the_interpreter_alive(site):
    code = (
        "import sys, threading, keypeg\n"
        "s = keypeg.open_session('demo', root=sys.argv[1], server=sys.argv[2],\n"
        "                        on_event=lambda e: threading.Event().wait())\n"
        "s.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, site.root.hex(), site.target], timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0


def test_events_come_from_the_callback_in_order(site):
    seen = []
    over = threading.Event()

    def on_event(event: keypeg.Event) -> None:
        seen.append(type(event).__name__)
        if isinstance(event, events.Stopped):
            over.set()

    with opened(site, on_event=on_event) as session, session.seat():
        pass
    assert over.wait(TIMEOUT)
    assert seen == ["Running", "SeatAcquired", "SeatReleased", "Stopped"]

"""The example app as a process: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from keypeg import errors
from keypeg.testing import StandInHost
from tests.client.sdk_fixtures import computer

__all__ = ["computer"]
pytestmark = pytest.mark.usefixtures("computer")

APP = Path(__file__).parents[2] / "examples" / "protected_app.py"
TIMEOUT = 20  # s; a bound for what takes less than one


class App:
    """A running protected app."""

    def __init__(self, host: StandInHost, *arguments: str) -> None:
        where = "KEYPEG_BRIDGE" if host.terms.kind == "key" else "KEYPEG_SERVER"
        command = [sys.executable, str(APP), "--product", "demo", "--root", host.root.hex()]
        self.popen = subprocess.Popen(
            [*command, *arguments],
            env={**os.environ, where: host.target},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def until(self, event: str) -> dict:
        assert self.popen.stdout is not None
        for line in self.popen.stdout:
            said = json.loads(line)
            if said["event"] == event:
                return said
        raise AssertionError(f"the app ended without {event}")

    def end(self) -> int:
        status = self.popen.wait(TIMEOUT)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()
        return status


@pytest.fixture
def site() -> Iterator[StandInHost]:
    with StandInHost("demo", kind="site", seat_count=1, seat_required=True) as host:
        yield host


LOST = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
import protected_app

class Going:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

signal.signal(signal.SIGTERM, protected_app.on_signal)
with protected_app.until_told():
    Going()
    print("lost", flush=True)
    time.sleep(60)
"""


def test_a_signal_that_comes_while_an_object_goes_ends_it_all_the_same():
    done = subprocess.run(
        [sys.executable, "-c", LOST, str(APP.parent)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("lost\n", 0)
    assert "SystemExit" in done.stderr


def test_it_runs_until_it_is_told_to_end(site):
    app = App(site, "--seat")
    assert app.until("started")["pid"] == app.popen.pid
    assert app.until("running")["seat_required"]
    assert app.until("seat")["fencing_number"] == 1
    app.popen.send_signal(signal.SIGTERM)
    assert app.until("stopped")["reason"] is None
    assert app.end() == 0
    assert site.sessions == {}
    assert site.pool.leases == {}


def test_the_end_of_its_input_ends_it_too(site):
    app = App(site)
    app.until("running")
    assert app.popen.stdin is not None
    app.popen.stdin.close()
    app.popen.stdin = None
    assert app.end() == 0


def test_it_waits_in_the_queue_and_may_be_ended_there(site):
    holder, waiter = App(site, "--seat"), None
    holder.until("seat")
    waiter = App(site, "--seat", "--wait")
    queued = waiter.until("queued")
    assert (queued["position"], queued["waiting_count"]) == (1, 1)
    waiter.popen.send_signal(signal.SIGTERM)
    assert waiter.end() == 0
    assert site.pool.waiters == []
    holder.popen.send_signal(signal.SIGINT)
    assert holder.end() == 0


def test_no_seat_is_told_with_its_reason(site):
    holder = App(site, "--seat")
    holder.until("seat")
    other = App(site, "--seat")
    assert other.until("denied")["reason"] == "POOL_EXHAUSTED"
    assert other.end() == 1
    site.recall("It is needed.")
    assert holder.until("seat_recalled")["reason"] == "LEASE_RECALLED"
    assert holder.end() == 1


def test_what_stops_it_is_told_with_its_reason():
    with StandInHost("demo") as host:
        app = App(host)
        app.until("running")
        host.end(errors.CloudSessionMoved("It is open on studio-2 now.", device="studio-2"))
        stopped = app.until("stopped")
        assert (stopped["reason"], stopped["metadata"]["device"]) == (
            "CLOUD_SESSION_MOVED",
            "studio-2",
        )
        assert app.end() == 1


def test_the_cloud_session_is_opened_when_it_is_told_so():
    with StandInHost("demo") as host:
        host.guard_cloud_session()
        refused = App(host, "--cloud", "never")
        assert refused.until("stopped")["reason"] == "CLOUD_SESSION_CLOSED"
        assert refused.end() == 1
        app = App(host, "--cloud", "open")
        app.until("running")
        app.popen.send_signal(signal.SIGTERM)
        assert app.end() == 0


def test_a_key_that_is_pulled_and_put_back_is_told():
    with StandInHost("demo", kind="key") as host:
        app = App(host)
        app.until("running")
        host.unplug()
        missing = app.until("key_missing")
        assert missing["reason"] == "KEY_UNPLUGGED"
        assert missing["may_run_for_seconds"] > 25
        host.plug_in()
        app.until("key_returned")
        app.popen.send_signal(signal.SIGTERM)
        assert app.end() == 0

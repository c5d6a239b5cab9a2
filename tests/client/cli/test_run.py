"""`keypeg run`: real processes, really killed."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.client.cli import fakes

# An app that has the agent watch a session, says so, and lives on until it is killed.
APP = """
import os, sys, grpc
from keypeg.v1 import agent_service_pb2 as pb, agent_service_pb2_grpc as rpc
channel = grpc.insecure_channel(os.environ["KEYPEG_AGENT"], options=[("grpc.default_authority", "localhost")])
def frames():
    yield pb.WatchProcessRequest(watch=pb.WatchSession(
        session=f"sessions/{sys.argv[3]}", server=sys.argv[1],
        ca_certificates=open(sys.argv[2], "rb").read(), release_token=b"release"))
    sys.stdin.read()
    if sys.argv[4:] == ["clean"]:
        yield pb.WatchProcessRequest(unwatch=pb.UnwatchSession(session=f"sessions/{sys.argv[3]}"))
for answer in rpc.AgentServiceStub(channel).WatchProcess(frames()):
    print("watched", os.getpid(), flush=True)
"""
# A parent that starts the app as its child and waits for it, as a launcher does.
LAUNCHER = """
import subprocess, sys
done = subprocess.run([sys.executable, *sys.argv[1:]])
print("child ended", flush=True)
sys.stdin.read()
"""
LIMIT = 30  # s for any step; each takes about one


def start(*command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "keypeg.cli", "run", "--", *command],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line(stream: IO[str] | None) -> str:
    """The next line, or a failure when there is none in time."""
    assert stream is not None
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(LIMIT)
    assert found, "nothing was printed in time"
    return found[0].strip()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and what it said on standard error."""
    _, said = process.communicate(timeout=LIMIT)
    return process.returncode, said


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.py"
    path.write_text(APP)
    return path


@pytest.fixture
def running() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*command: str, **environment: str) -> subprocess.Popen[str]:
        started.append(start(*command, **environment))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(LIMIT)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


@pytest.mark.parametrize("code", [0, 3, 77])
def test_the_exit_code_is_the_apps(
    running: Callable[..., subprocess.Popen[str]], code: int
) -> None:
    assert ended(running(sys.executable, "-c", f"raise SystemExit({code})"))[0] == code


def test_a_program_that_is_not_there_is_127(
    running: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    code, said = ended(running("no-such-program-here"))
    assert (code, "no-such-program-here" in said) == (127, True)
    assert ended(running(str(tmp_path)))[0] == 126


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_reach_the_app_and_its_end_is_told(
    running: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    wrapper = running(
        sys.executable,
        "-c",
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()",
    )
    assert line(wrapper.stdout) == "ready"
    wrapper.send_signal(number)
    wrapper.wait(LIMIT)  # before its standard input is closed, which would end the app as well
    assert ended(wrapper)[0] == 128 + number


def test_an_app_may_handle_its_signals(running: Callable[..., subprocess.Popen[str]]) -> None:
    wrapper = running(
        sys.executable,
        "-c",
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()",
    )
    assert line(wrapper.stdout) == "ready"
    wrapper.terminate()
    wrapper.wait(LIMIT)
    assert ended(wrapper)[0] == 9


def test_a_killed_app_has_its_session_closed_before_the_wrapper_ends(
    running: Callable[..., subprocess.Popen[str]],
    app: Path,
    server: fakes.Server,
    address: tuple[str, Path],
) -> None:
    wrapper = running(sys.executable, str(app), address[0], str(address[1]), "s1")
    word, _, process_id = line(wrapper.stdout).partition(" ")
    assert word == "watched"
    os.kill(int(process_id), signal.SIGKILL)
    assert ended(wrapper)[0] == 128 + signal.SIGKILL
    assert [(one.session, one.release_token) for one in server.asked["CloseSession"]] == [
        ("sessions/s1", b"release")
    ]


def test_an_app_that_said_goodbye_has_nothing_closed(
    running: Callable[..., subprocess.Popen[str]],
    app: Path,
    server: fakes.Server,
    address: tuple[str, Path],
) -> None:
    wrapper = running(sys.executable, str(app), address[0], str(address[1]), "s1", "clean")
    assert line(wrapper.stdout).startswith("watched")
    assert ended(wrapper)[0] == 0
    assert not server.asked["CloseSession"]


def test_a_killed_child_of_the_app_has_its_session_closed_while_the_app_lives(
    running: Callable[..., subprocess.Popen[str]],
    app: Path,
    server: fakes.Server,
    address: tuple[str, Path],
) -> None:
    closed = threading.Event()
    original = server.check

    def check(method: str, context: object) -> None:
        if method == "CloseSession":
            closed.set()
        original(method, context)  # type: ignore[arg-type]

    server.check = check  # type: ignore[method-assign]
    arguments = [str(app), address[0], str(address[1]), "s2"]
    wrapper = running(sys.executable, "-c", LAUNCHER, *arguments)
    os.kill(int(line(wrapper.stdout).partition(" ")[2]), signal.SIGKILL)
    assert closed.wait(LIMIT)
    assert line(wrapper.stdout) == "child ended"
    assert wrapper.poll() is None
    assert ended(wrapper)[0] == 0
    assert server.asked["CloseSession"][0].session == "sessions/s2"


def test_a_server_that_is_away_is_waited_for_in_bounds(
    running: Callable[..., subprocess.Popen[str]], app: Path, address: tuple[str, Path]
) -> None:
    wrapper = running(sys.executable, str(app), "127.0.0.1:1", str(address[1]), "s3")
    os.kill(int(line(wrapper.stdout).partition(" ")[2]), signal.SIGKILL)
    code, said = ended(wrapper)
    assert code == 128 + signal.SIGKILL
    assert "freed when their last grant has run out" in said


def test_a_killed_wrapper_leaves_the_app_alone(
    running: Callable[..., subprocess.Popen[str]],
) -> None:
    wrapper = running(
        sys.executable,
        "-c",
        "import os, sys\nprint(os.getpid(), flush=True)\nfor word in sys.stdin: print(word, flush=True)",
    )
    process_id = int(line(wrapper.stdout))
    watch = os.pidfd_open(process_id)
    try:
        wrapper.kill()
        wrapper.wait(LIMIT)
        assert wrapper.stdin is not None
        wrapper.stdin.write("still there\n")
        wrapper.stdin.flush()
        assert line(wrapper.stdout) == "still there"
        wrapper.stdin.close()
        assert select.select([watch], [], [], LIMIT)[0], "the app does not end with its input"
    finally:
        os.close(watch)


def test_a_key_on_the_terminal_reaches_the_app_once() -> None:
    app = (
        "import signal, sys\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: (seen.append(1), print('seen', flush=True)))\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "sys.exit(40 + len(seen))"
    )
    process_id, terminal = pty.fork()
    if process_id == 0:
        command = [sys.executable, "-m", "keypeg.cli", "run", "--", sys.executable, "-c", app]
        os.execv(command[0], command)
    try:
        read_until(terminal, b"ready")
        os.write(terminal, b"\x03")
        read_until(terminal, b"seen")
        os.write(terminal, b"\n")
        assert os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]) == 41
    finally:
        os.close(terminal)


def read_until(terminal: int, mark: bytes) -> None:
    """Read what a terminal shows, until it shows `mark`."""
    shown = b""
    while mark not in shown:
        assert select.select([terminal], [], [], LIMIT)[0], shown
        shown += os.read(terminal, 4096)


def test_the_app_gets_the_options_as_its_environment() -> None:
    done = subprocess.run(
        [
            sys.executable, "-m", "keypeg.cli", "--server", "lan:7443", "run", "--",
            sys.executable, "-c",
            "import os; print(os.environ['KEYPEG_SERVER'], os.environ['KEYPEG_AGENT'][:5])",
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["lan:7443", "unix:"], done.stderr

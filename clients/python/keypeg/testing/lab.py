"""A laboratory of keys: emulated keys and a bridge as processes of their own, and a publisher that lives in the test.

    with KeyLab() as lab:
        lab.license("cad")
        with keypeg.open_session("cad", root=lab.root, bridge=lab.bridge) as session:
            lab.unplug()

Promises: an app runs unchanged against it, through real USB transfers, a real bridge and real proofs; keys and bridge end
with it; two laboratories never meet. It needs `keypeg[bridge]`, and says so.

Leaves to others: faults (lab_faults.py), what licenses say (publisher.py), seats of a server (seat_server.py).
"""

from __future__ import annotations

import shutil
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from keypeg.clock import SystemClock
from keypeg.testing import lab_control
from keypeg.testing.lab_errors import LabError
from keypeg.testing.lab_faults import Faults
from keypeg.testing.lab_issuing import Issuer
from keypeg.testing.lab_processes import Process, need, start
from keypeg.testing.publisher import StandInPublisher
from keypeg.v1 import key_pb2

GRACE: Final = timedelta(seconds=30)
PRESENT: Final = key_pb2.KEY_STATE_PRESENT


class LabKey(Faults):
    """One emulated key, by its name in the laboratory: `key-1`, `key-2`, or that of a clone."""

    def __init__(self, lab: KeyLab, name: str) -> None:
        super().__init__(lab, name)
        self.lab = lab
        self.name = name

    def __repr__(self) -> str:
        return f"LabKey({self.name!r})"

    @property
    def status(self) -> dict[str, Any]:
        """What the laboratory knows of it: serial, plugged, attached, wants_touch, winks."""
        for one in self.lab.ask("status")["keys"]:
            if one["key"] == self.name:
                assert isinstance(one, dict)
                return one
        raise LabError(f"There is no key {self.name} in the laboratory any more.")

    @property
    def serial(self) -> str:
        """Its serial number."""
        return str(self.status["serial"])

    def seen(self) -> key_pb2.Key:
        """What the bridge says of it, once it is there to be used; a clone goes by its original's name."""
        serial = self.serial
        with self.lab.issuer() as issuer:
            return issuer.wait_for(
                lambda key: key.serial == serial and key.state == PRESENT,
                f"The arrival of {self.name} at the bridge",
            )

    def license(self, product: str, *, unplug_grace: timedelta = GRACE, **terms: Any) -> None:
        """Put a license for `product` on it; it is enrolled before, if it was not. `terms` are `features`, `expire_time`."""
        seen = self.seen()
        with self.lab.issuer() as issuer:
            if not seen.enrolled:
                seen = issuer.enroll(seen)
            issuer.license(seen, product, SystemClock().wall(), unplug_grace, **terms)


class KeyLab(Faults):
    """The laboratory; use it with `with`, or `start` and `stop`. Its own faults are those of its only key.

    `folder` keeps the keys' contents from one time to the next; without, they go with the laboratory. `drivers` and
    `environment` are for the bridge, as in docs/bridge.md; `script` is a file with faults by the clock.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        keys: int = 1,
        profile: str = "token",
        touch: str = "always",
        seed: str | int | None = None,
        script: Path | None = None,
        drivers: str = "",
        environment: Mapping[str, str] | None = None,
        publisher: StandInPublisher | None = None,
    ) -> None:
        super().__init__(self, None)
        self.publisher: StandInPublisher = publisher or StandInPublisher()
        self._folder = folder
        self._arguments = ["--keys", str(keys), "--profile", profile, "--touch", touch]
        if seed is not None:
            self._arguments += ["--seed", str(seed)]
        if script is not None:
            self._arguments += ["--script", str(script)]
        self._environment = dict(environment or {})
        if drivers:
            self._environment["KEYPEG_BRIDGE_KEYS__DRIVERS"] = drivers
        self._sockets: Path | None = None
        self._processes: list[Process] = []
        self.bridge = ""
        """What an app is told to find the bridge: `bridge=` of `open_session`, KEYPEG_BRIDGE."""
        self.usbip = ""
        """Where the keys are, `host:port`, for programs that speak USB/IP."""

    def start(self) -> Self:
        """Start keys and bridge; returns when every key that is plugged in can be used."""
        self.start_keys()
        try:
            self.start_bridge()
            for key in self.keys:
                key.seen()
        except BaseException:
            self.stop()
            raise
        return self

    def start_keys(self) -> None:
        """Start the keys alone."""
        need("bridge")
        # Paths of Unix sockets are short, and a test's folder may not be.
        self._sockets = Path(tempfile.mkdtemp(prefix="keypeg-lab-"))
        state = self._kept_in(self._sockets) / "key.json"
        where = ["--state", str(state), "--control", str(self.control), "--port", "0"]
        try:
            process, ready = start(
                "keypeg-emukey", ["serve", *where, *self._arguments], folder=self._sockets
            )
        except BaseException:
            self.stop()
            raise
        self._processes.append(process)
        self.usbip = ready["usbip"]

    def start_bridge(self) -> None:
        """Start the bridge to the keys, which run."""
        assert self._sockets is not None
        socket = self._sockets / "bridge.sock"
        state = self._kept_in(self._sockets) / "bridge"
        where = ["--socket", str(socket), "--state", str(state), "--backend", f"usbip:{self.usbip}"]
        process, ready = start(
            "keypeg-bridge", ["serve", *where], folder=self._sockets, environment=self._environment
        )
        self._processes.append(process)
        self.bridge = ready["target"]

    def stop(self) -> None:
        """End everything; safe to repeat."""
        while self._processes:
            self._processes.pop().end()
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def root(self) -> bytes:
        """What apps pin."""
        return self.publisher.root

    @property
    def control(self) -> Path:
        """The control socket of the keys."""
        if self._sockets is None:
            raise LabError("The laboratory does not run. Start it first.")
        return self._sockets / "control"

    @property
    def environment(self) -> dict[str, str]:
        """For an app as a process of its own: it finds this bridge, and no other, and no server."""
        assert self._sockets is not None
        return {
            "KEYPEG_BRIDGE": self.bridge,
            "KEYPEG_SERVER": "",
            "KEYPEG_TOKEN": "",
            "KEYPEG_CONFIG_DIR": str(self._sockets / "config"),
            "KEYPEG_DEVICE": "device-of-a-laboratory",
        }

    @property
    def keys(self) -> tuple[LabKey, ...]:
        """All keys, clones too."""
        return tuple(LabKey(self, one["key"]) for one in self.ask("status")["keys"])

    def key(self, name: str = "key-1") -> LabKey:
        """One key."""
        return LabKey(self, name)

    def license(self, product: str, *, unplug_grace: timedelta = GRACE, **terms: Any) -> None:
        """Put a license for `product` on the first key, enrolled before if it was not."""
        self.key().license(product, unplug_grace=unplug_grace, **terms)

    def reset(self) -> None:
        """End every fault and script; every key is plugged in, and there for the bridge."""
        self.ask("script", stop=True)
        self.ask("clear")
        for key in self.keys:
            key.plug()
            key.seen()

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The faults that are active, with how many answers each has hit."""
        return list(self.ask("faults")["faults"])

    @property
    def history(self) -> list[dict[str, Any]]:
        """All that was done to the keys, the oldest first."""
        return list(self.ask("history")["history"])

    def script(
        self, script: Path | Sequence[Mapping[str, Any]], seed: str | int | None = None
    ) -> dict[str, Any]:
        """Begin a script of faults: a TOML file, or its steps; what it leaves open comes from the seed."""
        if isinstance(script, Path):
            try:
                table = tomllib.loads(script.read_text())
            except (OSError, ValueError) as error:
                raise LabError(f"The script {script} cannot be read: {error}.") from error
        else:
            table = {"step": [dict(step) for step in script]}
        given = {} if seed is None else {"seed": seed}
        return dict(self.ask("script", script=table, **given)["script"])

    def ask(self, command: str, /, **fields: Any) -> dict[str, Any]:
        """A command of the control socket."""
        return lab_control.ask(self.control, command, **fields)

    def issuer(self) -> Issuer:
        """Speaks to the bridge as a server does."""
        return Issuer(self.bridge, self.publisher)

    def _kept_in(self, sockets: Path) -> Path:
        folder = self._folder or sockets
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    # A laboratory that outlives the program that started it.

    def to_json(self) -> dict[str, Any]:
        """What another program needs to find this laboratory, and to end it."""
        return {
            "sockets": str(self._sockets),
            "bridge": self.bridge,
            "usbip": self.usbip,
            "processes": [{"pid": one.pid, "began": one.began} for one in self._processes],
        }

    @classmethod
    def find(cls, raw: Mapping[str, Any]) -> KeyLab:
        """The laboratory that `to_json` was of; `LabError` when it is none."""
        lab = cls()
        try:
            lab._sockets = Path(raw["sockets"])
            lab.bridge, lab.usbip = str(raw["bridge"]), str(raw["usbip"])
            lab._processes = [Process(int(p["pid"]), str(p["began"])) for p in raw["processes"]]
        except (KeyError, TypeError, ValueError) as error:
            raise LabError(f"That does not describe a laboratory: {error}.") from error
        return lab

    @property
    def running(self) -> bool:
        """Whether all its programs do."""
        return bool(self._processes) and all(one.running for one in self._processes)

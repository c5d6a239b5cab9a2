"""An etcd to measure beside keypegd: Debian's, on the server's core, on the same disk, with TLS.

Promises: one member, every transaction synced to disk before its answer (etcd's default); one scheduler thread
for one core. A machine without etcd is told what to install.

Leaves to others: what it is asked (load/etcd_worker.cc).
"""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import machine
from benchmarks.loads import Target
from benchmarks.suite import Missing
from keypeg_server import tls
from lab.processes import Lab, LabError

READY_SECONDS: Final = 20.0
QUOTA_BYTES: Final = 4_000_000_000  # of the file; more than a run writes


def program() -> Path:
    """The program; Missing when there is none."""
    found = shutil.which("etcd")
    if found is None:
        raise Missing("There is no etcd here; Debian has it in etcd-server.")
    return Path(found)


def version() -> str:
    """What it calls itself."""
    said = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0].rpartition(" ")[2]


def start(lab: Lab, cores: machine.Cores) -> Target:
    """A new one, ready."""
    folder = lab.folder / "etcd"
    identity = tls.development_identity(folder / "tls", (), datetime.now(UTC))
    client, peer = _free_port(), _free_port()
    address, peer_url = f"127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    options = {
        "name": "bench",
        "data-dir": folder / "data",
        "listen-client-urls": f"https://{address}",
        "advertise-client-urls": f"https://{address}",
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"bench={peer_url}",
        "cert-file": folder / "tls" / tls.SERVER_FILE,
        "key-file": folder / "tls" / "server.key",
        "quota-backend-bytes": QUOTA_BYTES,
        "log-level": "error",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    with machine.pinned(cores.server):
        running = lab.start(
            "etcd", [str(program()), *words], env={"GOMAXPROCS": str(len(cores.server))}
        )
    context = ssl.create_default_context(cafile=str(identity.ca_file))
    deadline = time.monotonic() + READY_SECONDS
    tick = threading.Event()
    while not _healthy(f"https://{address}/health", context):
        if not running.running or time.monotonic() > deadline:
            raise LabError(f"etcd was not ready in {READY_SECONDS:.0f} s.{running.tail()}")
        tick.wait(0.05)
    return Target("etcd", address, identity.ca_file, (running.pid,))


def _healthy(url: str, context: ssl.SSLContext) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return b'"true"' in answer.read()
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

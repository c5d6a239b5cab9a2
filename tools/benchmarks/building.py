"""Builds the C++ load from proto/ and load/, where there is a compiler with Debian's gRPC.

Promises: everything goes below build/bench/; nothing is built twice from the same sources; a machine that
lacks something gets a sentence that says what, and how Debian calls it.

Leaves to others: running it (loads.py), and the load for machines without a compiler (python_load.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.processes import ROOT

SOURCES: Final = Path(__file__).resolve().parent / "load"
FOLDER: Final = ROOT / "build" / "bench"
PROGRAM: Final = FOLDER / "load"
PROTO_ROOTS: Final = (
    "keypeg/v1/cloud_session_service.proto",
    "keypeg/v1/seat_service.proto",
    "keypeg/v1/session_service.proto",
)
ETCD_PROTO: Final = "etcd.proto"  # in SOURCES
PACKAGES: Final = "g++ pkg-config protobuf-compiler libprotobuf-dev libgrpc++-dev libssl-dev"
FLAGS: Final = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror")
GENERATED_FLAGS: Final = ("-std=c++17", "-O1")  # short messages: optimizing more gains nothing
_STAMP: Final = FOLDER / "load.stamp"
_IMPORT: Final = re.compile(r'^import "(keypeg/[^"]+)";', re.MULTILINE)


class BuildError(Exception):
    """The load was not built: one sentence, for people."""


class ToolMissing(BuildError):
    """This machine lacks what the load is built with."""


def build() -> Path:
    """The load program, built when its sources changed; ToolMissing when this machine can not."""
    libraries = _libraries()
    protos = _closure()
    stamp = _stamp(protos, libraries)
    if PROGRAM.exists() and _STAMP.exists() and _STAMP.read_text() == stamp:
        return PROGRAM
    generated = FOLDER / "generated"
    shutil.rmtree(generated, ignore_errors=True)
    generated.mkdir(parents=True)
    # "lite": messages without reflection, which compile in a third of the time.
    paths = [f"--proto_path={ROOT / 'proto'}", f"--proto_path={SOURCES}"]
    command = ["protoc", *paths, f"--cpp_out=lite:{generated}", *protos, ETCD_PROTO]
    _run(command)
    compiler = os.environ.get("CXX", "g++")
    makes = [
        (source, GENERATED_FLAGS if generated in source.parents else FLAGS)
        for source in (*sorted(generated.rglob("*.cc")), *sorted(SOURCES.glob("*.cc")))
    ]
    objects = [generated / f"{source.stem}.o" for source, _ in makes]
    _run_together(
        [
            [compiler, *flags, f"-isystem{generated}", "-c", str(source), "-o", str(target)]
            for (source, flags), target in zip(makes, objects, strict=True)
        ]
    )
    _run([compiler, *map(str, objects), "-o", str(PROGRAM), *libraries])
    _STAMP.write_text(stamp)
    return PROGRAM


def _libraries() -> list[str]:
    for tool in (os.environ.get("CXX", "g++"), "protoc", "pkg-config"):
        if shutil.which(tool) is None:
            raise ToolMissing(f"There is no {tool} here; Debian has it in: {PACKAGES}.")
    command = ["pkg-config", "--cflags", "--libs", "grpc++", "protobuf", "libcrypto"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        missing = found.stderr.strip().splitlines()[0]
        raise ToolMissing(f"A library for the load is missing ({missing}); install {PACKAGES}.")
    return found.stdout.split()


def _closure() -> list[str]:
    """The contract's files that the load needs, by their names below proto/."""
    needed: list[str] = []
    waiting = list(PROTO_ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.append(name)
            waiting += _IMPORT.findall((ROOT / "proto" / name).read_text())
    return sorted(needed)


def _stamp(protos: Sequence[str], libraries: Sequence[str]) -> str:
    digest = hashlib.sha256("\0".join((*FLAGS, *GENERATED_FLAGS, *libraries)).encode())
    for path in (*(ROOT / "proto" / name for name in protos), *sorted(SOURCES.iterdir())):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{command[0]} failed to build the load:\n{done.stderr.strip()[-2000:]}")


def _run_together(commands: Sequence[Sequence[str]]) -> None:
    """Run commands, as many at once as there are cores."""
    waiting = list(commands)
    running: list[tuple[Sequence[str], subprocess.Popen[str]]] = []
    failures: list[str] = []
    while waiting or running:
        while waiting and not failures and len(running) < len(os.sched_getaffinity(0)):
            command = waiting.pop(0)
            started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
            running.append((command, started))
        if not running:
            break
        command, process = running.pop(0)
        _, said = process.communicate()
        if process.returncode:
            failures.append(f"{' '.join(command)}\n{said.strip()[-2000:]}")
    if failures:
        raise BuildError("The compiler refused the load:\n" + "\n".join(failures))

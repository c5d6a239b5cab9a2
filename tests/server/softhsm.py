"""A PKCS#11 token of software, SoftHSM's, for tests of keys in hardware.

Promises: a new token in a folder; nothing outside of it is touched. Where it is not installed, the test says what to install.

Leaves to others: what is kept in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIBRARIES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
)
PIN = "12345678"


@contextmanager
def softhsm(folder: Path) -> Iterator[dict[str, str]]:
    """A token; the environment that a server needs for it."""
    pytest.importorskip("pkcs11", reason="install python-pkcs11: pip install 'keypeg[pkcs11]'")
    library = next((path for path in LIBRARIES if path.exists()), None)
    if library is None or shutil.which("softhsm2-util") is None:
        pytest.skip("install softhsm2")
    (folder / "tokens").mkdir()
    (folder / "pin").write_text(PIN + "\n")
    (folder / "pin").chmod(0o600)
    (folder / "conf").write_text(f"directories.tokendir = {folder}/tokens\nlog.level = ERROR\n")
    make = ["softhsm2-util", "--init-token", "--free", "--label", "keypeg", "--pin", PIN]
    env = {"SOFTHSM2_CONF": str(folder / "conf")}
    done = [*make, "--so-pin", "87654321"]
    subprocess.run(done, check=True, capture_output=True, timeout=30, env={**os.environ, **env})
    yield {
        **env,
        "KEYPEGD_HARDWARE__MODULE": str(library),
        "KEYPEGD_HARDWARE__TOKEN": "keypeg",
        "KEYPEGD_HARDWARE__PIN": str(folder / "pin"),
    }

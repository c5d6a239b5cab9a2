"""A world to play in: a running keypegd, a publisher with a catalog, an account with users and licenses.

Promises: everything is made through the server's own API; whoever plays gets a computer of their own
(a configuration folder and a device id), so that apps and commands run as on different machines.

Leaves to others: what happens next (tools/demo, tests/system, tools/bench).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keypeg.v1 import (
    account_service_pb2,
    catalog_service_pb2,
    certificate_pb2,
    certificate_service_pb2,
)
from keypeg_bridge import enrollment
from lab.api import Api as Api
from lab.processes import BIN, ROOT, Lab, Program
from lab.stock import ADMIN as ADMIN
from lab.stock import CLOUD as CLOUD
from lab.stock import HOST as HOST
from lab.stock import KEY as KEY
from lab.stock import MEMBER as MEMBER
from lab.stock import PASSWORD as PASSWORD
from lab.stock import SITE as SITE
from lab.stock import Computer as Computer
from lab.stock import Stock
from lab.stock import request_id as request_id

APP = ROOT / "examples" / "protected_app.py"
FAST_PASSWORDS = "[passwords]\nmemory_kib = 8192\niterations = 1\nlanes = 1\n"


def make_data(
    lab: Lab,
    data: Path,
    settings: str = "",
    *,
    under: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> None:
    """Make a data directory with `keypegd init`, in which hashing passwords is quick."""
    first = data.with_name(f"{data.name}-first.toml")
    first.write_text(FAST_PASSWORDS + settings)
    argv = [str(BIN / "keypegd"), "init", "--data", str(data), "--publisher", "acme"]
    lab.run([*under, *argv, "--settings", str(first)], env=env)


class World(Stock):
    """A keypegd in a lab, and those who use it."""

    def __init__(
        self,
        lab: Lab,
        *,
        settings: str = "",
        server_env: Mapping[str, str] | None = None,
        init_env: Mapping[str, str] | None = None,
        listen: str = "127.0.0.1:0",
        under: Sequence[str] = (),
        like: Path | None = None,
        passwords: str = FAST_PASSWORDS,
    ) -> None:
        """`like`: a data directory of `make_data` that nobody has served yet, to be copied instead of making one.

        `passwords`: settings of what a password costs; empty for what it costs by default.
        """
        self.lab = lab
        self.data = lab.folder / "data"
        self.server_env = server_env or {}
        self.listen = listen
        self.under = tuple(under)  # what starts the server
        self.address = ""
        self.server: Program | None = None
        self._starts = 0
        if like is None:
            make_data(lab, self.data, settings, under=under, env=init_env)
        else:
            shutil.copytree(like, self.data)
        (self.data / "keypegd.toml").write_text(passwords + settings)
        self.serve()
        self.publisher = self.publisher_api()
        found = self.publisher.catalog.GetPublisher(
            catalog_service_pb2.GetPublisherRequest(name="publishers/acme")
        )
        self.root = found.publisher.root_public_key

    # --- the server ---

    def serve(self) -> Program:
        """Start keypegd; the second time on the address of the first."""
        self._starts += 1
        ready = self.lab.folder / f"keypegd-{self._starts}.ready"
        self.server = self.lab.start(
            f"keypegd-{self._starts}",
            [
                *self.under,
                str(BIN / "keypegd"),
                "serve",
                "--data",
                str(self.data),
                "--listen",
                self.address or self.listen,
                "--ready-file",
                str(ready),
            ],
            env=self.server_env,
        )
        found = self.lab.ready(self.server, ready)
        self.address = found["address"]
        self.ca_file = Path(found["ca_file"])
        self.bridge_address = str(found.get("bridge_address", ""))
        return self.server

    def sign_in(self, login: str, password: str = PASSWORD) -> Api:
        """The API for a user."""
        token = self.token(login, password)
        return Api(self.address, self.ca_file.read_bytes(), token)

    def publisher_api(self) -> Api:
        """The API for the publisher, at the port that serves them."""
        return Api(self.address, self.ca_file.read_bytes(), self.publisher_token())

    def publisher_token(self) -> str:
        """A new token for the publisher's first login."""
        login = json.loads((self.data / "secrets" / "publisher-login.json").read_text())
        return self.token(login["login"], login["password"])

    def token(self, login: str, password: str = PASSWORD) -> str:
        """A token for a user."""
        api = Api(self.address, self.ca_file.read_bytes())
        try:
            answer = api.accounts.SignIn(
                account_service_pb2.SignInRequest(login=login, password=password)
            )
        finally:
            api.close()
        return answer.token

    def bridge(
        self,
        api: Api,
        account: str,
        name: str,
        role: certificate_pb2.CertificateRole.ValueType = certificate_pb2.CERTIFICATE_ROLE_BRIDGE,
    ) -> Api:
        """The API for a bridge or site that `api` has issued a certificate for; `identity` is what it shows."""
        made = enrollment.make_request()
        answer = api.certificates.IssueCertificate(
            certificate_service_pb2.IssueCertificateRequest(
                parent=account,
                request_id=request_id(),
                display_name=name,
                role=role,
                certificate_request=made.text,
            )
        )
        identity = (made.key, answer.pem.encode())
        found = Api(self.bridge_address, self.ca_file.read_bytes(), identity=identity)
        found.certificate = answer.certificate
        return found

    # --- computers and apps ---

    def computer(self, name: str, *, token: str = "", bridge: str = "") -> Computer:
        """A computer; with a token it is signed in, with a bridge it knows one."""
        folder = self.lab.folder / f"computer-{name}"
        folder.mkdir(exist_ok=True)
        env = {
            "KEYPEG_CONFIG_DIR": str(folder),
            "KEYPEG_DEVICE": f"device-{name}",
            "KEYPEG_SERVER": self.address,
            "KEYPEG_CA_FILE": str(self.ca_file),
            "KEYPEG_BRIDGE": bridge or f"unix:{folder}/no-bridge",
            "KEYPEG_ASK": "never",
            "KEYPEG_TOKENS": "file",
            "XDG_RUNTIME_DIR": str(folder),
        }
        if token:
            env["KEYPEG_TOKEN"] = token
        return Computer(name, folder, env)

    def app(
        self,
        name: str,
        computer: Computer,
        product: str,
        *args: str,
        under: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Program:
        """Start the protected app of examples/ on a computer."""
        return self.lab.start(
            name,
            [
                *under,
                sys.executable,
                str(APP),
                "--product",
                product,
                "--root",
                self.root.hex(),
                *args,
            ],
            env={**computer.env, **(env or {})},
        )

    def kill_app(self, app: Program) -> None:
        """SIGKILL the app itself, also when a wrapper such as `keypeg run` started it."""
        os.kill(app.expect("started")["pid"], signal.SIGKILL)

    def keypeg(
        self, computer: Computer, *args: str, stdin: str = "", check: bool = True
    ) -> tuple[int, Any]:
        """Run a command of the command line; its exit code and its JSON answer."""
        done = self.lab.run(
            [str(BIN / "keypeg"), "-o", "json", *args], env=computer.env, stdin=stdin, check=check
        )
        return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None

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
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    account_service_pb2_grpc,
    activation_service_pb2,
    activation_service_pb2_grpc,
    api_key_service_pb2_grpc,
    borrow_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    certificate_pb2,
    certificate_service_pb2,
    certificate_service_pb2_grpc,
    cloud_session_service_pb2,
    cloud_session_service_pb2_grpc,
    credential_service_pb2_grpc,
    license_pb2,
    license_service_pb2,
    license_service_pb2_grpc,
    location_pb2,
    people_service_pb2_grpc,
    product_pb2,
    seat_pb2,
    seat_service_pb2,
    seat_service_pb2_grpc,
    session_pb2,
)
from keypeg_bridge import enrollment
from lab.processes import BIN, ROOT, Lab, Program

PASSWORD = "correct horse battery"
CLOUD = location_pb2.LOCATION_KIND_CLOUD
KEY = location_pb2.LOCATION_KIND_KEY
HOST = location_pb2.LOCATION_KIND_HOST
SITE = location_pb2.LOCATION_KIND_SITE
APP = ROOT / "examples" / "protected_app.py"
FAST_PASSWORDS = "[passwords]\nmemory_kib = 8192\niterations = 1\nlanes = 1\n"


def request_id() -> str:
    """A new id for a mutation."""
    return str(uuid.uuid4())


@dataclass
class Computer:
    """One computer of the story: its configuration folder and device id."""

    name: str
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def device(self) -> session_pb2.Device:
        """How it introduces itself."""
        return session_pb2.Device(id=f"device-{self.name}", host_name=self.name)


class Api:
    """All services of the server for one caller, synchronously."""

    def __init__(
        self,
        address: str,
        ca: bytes,
        token: str = "",
        identity: tuple[bytes, bytes] | tuple[None, None] = (None, None),
    ) -> None:
        """`identity`: private key and certificate, PEM, of who calls the port for bridges."""
        credentials = grpc.ssl_channel_credentials(ca, *identity)
        self.token = token
        self.identity = identity
        self.certificate = certificate_pb2.Certificate()
        if token:
            credentials = grpc.composite_channel_credentials(
                credentials, grpc.access_token_call_credentials(token)
            )
        self.channel = grpc.secure_channel(address, credentials)
        self.accounts = account_service_pb2_grpc.AccountServiceStub(self.channel)
        self.api_keys = api_key_service_pb2_grpc.ApiKeyServiceStub(self.channel)
        self.activations = activation_service_pb2_grpc.ActivationServiceStub(self.channel)
        self.borrows = borrow_service_pb2_grpc.BorrowServiceStub(self.channel)
        self.catalog = catalog_service_pb2_grpc.CatalogServiceStub(self.channel)
        self.certificates = certificate_service_pb2_grpc.CertificateServiceStub(self.channel)
        self.cloud = cloud_session_service_pb2_grpc.CloudSessionServiceStub(self.channel)
        self.credentials = credential_service_pb2_grpc.CredentialServiceStub(self.channel)
        self.licenses = license_service_pb2_grpc.LicenseServiceStub(self.channel)
        self.people = people_service_pb2_grpc.PeopleServiceStub(self.channel)
        self.seats = seat_service_pb2_grpc.SeatServiceStub(self.channel)

    def close(self) -> None:
        """Close the channel."""
        self.channel.close()


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


class World:
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
        login = json.loads((self.data / "secrets" / "publisher-login.json").read_text())
        self.publisher = self.sign_in(login["login"], login["password"])
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
        """The API for a bridge that `api` has issued a certificate for; `identity` is what it shows."""
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

    # --- the catalog and the customers ---

    def product(
        self,
        product_id: str,
        *,
        locations: Sequence[int] = (CLOUD,),
        bundle: Sequence[str] = (),
        offline_grace: float | None = None,
        unplug_grace: float | None = None,
        features: Sequence[str] = (),
    ) -> str:
        """Add a product or a bundle; its name."""
        request = catalog_service_pb2.CreateProductRequest(
            parent="publishers/acme",
            request_id=request_id(),
            product_id=product_id,
            display_name=product_id.capitalize(),
            bundle_products=bundle,
            allowed_locations=locations,  # type: ignore[arg-type]  # enum values
            features=features,
        )
        if offline_grace is not None:
            request.offline_grace.FromMilliseconds(int(offline_grace * 1000))
        if unplug_grace is not None:
            request.unplug_grace.FromMilliseconds(int(unplug_grace * 1000))
        answer = self.publisher.catalog.CreateProduct(request)
        return answer.product.name

    def account(
        self, account_id: str, users: Mapping[str, int] | None = None, *, group: bool = False
    ) -> str:
        """Add an account with its users (login -> role); its name."""
        answer = self.publisher.accounts.CreateAccount(
            account_service_pb2.CreateAccountRequest(
                request_id=request_id(),
                account_id=account_id,
                display_name=account_id.capitalize(),
                kind=account_pb2.ACCOUNT_KIND_GROUP if group else account_pb2.ACCOUNT_KIND_PERSONAL,
            )
        )
        self.add_users(answer.account.name, users or {})
        return answer.account.name

    def add_users(self, account: str, users: Mapping[str, int]) -> None:
        """Add users (login -> role) to an account."""
        for login, role in users.items():
            self.publisher.accounts.CreateUser(
                account_service_pb2.CreateUserRequest(
                    parent=account,
                    request_id=request_id(),
                    login=login,
                    password=PASSWORD,
                    display_name=login.capitalize(),
                    role=role,  # type: ignore[arg-type]  # enum value
                )
            )

    def license(
        self,
        account: str,
        product: str,
        *,
        seats: int = 0,
        activations: int = 1,
        features: Mapping[str, int] | None = None,
        locations: Sequence[int] = (),
        **fields: Any,
    ) -> license_pb2.License:
        """Deposit a license."""
        return self.publisher.licenses.CreateLicense(
            license_service_pb2.CreateLicenseRequest(
                parent=account,
                request_id=request_id(),
                product=product,
                seat_count=seats,
                activation_count=activations,
                allowed_locations=locations,  # type: ignore[arg-type]  # enum values
                features=[
                    product_pb2.FeatureGrant(feature=name, seat_count=count)
                    for name, count in (features or {}).items()
                ],
                **fields,
            )
        ).license

    def activate(
        self, api: Api, license_name: str, location: str
    ) -> activation_service_pb2.CreateActivationResponse:
        """Activate a license on a location."""
        return api.activations.CreateActivation(
            activation_service_pb2.CreateActivationRequest(
                parent=license_name, request_id=request_id(), location=location
            )
        )

    def seats(self, account: str, product: str, count: int, **kwargs: Any) -> str:
        """Deposit a counted license and activate it at the server's own site; its pool."""
        owned = self.license(account, product, seats=count, **kwargs)
        made = self.activate(self.publisher, owned.name, f"{account}/locations/site")
        return made.activation.pools[0]

    # --- what there is ---

    def pool(self, api: Api, pool: str) -> seat_pb2.Pool:
        """A pool as it is now."""
        return api.seats.GetPool(seat_service_pb2.GetPoolRequest(name=pool)).pool

    def leases(self, api: Api, pool: str) -> list[seat_pb2.Lease]:
        """The leases of a pool, the oldest first."""
        return list(
            api.seats.ListLeases(
                seat_service_pb2.ListLeasesRequest(parent=pool, page_size=1000)
            ).leases
        )

    def open_cloud(
        self, api: Api, account: str, computer: Computer, *, keep_elsewhere: bool = False
    ) -> cloud_session_service_pb2.OpenCloudSessionResponse:
        """Open or move the cloud session."""
        return api.cloud.OpenCloudSession(
            cloud_session_service_pb2.OpenCloudSessionRequest(
                name=f"{account}/cloudSession",
                request_id=request_id(),
                device=computer.device,
                keep_elsewhere=keep_elsewhere,
            )
        )

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


MEMBER = account_pb2.ROLE_MEMBER
ADMIN = account_pb2.ROLE_ADMIN

"""A keypegd for the tests of an app: a publisher, an account, and seats that are shared as on a LAN.

    with SeatServer("acme") as server:
        server.seats("publishers/acme/products/cad", 2)
        with keypeg.open_session(
            "publishers/acme/products/cad", root=server.root, **server.way
        ) as session, session.seat():
            ...

Promises: it is the real server, on loopback, with TLS and a data directory of its own, and ends with the test run; two of
them never meet. It needs `keypeg[server]`, and says so.

Leaves to others: keys (lab.py), and faults of the network (StandInHost).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import grpc

from keypeg.calls import translate
from keypeg.testing.lab_errors import LabError
from keypeg.testing.lab_processes import Process, command, need, start
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    account_service_pb2_grpc,
    activation_service_pb2,
    activation_service_pb2_grpc,
    catalog_service_pb2,
    catalog_service_pb2_grpc,
    license_service_pb2,
    license_service_pb2_grpc,
    location_pb2,
    product_pb2,
)

ACCOUNT: Final = "customer"
PASSWORD: Final = "a password of a laboratory"  # noqa: S105 - guards nothing
INIT_SECONDS: Final = 60.0
CALL_SECONDS: Final = 30.0
# Passwords of a laboratory are not worth the time that good ones take to check.
_SETTINGS: Final = "[passwords]\nmemory_kib = 8192\niterations = 1\nlanes = 1\n"


class SeatServer:
    """Start it with `with`. `publisher` is the id in the names of its products. What is made of it stays until it ends."""

    def __init__(self, publisher: str = "stand-in") -> None:
        self.publisher = f"publishers/{publisher}"
        self._folder: Path | None = None
        self._process: Process | None = None
        self._channel: grpc.Channel | None = None
        self._products: set[str] = set()
        self.account = f"accounts/{ACCOUNT}"
        self.address = ""
        self.ca = b""
        self.root = b""
        """What apps pin."""

    def start(self) -> Self:
        """Start it; returns when it serves."""
        need("server")
        self._folder = Path(tempfile.mkdtemp(prefix="keypeg-server-"))
        try:
            self._serve(self._folder)
            self._people()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it; safe to repeat."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.end()
        self._channel = self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

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
    def ca_file(self) -> Path:
        """The certificate that clients verify it with."""
        assert self._folder is not None
        return self._folder / "ca.pem"

    @property
    def token(self) -> str:
        """A new token of a member of the account."""
        return self._sign_in("member", PASSWORD)

    @property
    def way(self) -> dict[str, Any]:
        """For `open_session`: how this server is reached, and that no bridge is asked."""
        return {
            "server": self.address,
            "ca_file": str(self.ca_file),
            "token": self.token,
            "bridge": "off",
        }

    @property
    def environment(self) -> dict[str, str]:
        """For an app as a process of its own."""
        assert self._folder is not None
        return {
            "KEYPEG_SERVER": self.address,
            "KEYPEG_CA_FILE": str(self.ca_file),
            "KEYPEG_TOKEN": self.token,
            "KEYPEG_BRIDGE": "off",
            "KEYPEG_CONFIG_DIR": str(self._folder / "config"),
            "KEYPEG_DEVICE": "device-of-a-laboratory",
        }

    def seats(self, product: str, count: int, *, features: Mapping[str, int] | None = None) -> str:
        """Give the account `count` seats for a product of the publisher, made when it is new; the pool's name."""
        features = features or {}
        parent, _, product_id = product.rpartition("/products/")
        if parent != self.publisher:
            raise LabError(
                f"{product} is not a product of this server's {self.publisher}. Name it"
                f" {self.publisher}/products/NAME, or start SeatServer with another publisher."
            )
        if product not in self._products:
            self._call(
                catalog_service_pb2_grpc.CatalogServiceStub(self._api).CreateProduct,
                catalog_service_pb2.CreateProductRequest(
                    parent=self.publisher,
                    request_id=_request_id(),
                    product_id=product_id,
                    display_name=product_id,
                    allowed_locations=[location_pb2.LOCATION_KIND_SITE],
                    features=list(features),
                ),
            )
            self._products.add(product)
        owned = self._call(
            license_service_pb2_grpc.LicenseServiceStub(self._api).CreateLicense,
            license_service_pb2.CreateLicenseRequest(
                parent=self.account,
                request_id=_request_id(),
                product=product,
                seat_count=count,
                activation_count=1,
                features=[
                    product_pb2.FeatureGrant(feature=name, seat_count=units)
                    for name, units in features.items()
                ],
            ),
        )
        made = self._call(
            activation_service_pb2_grpc.ActivationServiceStub(self._api).CreateActivation,
            activation_service_pb2.CreateActivationRequest(
                parent=owned.license.name,
                request_id=_request_id(),
                location=f"{self.account}/locations/site",
            ),
        )
        return str(made.activation.pools[0])

    def _serve(self, folder: Path) -> None:
        data, settings = folder / "data", folder / "first.toml"
        settings.write_text(_SETTINGS)
        done = subprocess.run(  # noqa: S603 - our own program, with our own arguments
            [
                *command("keypegd"), "init", "--data", str(data), "--publisher", self.publisher.rpartition("/")[2],
                "--settings", str(settings),
            ],
            capture_output=True, text=True, timeout=INIT_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise LabError(f"keypegd init ended with {done.returncode}: {done.stderr.strip()}")
        (data / "keypegd.toml").write_text(_SETTINGS)
        listening = ["serve", "--data", str(data), "--listen", "127.0.0.1:0"]
        self._process, ready = start("keypegd", listening, folder=folder)
        self.address = ready["address"]
        self.ca = Path(ready["ca_file"]).read_bytes()
        self.ca_file.write_bytes(self.ca)
        login = json.loads((data / "secrets" / "publisher-login.json").read_text())
        self._channel = self._connect(self._sign_in(login["login"], login["password"]))

    def _people(self) -> None:
        catalog = catalog_service_pb2_grpc.CatalogServiceStub(self._api)
        request = catalog_service_pb2.GetPublisherRequest(name=self.publisher)
        self.root = self._call(catalog.GetPublisher, request).publisher.root_public_key
        accounts = account_service_pb2_grpc.AccountServiceStub(self._api)
        self._call(
            accounts.CreateAccount,
            account_service_pb2.CreateAccountRequest(
                request_id=_request_id(), account_id=ACCOUNT, display_name="A customer"
            ),
        )
        self._call(
            accounts.CreateUser,
            account_service_pb2.CreateUserRequest(
                parent=self.account,
                request_id=_request_id(),
                login="member",
                password=PASSWORD,
                display_name="A member",
                role=account_pb2.ROLE_MEMBER,
            ),
        )

    @property
    def _api(self) -> grpc.Channel:
        if self._channel is None:
            raise LabError("The server does not run. Start it first.")
        return self._channel

    def _connect(self, token: str = "") -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(self.ca)
        if token:
            by_token = grpc.access_token_call_credentials(token)
            credentials = grpc.composite_channel_credentials(credentials, by_token)
        return grpc.secure_channel(self.address, credentials)

    def _sign_in(self, login: str, password: str) -> str:
        with self._connect() as channel:
            stub = account_service_pb2_grpc.AccountServiceStub(channel)
            request = account_service_pb2.SignInRequest(login=login, password=password)
            return str(self._call(stub.SignIn, request).token)

    @staticmethod
    def _call(method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise translate(error) from error


def _request_id() -> str:
    return str(uuid.uuid4())

"""USB keys as places for licenses: server, bridge, emulated key, command line and app, all real."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from keypeg import aio, errors
from keypeg.document import LICENSE_TYPE, Ed25519Signer, seal
from keypeg.errors import KeypegError, Reason
from keypeg.v1 import (
    document_pb2,
    license_service_pb2,
    location_service_pb2,
    location_service_pb2_grpc,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)
from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import CLOUD, KEY, Computer, World
from tests.system.people import Customer, refused

Namer = Callable[[str], str]


def at_the_key(world: World, customer: Customer, keys: KeyLab, name: str) -> Computer:
    return world.computer(name, token=customer.admin_token, bridge=keys.target)


def enrolled(world: World, computer: Computer, keys: KeyLab) -> str:
    """The name of the only key, once it is enrolled."""
    listed = keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    world.keypeg(computer, "key", "enroll", "--name", "a key")
    return str(listed[0]["name"])


@pytest.mark.behaviour("KEY-1", "KEY-10")
def test_a_key_is_listed_with_its_model_serial_and_abilities_and_marked_as_emulated(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    computer = at_the_key(world, customer, keys, new_name("lab"))
    (key,) = keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    assert key["emulated"] is True
    assert key["serial"]
    assert "emulated" in key["model"]
    assert key["capabilities"]["slot_count"] > 0
    keys.unplug()
    deadline = time.monotonic() + 5
    while world.keypeg(computer, "key", "list")[1]:
        assert time.monotonic() < deadline, "the key is still listed"
    keys.plug()
    (again,) = keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    assert again["name"] == key["name"]


@pytest.mark.behaviour("KEY-2")
def test_a_key_becomes_a_location_by_making_its_own_key(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    computer = at_the_key(world, customer, keys, new_name("lab"))
    name = enrolled(world, computer, keys)
    (key,) = world.keypeg(computer, "key", "list")[1]
    assert key["enrolled"] is True
    assert key["name"] == name
    kinds = {place["kind"]: place for place in world.keypeg(computer, "location", "list")[1]}
    location = kinds["LOCATION_KIND_KEY"]
    assert location["card_id"] == key["card_id"]
    assert location["emulated"] is True


@pytest.mark.behaviour("KEY-2")
def test_a_key_that_can_not_prove_its_private_key_is_not_added(
    world: World, customer: Customer
) -> None:
    stub = location_service_pb2_grpc_stub(customer)
    asked = stub.AuthorizeKeyWrite(
        location_service_pb2.AuthorizeKeyWriteRequest(
            parent=customer.account,
            card_id="ab" * 16,
            management_algorithm="aes192",
            challenge=bytes(16),
            factory_key=True,
            emulated=True,
        )
    )
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_numbers()
    raw = b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")
    request = location_service_pb2.CreateKeyLocationRequest(
        parent=customer.account,
        request_id="c6dc1bfe-1f0c-45c8-9e4f-3f4f8e1b2c01",
        card_id="ab" * 16,
        public_key=document_pb2.PublicKey(algorithm=document_pb2.KEY_ALGORITHM_ECDSA_P256, key=raw),
        enrollment_nonce=asked.enrollment_nonce,
        signature=private.sign(b"something else", ec.ECDSA(hashes.SHA256())),
        display_name="a liar",
        model="none",
        emulated=True,
    )
    with refused(Reason.KEY_PROOF_INVALID):
        stub.CreateKeyLocation(request)


def location_service_pb2_grpc_stub(
    customer: Customer,
) -> location_service_pb2_grpc.LocationServiceStub:
    return location_service_pb2_grpc.LocationServiceStub(customer.admin.channel)


@pytest.mark.behaviour("KEY-3", "LIC-3", "LIC-7")
def test_one_license_lives_on_a_key_and_in_the_cloud_and_the_app_is_the_same(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("synth"), locations=[CLOUD, KEY])
    owned = world.license(customer.account, product, activations=2)
    computer = at_the_key(world, customer, keys, new_name("lab"))
    name = enrolled(world, computer, keys)
    world.keypeg(computer, "activation", "create", owned.name, "--key", name)

    in_cloud = world.computer(new_name("cloud"), token=customer.member_token)
    cloud_app = world.app(new_name("app"), in_cloud, product, "--cloud", "open")
    assert cloud_app.expect("running")["location"].endswith("/locations/cloud")
    shown = customer.admin.licenses.GetLicense(
        license_service_pb2.GetLicenseRequest(name=owned.name)
    ).license
    assert (shown.activations_used_count, shown.activation_count) == (2, 2)
    with refused(Reason.ACTIVATIONS_EXHAUSTED) as caught:
        world.activate(customer.admin, owned.name, f"{customer.account}/locations/cloud")
    assert "locations/cloud" in caught[0].metadata["locations"]

    # The same app, the same call, with no account, no server and no connection: only the key.
    alone = world.computer(new_name("alone"), bridge=keys.target)
    alone.env.update(KEYPEG_SERVER="127.0.0.1:9", KEYPEG_TOKEN="")
    key_app = world.app(new_name("app"), alone, product)
    assert "/locations/" in key_app.expect("running")["location"]
    assert keys.bridge
    keys.bridge.stop()

    # Another computer with a bridge: the key is carried over.
    keys.start_bridge()
    carried = world.computer(new_name("carried"), bridge=keys.target)
    carried.env.update(KEYPEG_SERVER="127.0.0.1:9", KEYPEG_TOKEN="")
    other = world.app(new_name("app"), carried, product)
    other.expect("running")
    for app in (cloud_app, key_app, other):
        app.stop()


@pytest.mark.behaviour("KEY-5")
def test_pulling_the_key_is_heard_within_a_second_and_its_return_in_time_goes_unnoticed(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    patient = world.product(new_name("patient"), locations=[KEY], unplug_grace=30)
    strict = world.product(new_name("strict"), locations=[KEY], unplug_grace=0)
    computer = at_the_key(world, customer, keys, new_name("lab"))
    name = enrolled(world, computer, keys)
    for product in (patient, strict):
        owned = world.license(customer.account, product)
        world.keypeg(computer, "activation", "create", owned.name, "--key", name)
    goes_on = world.app(new_name("app"), computer, patient)
    stops = world.app(new_name("app"), computer, strict)
    for app in (goes_on, stops):
        app.expect("running")
    pulled = time.monotonic()
    keys.unplug()
    assert goes_on.expect("key_missing", timeout=5)["at"] - pulled < 1
    stopped = stops.expect("stopped", timeout=5)
    assert stopped["reason"] == "KEY_UNPLUGGED"
    assert stopped["at"] - pulled < 1
    keys.plug()
    goes_on.expect("key_returned", timeout=10)
    assert goes_on.running
    assert goes_on.stop() == 0


@pytest.mark.behaviour("KEY-10")
@pytest.mark.long
def test_a_server_refuses_emulated_keys_unless_its_settings_allow_them(
    tmp_path: Path, made_data: Path, new_name: Namer
) -> None:
    with Lab(tmp_path) as lab:
        world = World(lab, like=made_data)
        customer = Customer(world)
        keys = KeyLab(lab)
        try:
            keys.start_key()
            keys.start_bridge()
            computer = at_the_key(world, customer, keys, "lab")
            keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
            done = lab.run(
                [os.fspath(Path(sys.executable).parent / "keypeg"), "key", "enroll"],
                env=computer.env,
                check=False,
            )
            assert done.returncode == 5
            assert "emulated" in done.stderr
            (key,) = world.keypeg(computer, "key", "list")[1]
            assert key["enrolled"] is False
        finally:
            keys.close()


class LyingBridge(session_service_pb2_grpc.SessionServiceServicer):
    """Answers every `open` with something made from a true answer to somebody else."""

    def __init__(self, true: session_pb2.Opened, lie: Callable[[session_pb2.Opened], None]) -> None:
        self._true = true
        self._lie = lie

    async def HoldSession(  # noqa: N802 - the generated name
        self,
        request_iterator: AsyncIterator[session_service_pb2.HoldSessionRequest],
        context: grpc.aio.ServicerContext[object, object],
    ) -> AsyncIterator[session_service_pb2.HoldSessionResponse]:
        async for request in request_iterator:
            opened = session_pb2.Opened()
            opened.CopyFrom(self._true)
            opened.sequence = request.open.sequence
            self._lie(opened)
            yield session_service_pb2.HoldSessionResponse(opened=opened)

    async def CloseSession(  # noqa: N802 - the generated name
        self,
        request: session_service_pb2.CloseSessionRequest,
        context: grpc.aio.ServicerContext[object, object],
    ) -> session_service_pb2.CloseSessionResponse:
        return session_service_pb2.CloseSessionResponse()


async def true_answer(keys: KeyLab, product: str) -> session_pb2.Opened:
    """What the real bridge answers to somebody's nonce."""
    async with grpc.aio.insecure_channel(keys.target) as channel:
        stub = session_service_pb2_grpc.SessionServiceStub(channel)
        stream = stub.HoldSession()
        await stream.write(
            session_service_pb2.HoldSessionRequest(
                open=session_pb2.Open(
                    sequence=1,
                    protocol_version=1,
                    device=session_pb2.Device(id="device-eavesdropper", host_name="eavesdropper"),
                    app=session_pb2.App(name="eavesdropper"),
                    product=product,
                    nonce=os.urandom(32),
                )
            )
        )
        answer = await stream.read()
        stream.cancel()
    assert isinstance(answer, session_service_pb2.HoldSessionResponse)
    return answer.opened


def replays(opened: session_pb2.Opened) -> None:
    """The true answer to another nonce."""


def signs_itself(opened: session_pb2.Opened) -> None:
    """A signature by a key of its own."""
    private = ec.generate_private_key(ec.SECP256R1())
    opened.proof.key.signature = private.sign(os.urandom(32), ec.ECDSA(hashes.SHA256()))


def forges_the_license(opened: session_pb2.Opened) -> None:
    """A license signed by nobody that the publisher delegated to."""
    document = document_pb2.LicenseDocument.FromString(opened.proof.key.license.payload)
    document.generation += 1
    opened.proof.key.license.CopyFrom(seal(document, LICENSE_TYPE, Ed25519Signer.generate()))


def changes_a_byte(opened: session_pb2.Opened) -> None:
    """The true license with one bit changed."""
    payload = bytearray(opened.proof.key.license.payload)
    payload[len(payload) // 2] ^= 1
    opened.proof.key.license.payload = bytes(payload)


LIES: list[tuple[Callable[[session_pb2.Opened], None], type[KeypegError]]] = [
    (replays, errors.KeyProofInvalid),
    (signs_itself, errors.KeyProofInvalid),
    (forges_the_license, errors.SignerUnknown),
    (changes_a_byte, errors.SignatureInvalid),
]


@pytest.mark.behaviour("KEY-4")
@pytest.mark.long
async def test_a_lying_bridge_can_only_refuse(
    world: World,
    customer: Customer,
    keys: KeyLab,
    new_name: Namer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    product = world.product(new_name("synth"), locations=[KEY])
    owned = world.license(customer.account, product)
    computer = at_the_key(world, customer, keys, new_name("lab"))
    name = enrolled(world, computer, keys)
    world.keypeg(computer, "activation", "create", owned.name, "--key", name)
    monkeypatch.setenv("KEYPEG_CONFIG_DIR", str(tmp_path))

    async with aio.open_session(product, root=world.root, bridge=keys.target) as session:
        assert session.may_run, "the true bridge is believed"

    true = await true_answer(keys, product)
    for number, (lie, error) in enumerate(LIES):
        socket = keys.sockets / f"liar-{number}"
        server = grpc.aio.server()
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(
            LyingBridge(true, lie), server
        )
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        try:
            with pytest.raises(error):
                async with aio.open_session(product, root=world.root, bridge=f"unix:{socket}"):
                    pytest.fail(f"an app believed a bridge that {lie.__name__}")
        finally:
            await server.stop(None)

"""The whole way: a keypeg-emukey process, a keypeg-bridge process, and an app that verifies what it gets."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest

from keypeg import discovery
from keypeg.errors import (
    KeyMissing,
    KeyUnplugged,
    PermissionDenied,
    Reason,
    ServerDraining,
    SessionClosed,
    SessionExpired,
)
from keypeg.v1 import (
    error_pb2,
    key_pb2,
    key_service_pb2_grpc,
    session_pb2,
)
from keypeg.v1 import key_service_pb2 as pb
from lab.processes import BIN, Lab
from tests.bridge.app_side import AppSide, error_of
from tests.bridge.bridge_process import BridgeProcess, laboratory
from tests.bridge.emukey import Emukey, running
from tests.bridge.publisher import Publisher

pytestmark = pytest.mark.system

GRACE = timedelta(seconds=20)
HEARS_WITHIN = 1.0
"""Seconds until an app knows that its key was unplugged."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with laboratory() as made:
        yield made


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


StartBridge = Callable[..., BridgeProcess]


@pytest.fixture
async def start_bridge(lab: Lab) -> AsyncIterator[StartBridge]:
    made: list[BridgeProcess] = []

    def start(
        *backends: str, arguments: tuple[str, ...] = (), env: dict[str, str] | None = None
    ) -> BridgeProcess:
        options = [part for backend in backends for part in ("--backend", backend)]
        bridge = BridgeProcess(lab, *options, *arguments, env=env)
        made.append(bridge)
        return bridge.start()

    yield start
    for bridge in made:
        await bridge.close()


@pytest.fixture
def start_emukey(tmp_path: Path) -> Iterator[Callable[[str], Emukey]]:
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(running(tmp_path, name=name))


async def licensed(
    bridge: BridgeProcess, publisher: Publisher, product: str = "synth", grace: timedelta = GRACE
) -> key_pb2.Key:
    """The only key of a bridge, enrolled and with a license."""
    [key] = await bridge.listed()
    key = await bridge.enroll(key)
    license_ = publisher.license(key.public_key.key, product, grace=grace)
    return await bridge.put(key, license_, publisher.delegation())


@pytest.mark.behaviour("KEY-1")
async def test_keys_are_listed_as_they_come_and_go(
    emukey: Emukey, start_bridge: StartBridge
) -> None:
    bridge = start_bridge(emukey.backend)
    [key] = await bridge.listed()
    assert key.state == key_pb2.KEY_STATE_PRESENT
    assert key.name.startswith("keys/")
    assert key.model == "keypeg emulated key"
    assert key.serial == emukey.ready["serial"]
    assert key.emulated
    assert key.capabilities.slot_count == 19
    assert key.capabilities.management_algorithm == "aes192"
    watching = bridge.keys().WatchKeys(pb.WatchKeysRequest(), timeout=30)
    assert (await watching.read()).key == key
    emukey.unplug()
    while (gone := (await watching.read()).key).state != key_pb2.KEY_STATE_GONE:
        assert gone.state == key_pb2.KEY_STATE_MISSING
    assert gone.name == key.name
    assert await bridge.listed() == []
    emukey.plug()
    back = (await watching.read()).key
    assert back.state == key_pb2.KEY_STATE_PRESENT
    assert back.name == key.name
    assert bridge.stop() == 0
    lines = [json.loads(line) for line in (bridge.state / "keys.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["happening"] for line in lines if line["key"] == key.name] == [
        "arrived", "departed", "grace over", "arrived", "drained", "released",
    ]  # fmt: skip
    bridge.start()
    [again] = await bridge.listed()
    assert again.name == key.name


@pytest.mark.behaviour("KEY-2", "KEY-9")
async def test_the_setting_says_which_kind_of_key_a_card_makes(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend, env={"KEYPEG_BRIDGE_KEYS__PIV_ALGORITHMS": "P-384,P-256"})
    key = await bridge.enroll((await bridge.listed())[0])
    assert "P-384" in key.capabilities.features
    named = key.public_key
    license_ = publisher.license(named.key, algorithm=named.algorithm)
    await bridge.put(key, license_, publisher.delegation())
    app = bridge.app()
    app.check((await app.open()).proof, publisher)


@pytest.mark.behaviour("KEY-4")
@pytest.mark.behaviour("KEY-5")
async def test_an_app_runs_on_a_key_hears_of_its_unplugging_and_goes_on_when_it_is_back(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend)
    key = await licensed(bridge, publisher)
    assert key.enrolled
    assert key.capabilities.silent_proof
    app = bridge.app()
    opened = await app.open()
    assert app.check(opened.proof, publisher).unplug_grace == GRACE
    assert opened.proof.key.location_host == bridge.ready["location_host"]
    loop = asyncio.get_running_loop()
    for _ in range(2):
        pulled = loop.time()
        emukey.unplug()
        missing = (await app.receive()).missing
        assert loop.time() - pulled < HEARS_WITHIN
        assert missing.reason == error_pb2.REASON_KEY_UNPLUGGED
        assert missing.resource == key.name
        assert missing.grace.ToTimedelta() == GRACE
        assert (await app.renew()).denied.explanation.reason == Reason.KEY_UNPLUGGED.value
        emukey.plug()
        changed = (await app.receive()).changed
        assert changed.change == session_pb2.CHANGE_KEY_RETURNED
        app.check((await app.renew()).renewed.proof, publisher)


@pytest.mark.behaviour("KEY-5")
@pytest.mark.parametrize("grace", [timedelta(), timedelta(milliseconds=500)], ids=["none", "short"])
async def test_a_key_that_does_not_come_back_ends_the_session(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher, grace: timedelta
) -> None:
    bridge = start_bridge(emukey.backend)
    await licensed(bridge, publisher, grace=grace)
    app = bridge.app()
    await app.open()
    emukey.unplug()
    assert (await app.receive()).missing.grace.ToTimedelta() == grace
    with pytest.raises(KeyUnplugged):
        await app.receive()
    await app_is_refused(bridge, app)


async def app_is_refused(bridge: BridgeProcess, app: AppSide) -> None:
    late = bridge.app()
    await late.send(open=late.open_frame())
    with pytest.raises(KeyMissing):
        await late.receive()


@pytest.mark.behaviour("KEY-5")
async def test_a_flapping_key_is_recognized(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend)
    await licensed(bridge, publisher)
    app = bridge.app()
    await app.open()
    for _ in range(5):
        emukey.unplug()
        assert (await app.receive()).WhichOneof("frame") == "missing"
        emukey.plug()
        assert (await app.receive()).WhichOneof("frame") == "changed"
    [key] = await bridge.listed()
    assert "came and went" in key.fault
    emukey.unplug()
    grace = (await app.receive()).missing.grace.ToTimedelta()
    assert grace < GRACE


@pytest.mark.behaviour("KEY-3")
@pytest.mark.long
async def test_a_license_on_a_key_works_at_every_bridge(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    first = start_bridge(emukey.backend)
    key = await licensed(first, publisher)
    app = first.app()
    await app.open()
    assert first.stop() == 0
    elsewhere = start_bridge(emukey.backend)
    [there] = await elsewhere.listed()
    assert there.name != key.name
    assert there.card_id == key.card_id
    other = elsewhere.app()
    opened = await other.open()
    other.check(opened.proof, publisher)
    assert opened.proof.key.location_host != app.opened.proof.key.location_host
    stale = elsewhere.app()
    stale.opened, stale.sequences = app.opened, app.sequences
    await stale.send(resume=stale.resume_frame())
    with pytest.raises(SessionExpired):
        await stale.receive()


async def test_an_app_survives_the_loss_of_its_stream(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend)
    await licensed(bridge, publisher)
    app = bridge.app()
    await app.open()
    app.call.cancel()
    app.start()
    await app.send(resume=app.resume_frame())
    opened = (await app.receive()).opened
    assert opened.resumed
    app.check(opened.proof, publisher)


@pytest.mark.behaviour("KEY-12")
@pytest.mark.long
async def test_a_stalled_key_does_not_slow_another(
    start_emukey: Callable[[str], Emukey], start_bridge: StartBridge, publisher: Publisher
) -> None:
    slow, quick = start_emukey("slow"), start_emukey("quick")
    bridge = start_bridge(slow.backend, quick.backend)
    for number, key in enumerate(await bridge.listed()):
        enrolled = await bridge.enroll(key)
        product = "slow" if key.serial == slow.ready["serial"] else "quick"
        license_ = publisher.license(
            enrolled.public_key.key, product, str(number), grace=timedelta(minutes=1)
        )
        await bridge.put(enrolled, license_, publisher.delegation())
    stuck, going = bridge.app("slow"), bridge.app("quick")
    await stuck.open()
    await going.open()
    os.kill(slow.pid, signal.SIGSTOP)
    try:
        renewal = asyncio.ensure_future(stuck.renew())
        loop = asyncio.get_running_loop()
        started = loop.time()
        while not renewal.done():
            before = loop.time()
            going.check((await going.renew()).renewed.proof, publisher)
            assert loop.time() - before < 1
        assert 2 < loop.time() - started < 8
        assert renewal.result().denied.explanation.reason in (
            Reason.KEY_FAULTY.value,
            Reason.KEY_UNPLUGGED.value,
        )
    finally:
        os.kill(slow.pid, signal.SIGCONT)
    while (answer := await stuck.receive()).WhichOneof("frame") != "changed":
        assert answer.WhichOneof("frame") == "missing"
    stuck.check((await stuck.renew()).renewed.proof, publisher)


@pytest.mark.long
async def test_a_key_whose_computer_dies_is_missing_and_comes_back(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend)
    await licensed(bridge, publisher)
    app = bridge.app()
    await app.open()
    loop = asyncio.get_running_loop()
    killed = loop.time()
    emukey.kill()
    assert (await app.receive()).missing.grace.ToTimedelta() == GRACE
    assert loop.time() - killed < HEARS_WITHIN
    emukey.start(int(emukey.address.rpartition(":")[2]))
    assert (await app.receive()).changed.change == session_pb2.CHANGE_KEY_RETURNED
    app.check((await app.renew()).renewed.proof, publisher)


@pytest.mark.long
async def test_a_copy_of_a_plugged_in_key_is_told_and_offers_nothing(
    tmp_path: Path, start_bridge: StartBridge
) -> None:
    with (
        running(tmp_path, "--seed", "twin", name="first") as first,
        running(tmp_path, "--seed", "twin", name="second") as second,
    ):
        bridge = start_bridge(first.backend, second.backend)
        keys = await bridge.listed()
        assert sorted(key.state for key in keys) == [
            key_pb2.KEY_STATE_PRESENT,
            key_pb2.KEY_STATE_FAULTY,
        ]
        copy = next(key for key in keys if key.state == key_pb2.KEY_STATE_FAULTY)
        assert "same card id" in copy.fault
        assert len({key.name for key in keys}) == 2


async def test_the_usual_socket_is_where_apps_look_for_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = BridgeProcess(lab)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(bridge.folder))
    command = [str(BIN / "keypeg-bridge"), "serve", "--backend", "usbip:127.0.0.1:1"]
    file = bridge.folder / "ready"
    program = lab.start(
        "usual", [*command, "--state", str(bridge.state), "--ready-file", str(file)]
    )
    lab.ready(program, file)
    assert discovery.bridge_target() == f"unix:{bridge.folder}/keypeg/bridge.sock"
    assert discovery.bridge_socket().stat().st_mode & 0o777 == 0o600
    assert program.stop() == 0
    assert discovery.bridge_target() is None
    shutil.rmtree(bridge.folder)


async def test_a_backend_that_does_not_work_is_told_and_hides_no_other(
    emukey: Emukey, start_bridge: StartBridge
) -> None:
    bridge = start_bridge("usbip:127.0.0.1:1", emukey.backend)
    answer = await bridge.keys().ListKeys(pb.ListKeysRequest(), timeout=15)
    assert len(answer.keys) == 1
    assert any("127.0.0.1:1" in problem for problem in answer.problems)


async def test_a_bridge_that_ends_tells_its_apps_and_leaves_nothing_behind(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend)
    key = await licensed(bridge, publisher)
    app = bridge.app()
    await app.open()
    watching = bridge.keys().WatchKeys(pb.WatchKeysRequest())
    await watching.read()
    assert bridge.program is not None
    bridge.program.signal(signal.SIGTERM)
    assert (await app.receive()).WhichOneof("frame") == "draining"
    with pytest.raises(ServerDraining):
        await app.receive()
    assert bridge.program.wait(15) == 0
    assert not bridge.socket.exists()
    assert not (bridge.folder / "ready.json").exists()
    assert emukey.status()["attached"] is False
    for secret in (app.opened.resume_ticket, app.opened.release_token):
        assert secret.hex() not in bridge.log()
    assert key.name in bridge.log()


@pytest.mark.behaviour("KEY-14")
async def test_garbage_on_the_socket_disturbs_nobody(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend, arguments=("--tls", "127.0.0.1:0"))
    await licensed(bridge, publisher)
    app = bridge.app()
    await app.open()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for garbage in (os.urandom(4096), preface + os.urandom(4096), b"GET / HTTP/1.1\r\n\r\n", b""):
        for connect in (
            asyncio.open_unix_connection(str(bridge.socket)),
            asyncio.open_connection(*bridge.ready["address"].split(":")),
        ):
            _, writer = await connect
            writer.write(garbage)
            writer.close()
    hold: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = bridge.channel().stream_stream(
        "/keypeg.v1.SessionService/HoldSession"
    )
    raw = hold()
    with pytest.raises(grpc.RpcError) as refused:
        await first_answer(raw, b"\x0a" + b"a" * 400_000)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    raw = hold()
    with pytest.raises(grpc.RpcError) as refused:
        await first_answer(raw, os.urandom(1) + b"\xff" * 20)
    assert error_of(refused.value).reason in (Reason.FIELD_INVALID, Reason.PROTOCOL_VIOLATION)
    app.check((await app.renew()).renewed.proof, publisher)


async def first_answer(call: grpc.aio.StreamStreamCall, data: bytes) -> None:
    """Raises what the stream ends with."""
    await call.write(data)
    await call.read()
    raise grpc.aio.AioRpcError(
        await call.code(), await call.initial_metadata(), await call.trailing_metadata()
    )


async def test_apps_may_come_over_loopback_tls_but_writers_may_not(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher
) -> None:
    bridge = start_bridge(emukey.backend, arguments=("--tls", "127.0.0.1:0"))
    key = await licensed(bridge, publisher)
    credentials = grpc.ssl_channel_credentials(bridge.authority())
    async with grpc.aio.secure_channel(bridge.ready["address"], credentials) as channel:
        app = AppSide(channel)
        app.check((await app.open()).proof, publisher)
        stub = key_service_pb2_grpc.KeyServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            await stub.BeginKeyWrite(pb.BeginKeyWriteRequest(key=key.name), timeout=15)
        assert isinstance(error_of(refused.value), PermissionDenied)


@pytest.mark.long
async def test_the_socket_of_a_dead_bridge_is_taken_over_and_that_of_a_living_one_is_not(
    lab: Lab, start_bridge: StartBridge
) -> None:
    bridge = start_bridge("usbip:127.0.0.1:1")
    refused = lab.run(bridge.command(), check=False)
    assert refused.returncode == 1
    assert "Another bridge" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert await bridge.listed() == []
    bridge.kill()
    assert bridge.socket.exists()
    bridge.start()
    assert await bridge.listed() == []


WATCHED_APP = """
import sys, threading
import grpc
from keypeg.v1 import agent_service_pb2 as pb, agent_service_pb2_grpc
target, session, token = sys.argv[1:]
watch = pb.WatchSession(session=session, server=target, release_token=bytes.fromhex(token))
def frames():
    yield pb.WatchProcessRequest(watch=watch)
    threading.Event().wait()
stub = agent_service_pb2_grpc.AgentServiceStub(grpc.insecure_channel(target))
for answer in stub.WatchProcess(frames()):
    print(answer.watching.process_id, flush=True)
"""


async def test_the_bridge_closes_the_sessions_of_a_process_that_is_killed(
    emukey: Emukey, start_bridge: StartBridge, publisher: Publisher, lab: Lab
) -> None:
    bridge = start_bridge(emukey.backend)
    await licensed(bridge, publisher)
    held = bridge.app()
    opened = await held.open()
    target, token = bridge.ready["target"], opened.release_token.hex()
    app = lab.start("app", [sys.executable, "-c", WATCHED_APP, target, opened.session, token])
    assert app.expect("text")["text"] == str(app.pid)
    loop = asyncio.get_running_loop()
    killed = loop.time()
    app.kill()
    with pytest.raises(SessionClosed):
        await held.receive()
    assert loop.time() - killed < 2


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (("--backend", "parport"), {}, "'parport' is unknown"),
        (("--tls", "0.0.0.0:0"), {}, "can be reached from other computers"),
        (("--tls", "nonsense"), {}, "no address and port"),
        ((), {"KEYPEG_BRIDGE_SESSIONS__COLOR": "red"}, "no setting 'color'"),
        ((), {"KEYPEG_BRIDGE_SESSIONS__VALID_FOR": "2h"}, "goes from"),
        ((), {"KEYPEG_BRIDGE_KEYS__PIV_ALGORITHMS": ""}, "none is named"),
        (("--socket", "/proc/none/b.sock"), {}, "cannot be used"),
        (("--state", "/proc/none"), {}, "cannot be used"),
    ],
)
def test_what_keeps_a_bridge_from_starting_is_one_sentence(
    lab: Lab, arguments: tuple[str, ...], env: dict[str, str], words: str
) -> None:
    bridge = BridgeProcess(lab)
    done = lab.run(bridge.command(*arguments), env=env, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1

"""A group at work: members with two devices each, who move their cloud sessions at once, and one who is removed.

Promises: streams of the contract, of which the end and each frame is kept with its time; `play` checks the story on one
server or on several.

Leaves to others: which servers (test_groups.py, test_cloud_servers.py).
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc

from keypeg import sessionkey
from keypeg.calls import translate
from keypeg.errors import KeypegError, Reason
from keypeg.v1 import (
    account_service_pb2,
    activation_service_pb2,
    cloud_session_pb2,
    cloud_session_service_pb2,
    session_pb2,
    session_service_pb2_grpc,
)
from keypeg.v1.session_service_pb2 import HoldSessionRequest, HoldSessionResponse
from lab.world import ADMIN, CLOUD, MEMBER, Api, Computer, World, request_id
from tests.system.people import new_id, recorded_in, refused

Sign = Callable[[int, str], Api]
"""The API of a member by number and login."""


class Stream:
    """An app of the barest kind: it opens a session, and listens."""

    def __init__(self, api: Api, computer: Computer, product: str) -> None:
        self.frames: list[HoldSessionResponse] = []
        self.ended_at = 0.0
        self.error: KeypegError | None = None
        self._refusal: grpc.RpcError | None = None
        self._changed = threading.Condition()
        self._up: queue.SimpleQueue[HoldSessionRequest | None] = queue.SimpleQueue()
        first = session_pb2.Open(
            sequence=1,
            protocol_version=1,
            device=computer.device,
            app=session_pb2.App(name="story", version="1.0"),
            product=product,
            nonce=os.urandom(32),
            key_share=sessionkey.KeyShare.generate().public,
        )
        self._up.put(HoldSessionRequest(open=first))
        stub = session_service_pb2_grpc.SessionServiceStub(api.channel)
        self._call = stub.HoldSession(iter(self._up.get, None))
        threading.Thread(target=self._listen, daemon=True).start()
        with self._changed:
            assert self._changed.wait_for(lambda: self.frames or self.error, 20)
        if self._refusal is not None:
            raise self._refusal

    def until_ended(self, timeout: float = 10) -> KeypegError:
        """Why it ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.error, timeout), "it goes on"
        assert self.error is not None
        return self.error

    def stop(self) -> None:
        self._up.put(None)
        self._call.cancel()

    def _listen(self) -> None:
        try:
            for frame in self._call:
                with self._changed:
                    self.frames.append(frame)
                    self._changed.notify_all()
        except grpc.RpcError as error:
            with self._changed:
                self.ended_at = time.monotonic()
                self.error, self._refusal = translate(error), error
                self._changed.notify_all()


@dataclass
class Member:
    """One of the group, with two devices."""

    login: str
    api: Api
    computers: Sequence[Computer]
    user: str = ""
    streams: list[Stream] = field(default_factory=list)

    def work(self, world: World, account: str, product: str, turns: int) -> None:
        """Open here and there, an app on each: the one before hears that it was moved."""
        for turn in range(turns):
            computer = self.computers[turn % 2]
            world.open_cloud(self.api, account, computer)
            if self.streams:
                assert self.streams[-1].until_ended().reason is Reason.CLOUD_SESSION_MOVED
            self.streams.append(Stream(self.api, computer, product))


@dataclass
class Group:
    """The account, with what it owns."""

    account: str
    admin: Api
    members: list[Member]
    everyones: str  # product: enough for all
    scarce: str  # product: two too few
    owned: dict[str, int]  # activations of each license

    def used(self, license: str) -> list[str]:
        """Where the activations of a license are."""
        found = self.admin.activations.ListActivations(
            activation_service_pb2.ListActivationsRequest(parent=license)
        )
        return [one.location for one in found.activations]

    def clouds(self) -> dict[str, cloud_session_pb2.CloudSession]:
        """By member, as an administrator sees them."""
        found = self.admin.cloud.ListCloudSessions(
            cloud_session_service_pb2.ListCloudSessionsRequest(parent=self.account)
        )
        return {one.member: one for one in found.cloud_sessions}


def group(world: World, count: int, sign: Sign, admin: Callable[[str], Api]) -> Group:
    """A group of so many members."""
    logins = [new_id("member") for _ in range(count)]
    boss = new_id("boss")
    roles = {boss: ADMIN, **dict.fromkeys(logins, MEMBER)}
    account = world.account(new_id("group"), roles, group=True)
    everyones, scarce = (world.product(new_id(name), locations=[CLOUD]) for name in ("eq", "daw"))
    owned = {
        world.license(account, everyones, activations=count).name: count,
        world.license(account, scarce, activations=count - 2).name: count - 2,
    }
    members = []
    for number, login in enumerate(logins):
        api = sign(number, login)
        computers = [world.computer(new_id(name)) for name in ("pc", "laptop")]
        user = api.accounts.GetCaller(account_service_pb2.GetCallerRequest()).user.name
        members.append(Member(login, api, computers, user))
    return Group(account, admin(boss), members, everyones, scarce, owned)


def play(world: World, made: Group, turns: int) -> float:
    """The story; the seconds after which the apps of the removed member have ended."""
    with ThreadPoolExecutor(len(made.members)) as pool:
        works = [
            pool.submit(one.work, world, made.account, made.everyones, turns)
            for one in made.members
        ]
        for work in works:
            work.result(60)
    _check(made, turns)

    # Two have come too late for what is scarce, and are told who has it.
    clouds = made.clouds()
    have = [one for one in made.members if len(clouds[one.user].activations) == 2]
    late = [one for one in made.members if one not in have]
    assert len(late) == 2
    with refused(Reason.ACTIVATIONS_EXHAUSTED) as refusal:
        Stream(late[0].api, late[0].computers[(turns - 1) % 2], made.scarce)
    assert any(one.login in str(refusal[0]) for one in have)

    # One is removed: cut off, and nobody else notices.
    gone = have[0]
    others = [one for one in made.members if one is not gone]
    before = {one.login: len(one.streams[-1].frames) for one in others}
    begun = time.monotonic()
    made.admin.accounts.DeleteUser(
        account_service_pb2.DeleteUserRequest(name=gone.user, request_id=request_id())
    )
    assert gone.streams[-1].until_ended().reason is Reason.MEMBER_REMOVED
    took = gone.streams[-1].ended_at - begun
    with refused(Reason.TOKEN_INVALID):
        world.open_cloud(gone.api, made.account, gone.computers[0])
    made.members.remove(gone)
    _check(made, turns)
    for one in others:
        assert one.streams[-1].error is None
        assert len(one.streams[-1].frames) == before[one.login], one.streams[-1].frames

    # What was theirs went to one who had waited.
    assert sum(len(one.activations) == 2 for one in made.clouds().values()) == len(have)
    Stream(others[0].api, others[0].computers[(turns - 1) % 2], made.everyones).stop()
    closed = recorded_in(made.admin, made.account, "cloud_closed")
    assert [one["member"] for one in closed] == [gone.user]
    for one in others:
        one.streams[-1].stop()
    return took


def _check(made: Group, turns: int) -> None:
    """No more than was sold, each once in a cloud, and every member where they were last."""
    everyones, _ = made.owned
    for license in made.owned:
        used = made.used(license)
        assert len(used) == len(set(used)) <= made.owned[license]
    assert len(made.used(everyones)) == len(made.members)
    clouds = made.clouds()
    assert set(clouds) == {one.user for one in made.members}
    for one in made.members:
        shown = clouds[one.user]
        assert shown.device == one.computers[(turns - 1) % 2].device.id
        assert shown.generation == turns

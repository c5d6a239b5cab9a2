"""Groups: many members at once, through the real programs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from keypeg.errors import Reason
from keypeg.v1 import (
    account_pb2,
    account_service_pb2,
    cloud_session_service_pb2,
    license_service_pb2,
)
from lab.world import CLOUD, World, request_id
from tests.system.group_story import Group, Member, Stream, group, play
from tests.system.people import Customer, refused

Namer = Callable[[str], str]


@pytest.mark.behaviour("CLOUD-19")
def test_members_move_their_devices_at_once_and_a_removed_one_is_cut_off(world: World) -> None:
    made = group(world, 8, lambda _, login: world.sign_in(login), world.sign_in)
    took = play(world, made, 3)
    print(f"cut off after {took * 1e3:.0f} ms")
    assert took < 1


@pytest.mark.long
@pytest.mark.behaviour("CLOUD-19")
def test_many_members_move_many_times(world: World) -> None:
    made = group(world, 12, lambda _, login: world.sign_in(login), world.sign_in)
    assert play(world, made, 6) < 1


def end(made: Group, member: Member, reason: str, *, suspend: bool = False) -> None:
    made.admin.cloud.EndCloudSession(
        cloud_session_service_pb2.EndCloudSessionRequest(
            name=f"{member.user}/cloudSession",
            request_id=request_id(),
            reason=reason,
            suspend=suspend,
        )
    )


@pytest.mark.behaviour("CLOUD-19")
def test_a_member_whom_an_administrator_ends_or_suspends_is_told_why(world: World) -> None:
    made = group(world, 3, lambda _, login: world.sign_in(login), world.sign_in)
    first, second, third = made.members
    for one in made.members:
        one.work(world, made.account, made.everyones, 1)
    end(made, first, "on leave")
    closed = first.streams[-1].until_ended()
    assert (closed.reason, closed.metadata["why"]) == (Reason.CLOUD_SESSION_CLOSED, "on leave")
    world.open_cloud(first.api, made.account, first.computers[0])

    end(made, second, "lost laptop", suspend=True)
    stopped = second.streams[-1].until_ended()
    assert (stopped.reason, stopped.metadata["why"]) == (Reason.MEMBER_SUSPENDED, "lost laptop")
    with refused(Reason.MEMBER_SUSPENDED):
        world.open_cloud(second.api, made.account, second.computers[1])
    with refused(Reason.MEMBER_SUSPENDED):
        Stream(second.api, second.computers[0], made.everyones)
    made.admin.cloud.ResumeCloudSession(
        cloud_session_service_pb2.ResumeCloudSessionRequest(
            name=f"{second.user}/cloudSession", request_id=request_id()
        )
    )
    world.open_cloud(second.api, made.account, second.computers[1])
    Stream(second.api, second.computers[1], made.everyones).stop()
    assert third.streams[-1].error is None
    third.streams[-1].stop()


@pytest.mark.long  # it starts the command line ten times, and an app
@pytest.mark.behaviour("CLOUD-19")
def test_a_group_is_run_by_the_command_line(world: World, new_name: Namer) -> None:
    made = group(world, 2, lambda _, login: world.sign_in(login), world.sign_in)
    ann, bea = made.members
    boss = world.computer(new_name("boss"), token=made.admin.token)
    pc = world.computer(new_name("pc"), token=bea.api.token)
    owned = world.license(made.account, world.product(new_name("cad"), locations=[CLOUD])).name
    _, opened = world.keypeg(pc, "session", "open")
    assert opened["member"] == bea.user
    world.keypeg(pc, "session", "show")
    app = world.app(new_name("app"), pc, made.everyones, "--cloud", "never")
    app.expect("running")
    _, shown = world.keypeg(boss, "session", "members")
    assert [(one["member"], one["host_name"]) for one in shown] == [(bea.user, opened["host_name"])]
    world.keypeg(boss, "session", "remove", owned, "--member", bea.login)
    _, chosen = world.keypeg(boss, "session", "add", owned, "--member", ann.login)
    assert len(chosen["activations"]) == 1  # it waits for her
    world.keypeg(boss, "session", "end", bea.login, "--reason", "lost laptop", "--suspend")
    assert app.expect("stopped", timeout=5)["reason"] == "MEMBER_SUSPENDED"
    code, _ = world.keypeg(pc, "session", "open", check=False)
    assert code == 5
    world.keypeg(boss, "session", "resume", bea.login)
    world.keypeg(boss, "session", "mode", "automatic", "--member", bea.login)
    world.keypeg(pc, "session", "open")
    again = world.app(new_name("app"), pc, made.everyones, "--cloud", "never")
    again.expect("running")
    world.keypeg(boss, "user", "delete", bea.login)
    assert again.expect("stopped", timeout=5)["reason"] == "MEMBER_REMOVED"


def test_members_see_and_change_no_cloud_session_but_their_own(world: World) -> None:
    made = group(world, 2, lambda _, login: world.sign_in(login), world.sign_in)
    ann, bea = made.members
    bea.work(world, made.account, made.everyones, 1)
    theirs = f"{bea.user}/cloudSession"
    pb = cloud_session_service_pb2
    with refused(Reason.NOT_FOUND):
        ann.api.cloud.GetCloudSession(pb.GetCloudSessionRequest(name=theirs))
    with refused(Reason.NOT_FOUND):
        ann.api.cloud.CloseCloudSession(
            pb.CloseCloudSessionRequest(
                name=theirs, request_id=request_id(), device=ann.computers[0].device
            )
        )
    with refused(Reason.PERMISSION_DENIED):
        ann.api.cloud.ListCloudSessions(pb.ListCloudSessionsRequest(parent=made.account))
    own = ann.api.cloud.GetCloudSession(
        pb.GetCloudSessionRequest(name=f"{made.account}/cloudSession")
    ).cloud_session
    assert (own.name, own.member) == (f"{ann.user}/cloudSession", ann.user)
    shown = made.admin.cloud.GetCloudSession(pb.GetCloudSessionRequest(name=theirs)).cloud_session
    assert shown.host_name == bea.computers[0].name
    bea.streams[-1].stop()
    there = shown.activations[0]
    with refused(Reason.NOT_FOUND):  # nor by moving what is in it
        ann.api.licenses.MoveLicense(
            license_service_pb2.MoveLicenseRequest(
                name=there,
                request_id=request_id(),
                target=f"{made.account}/locations/cloud",
                reason="mine",
            )
        )
    with refused(Reason.NOT_FOUND):
        place = f"{made.account}/locations/cloud-{bea.user.rpartition('/')[2]}"
        world.activate(ann.api, there.partition("/activations/")[0], place)
    with refused(Reason.FIELD_INVALID):  # whose?
        world.publisher.cloud.GetCloudSession(
            pb.GetCloudSessionRequest(name=f"{made.account}/cloudSession")
        )


def test_an_account_becomes_a_group_and_its_open_cloud_session_is_closed_by_that(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer = world.computer(new_name("pc"))
    world.open_cloud(customer.member, customer.account, computer)
    stream = Stream(customer.member, computer, product)
    begun = time.monotonic()
    for kind in (account_pb2.ACCOUNT_KIND_GROUP, account_pb2.ACCOUNT_KIND_PERSONAL):
        made = world.publisher.accounts.SetAccountKind(
            account_service_pb2.SetAccountKindRequest(
                name=customer.account, request_id=request_id(), kind=kind
            )
        )
        assert made.account.kind == kind
        assert stream.until_ended().reason is Reason.CLOUD_SESSION_CLOSED
        assert stream.ended_at - begun < 5
        begun = time.monotonic()
        opened = world.open_cloud(customer.member, customer.account, computer)
        assert len(opened.cloud_session.activations) == 1
        stream = Stream(customer.member, computer, product)
    stream.stop()

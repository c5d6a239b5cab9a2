"""Every command of the contract that changes a cloud session or what is in it, on the server and in the model.

Promises: a command is one row: its name, its method of the contract, how the server is asked for it, and what it is in
the model. Every method of the services about it is among the commands, or among OTHERS.

Leaves to others: where they meet (cloud_table.py), what comes of it (test_cloud_pairs.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NamedTuple

from keypeg_server.domain.account import AccountKind
from keypeg_server.domain.cloud_session import CloudMode
from keypeg_server.domain.license_change import ChangeKind, Edit
from keypeg_server.domain.location import LocationKind
from tests.server.service.cloud_stage import HOUR, Stage
from tests.server.service.cloud_world import World

KEYS_ONLY: Final = frozenset({LocationKind.KEY})


class Command(NamedTuple):
    """In the contract (empty: the clock's), on the server, and in the model."""

    method: str
    server: Callable[[Stage], Awaitable[object]]
    model: Callable[[World], str]


COMMANDS: Final[Mapping[str, Command]] = {
    # A cloud session.
    "open a": Command(
        "OpenCloudSession",
        lambda on: on.open("ann", "a"),
        lambda model: model.open("ann", "a"),
    ),
    "open b": Command(
        "OpenCloudSession",
        lambda on: on.open("ann", "b"),
        lambda model: model.open("ann", "b"),
    ),
    "open b or keep": Command(
        "OpenCloudSession",
        lambda on: on.open("ann", "b", keep=True),
        lambda model: model.open("ann", "b", keep=True),
    ),
    "bea opens c": Command(
        "OpenCloudSession",
        lambda on: on.open("bea", "c"),
        lambda model: model.open("bea", "c"),
    ),
    "close on a": Command(
        "CloseCloudSession",
        lambda on: on.close("ann", "a"),
        lambda model: model.close("ann"),
    ),
    "close on b": Command(
        "CloseCloudSession",
        lambda on: on.close("ann", "b"),
        lambda model: model.close("ann"),
    ),
    "bea closes on c": Command(
        "CloseCloudSession",
        lambda on: on.close("bea", "c"),
        lambda model: model.close("bea"),
    ),
    "automatic": Command(
        "SetCloudSessionMode",
        lambda on: on.set_mode("ann", CloudMode.AUTOMATIC),
        lambda model: model.set_mode("ann", automatic=True),
    ),
    "managed": Command(
        "SetCloudSessionMode",
        lambda on: on.set_mode("ann", CloudMode.MANAGED),
        lambda model: model.set_mode("ann", automatic=False),
    ),
    "add eq": Command(
        "ChooseCloudLicenses",
        lambda on: on.choose("ann", add=["eq"]),
        lambda model: model.put_in("ann", "eq"),
    ),
    "remove daw": Command(
        "ChooseCloudLicenses",
        lambda on: on.choose("ann", remove=["daw"]),
        lambda model: model.take_out("ann", "daw"),
    ),
    # Those of members, and the account.
    "end ann's": Command(
        "EndCloudSession",
        lambda on: on.end("ann"),
        lambda model: model.end("ann", suspend=False),
    ),
    "suspend ann's": Command(
        "EndCloudSession",
        lambda on: on.end("ann", suspend=True),
        lambda model: model.end("ann", suspend=True),
    ),
    "resume ann's": Command(
        "ResumeCloudSession",
        lambda on: on.resume("ann"),
        lambda model: model.resume("ann"),
    ),
    "ann is removed": Command(
        "DeleteUser",
        lambda on: on.delete_user("ann"),
        lambda model: model.remove("ann"),
    ),
    "make it a group": Command(
        "SetAccountKind",
        lambda on: on.set_kind(AccountKind.GROUP),
        lambda model: model.set_group(True),
    ),
    "make it personal": Command(
        "SetAccountKind",
        lambda on: on.set_kind(AccountKind.PERSONAL),
        lambda model: model.set_group(False),
    ),
    # Where licenses are.
    "deposit fx": Command(
        "CreateLicense",
        lambda on: on.deposit("fx"),
        lambda model: model.owns("fx"),
    ),
    "deposit an eq": Command(
        "CreateLicense",
        lambda on: on.deposit("eq"),
        lambda model: model.owns("eq"),
    ),
    "activate eq in the cloud": Command(
        "CreateActivation",
        lambda on: on.activate("eq", "cloud"),
        lambda model: model.activate("eq", model.place("ann")),
    ),
    "activate eq on a key": Command(
        "CreateActivation",
        lambda on: on.activate("eq", "k2"),
        lambda model: model.activate("eq", "k2"),
    ),
    "delete daw's": Command(
        "DeleteActivation",
        lambda on: on.delete("daw"),
        lambda model: model.delete("daw", model.placed["daw"]),
    ),
    "delete dsp's": Command(
        "DeleteActivation",
        lambda on: on.delete("dsp"),
        lambda model: model.delete("dsp", model.placed["dsp"], receipt=1),
    ),
    "move daw to a key": Command(
        "MoveLicense",
        lambda on: on.move("daw", "k2"),
        lambda model: model.move("daw", model.placed["daw"], "k2"),
    ),
    "move daw to bea": Command(
        "MoveLicense",
        lambda on: on.move("daw", "bea"),
        lambda model: model.move("daw", model.placed["daw"], "cloud-bea"),
    ),
    "move daw to the site": Command(
        "MoveLicense",
        lambda on: on.move("daw", "site"),
        lambda model: model.move("daw", model.placed["daw"], "site"),
    ),
    "move dsp to the cloud": Command(
        "MoveLicense",
        lambda on: on.move("dsp", "cloud"),
        lambda model: model.move("dsp", model.placed["dsp"], model.place("ann")),
    ),
    "recover dsp": Command(
        "RecoverLicense",
        lambda on: on.recover("dsp"),
        lambda model: model.recover("dsp", model.placed["dsp"]),
    ),
    "reach amp's key": Command(
        "ApplyLicenseChange",
        lambda on: on.reach("amp"),
        lambda model: model.reach("amp"),
    ),
    "cancel amp's move": Command(
        "CancelLicenseChange",
        lambda on: on.cancel("amp"),
        lambda model: model.cancel("amp"),
    ),
    "lose amp's key": Command(
        "ReportKeyLost",
        lambda on: on.lose("k3"),
        lambda model: model.lose("k3"),
    ),
    # What licenses are.
    "suspend daw": Command(
        "SuspendLicense",
        lambda on: on.command("daw", ChangeKind.SUSPEND),
        lambda model: model.suspend("daw"),
    ),
    "resume daw": Command(
        "ResumeLicense",
        lambda on: on.command("daw", ChangeKind.RESUME),
        lambda model: model.let_go_on("daw"),
    ),
    "revoke daw": Command(
        "RevokeLicense",
        lambda on: on.command("daw", ChangeKind.REVOKE),
        lambda model: model.revoke("daw"),
    ),
    "resume old": Command(
        "ResumeLicense",
        lambda on: on.command("old", ChangeKind.RESUME),
        lambda model: model.let_go_on("old"),
    ),
    "daw on keys only": Command(
        "EditLicense",
        lambda on: on.edit("daw", Edit(allowed_locations=KEYS_ONLY)),
        lambda model: model.edit("daw", kinds=frozenset({"key"})),
    ),
    "two of dsp": Command(
        "EditLicense",
        lambda on: on.edit("dsp", Edit(activation_count=2)),
        lambda model: model.edit("dsp", count=2),
    ),
    "one more dsp for a time": Command(
        "AddLicenseCapacity",
        lambda on: on.add_capacity("dsp", 2 * HOUR),
        lambda model: model.add_capacity("dsp"),
    ),
    "no more syn": Command(
        "RemoveLicenseCapacity",
        lambda on: on.remove_capacity("syn"),
        lambda model: model.remove_capacity("syn"),
    ),
    "an hour": Command(
        "",
        lambda on: on.an_hour(),
        lambda model: model.an_hour(),
    ),
}
SERVICES: Final = ("Account", "License", "Activation", "CloudSession", "Location")
# Their methods that change no cloud session, and nothing that is in one.
OTHERS: Final = frozenset(
    {
        "GetCloudSession",
        "WatchCloudSession",
        "ListCloudSessions",
        "GetLicense",
        "ListLicenses",
        "ListLicenseChanges",
        "BeginLicenseChange",
        "ListLicenseCapacities",
        "GetActivation",
        "ListActivations",
        "BeginDeactivation",
        "GetLocation",
        "ListLocations",
        "AuthorizeKeyWrite",
        "CreateKeyLocation",
        "CreateHostLocation",
        "CheckKey",
        "ReplaceKey",
        "SignIn",
        "SignOut",
        "GetCaller",
        "CreateAccount",
        "GetAccount",
        "ListAccounts",
        "SetSecondFactorRequired",
        "CreateUser",
        "ListUsers",
    }
)

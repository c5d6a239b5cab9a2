"""`keypeg session`: modes, what is in the cloud, and what happens to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keypeg import errors
from keypeg.v1 import cloud_session_pb2 as pb
from keypeg.v1.cloud_session_service_pb2 import WatchCloudSessionResponse
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine

CAD = "publishers/acme/products/cad"
ADA = f"{fakes.ACCOUNT}/users/ada"


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("managed", "M"), ("M", "M"), ("a", "A"), ("AUTOMATIC", "A")],
)
def test_the_mode_is_set_by_its_word_or_its_letter(
    keypeg: CommandLine, server: fakes.Server, typed: str, wanted: str
) -> None:
    assert keypeg.json("session", "mode", typed)["mode_letter"] == wanted
    (asked,) = server.asked["SetCloudSessionMode"]
    assert asked.name == f"{fakes.ACCOUNT}/cloudSession"
    assert asked.request_id
    assert keypeg("session", "mode", "half").exit_code == 2


def test_licenses_are_put_into_the_cloud_and_taken_out(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    added = keypeg.json("session", "add", "acme/cad", "acme/solver", "acme/cad")
    assert len(added["activations"]) == 2
    assert list(server.asked["ChooseCloudLicenses"][0].add_licenses) == [fakes.CAD, fakes.SOLVER]
    removed = keypeg("session", "remove", "acme/cad")
    assert removed.exit_code == 0
    assert "managed mode now; `keypeg session mode automatic` leads back" in removed.stderr
    assert "M, managed: as the server says" in removed.stdout
    again = keypeg("session", "remove", "acme/solver")
    assert "managed mode now" not in again.stderr
    assert keypeg("session", "add").exit_code == 2


def test_the_mode_is_on_the_screen_of_everything(keypeg: CommandLine) -> None:
    assert "A, automatic: as the server says" in keypeg("status").stdout


def test_closing_from_elsewhere_says_from_where_it_came(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    keypeg("session", "open")
    keypeg.environment["KEYPEG_DEVICE"] = "dev-there-0002"
    assert "moved here from" in keypeg("session", "close").stderr
    assert "moved here from" not in keypeg("session", "close").stderr


def response(
    *changes: pb.CloudChange, host: str = "", missed: int = 0
) -> WatchCloudSessionResponse:
    state = pb.CLOUD_SESSION_STATE_OPEN if host else pb.CLOUD_SESSION_STATE_CLOSED
    shown = pb.CloudSession(
        name=f"{fakes.ACCOUNT}/cloudSession",
        state=state,
        device=f"dev-{host}" if host else "",
        host_name=host,
        mode=pb.CLOUD_MODE_AUTOMATIC,
        mode_letter="A",
        implies="automatic: so",
        activations=["one"] if host else [],
    )
    return WatchCloudSessionResponse(cloud_session=shown, changes=changes, missed_count=missed)


def change(kind: pb.CloudChangeKind.ValueType, **fields: Any) -> pb.CloudChange:
    made = pb.CloudChange(kind=kind, user=ADA, **fields)
    made.time.FromDatetime(fakes.NOW)
    return made


def test_what_happens_is_a_line_each_over_lost_connections(
    keypeg: CommandLine, server: fakes.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keypeg.watching.PAUSES", (0.0,))
    opened = change(pb.CLOUD_CHANGE_KIND_OPENED, host_name="atlas")
    activated = change(pb.CLOUD_CHANGE_KIND_ACTIVATED, product=CAD, activation="one")
    moved = change(pb.CLOUD_CHANGE_KIND_MOVED, host_name="hera", from_device="dev-atlas")
    mode = change(pb.CLOUD_CHANGE_KIND_MODE)
    mode.mode = pb.CLOUD_MODE_MANAGED
    server.cloud_watched = [
        [response(), response(opened, activated, host="atlas")],
        [response(host="atlas"), response(moved, mode, host="hera", missed=3)],
    ]
    server.watch_ends = [errors.ServerDraining("The server is going away.")]
    result = keypeg("session", "watch")
    assert result.exit_code == 1, "it ends when there is nothing to watch"
    at = "2026-11-21 12:00:00"
    assert result.stdout.splitlines() == [
        "closed, 0 licenses in the cloud; mode A, automatic: so",
        f"{at}  opened on atlas, by ada",
        f"{at}  acme/cad activated, by ada",
        "open on atlas, 1 license in the cloud; mode A, automatic: so",
        f"{at}  moved to hera, by ada",
        f"{at}  mode managed, by ada",
        "open on hera, 1 license in the cloud; mode A, automatic: so",
    ]
    assert "going away. Connecting again." in result.stderr
    assert "3 changes came too fast" in result.stderr


def test_what_happens_is_json_for_programs(keypeg: CommandLine, server: fakes.Server) -> None:
    opened = change(pb.CLOUD_CHANGE_KIND_OPENED, host_name="atlas")
    server.cloud_watched = [[response(), response(opened, host="atlas")]]
    result = keypeg("-o", "jsonl", "session", "watch")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["cloud_session"]["mode_letter"] == "A"
    assert second["changes"][0]["kind"] == "CLOUD_CHANGE_KIND_OPENED"
    assert server.asked["WatchCloudSession"][0].name == f"{fakes.ACCOUNT}/cloudSession"
    assert keypeg("-o", "csv", "session", "watch").exit_code == 2

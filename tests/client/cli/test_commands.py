"""The nouns: what they ask of the server, and what they print."""

from __future__ import annotations

import uuid
from pathlib import Path

import grpc
import pytest

from keypeg import document, errors
from keypeg.v1 import account_pb2, license_pb2, location_pb2
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine


def test_listings_follow_all_pages(keypeg: CommandLine, server: fakes.Server) -> None:
    assert [one["name"] for one in keypeg.json("account", "list")] == [
        f"accounts/a{number}" for number in range(5)
    ]
    assert [one.page_token for one in server.asked["ListAccounts"]] == ["", "2", "4"]


@pytest.mark.parametrize(
    "text", [fakes.CAD, fakes.CAD[-32:], "00000a11", "0a11", "acme/cad", "CAD"]
)
def test_a_license_is_found_by_what_people_have(keypeg: CommandLine, text: str) -> None:
    assert keypeg.json("license", "show", text)["name"] == fakes.CAD


def test_what_means_nothing_is_refused_with_what_there_is(keypeg: CommandLine) -> None:
    result = keypeg("license", "show", "acme/cda")
    assert result.exit_code == 1
    assert "00000a11 (CAD), 00000b22 (Solver)" in result.stderr


def test_what_means_two_things_is_refused(keypeg: CommandLine, server: fakes.Server) -> None:
    server.licenses[1].product = server.licenses[0].product
    result = keypeg("license", "show", "acme/cad")
    assert result.exit_code == 2
    assert "more than one license: 00000a11, 00000b22" in result.stderr


def test_a_publisher_deposits_a_license(keypeg: CommandLine, server: fakes.Server) -> None:
    made = keypeg.json(
        "license", "create", "acme/solver", "--account", "studio", "--seats", "3",
        "--location", "site", "--type", "not-for-resale", "--feature", "render=2",
        "--feature", "mesh", "--expires", "2027-01-31", "--reference", "PO 7",
    )  # fmt: skip
    assert made["seat_count"] == 3
    request = server.asked["CreateLicense"][0]
    uuid.UUID(request.request_id)
    assert request.parent == "accounts/studio"
    assert request.product == "publishers/acme/products/solver"
    assert request.type == license_pb2.LICENSE_TYPE_NOT_FOR_RESALE
    assert list(request.allowed_locations) == [location_pb2.LOCATION_KIND_SITE]
    assert [(one.feature, one.seat_count) for one in request.features] == [
        ("render", 2),
        ("mesh", 0),
    ]
    assert request.expire_time.ToJsonString() == "2027-01-31T00:00:00Z"
    assert request.external_reference == "PO 7"


def test_a_lost_mutation_is_sent_again_with_the_same_request_id(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.refuse("CreateAccount", *[grpc.StatusCode.UNAVAILABLE] * 4)
    made = keypeg.json("account", "create", "nord", "--name", "Nord")
    assert made["name"] == "accounts/nord"
    asked = server.asked["CreateAccount"]
    assert len(asked) == 5
    assert len({one.request_id for one in asked}) == 1


def test_a_lost_mutation_is_given_up_in_the_end(keypeg: CommandLine, server: fakes.Server) -> None:
    server.refuse("CreateAccount", *[grpc.StatusCode.UNAVAILABLE] * 100)
    assert keypeg("account", "create", "nord", "--name", "Nord").exit_code == 7
    assert len({one.request_id for one in server.asked["CreateAccount"]}) == 1


def test_an_activation_is_made_shown_saved_and_taken_back(
    keypeg: CommandLine, server: fakes.Server, tmp_path: Path
) -> None:
    made = keypeg.json("activation", "create", "acme/cad", "--location", "cloud")
    assert made["location"] == "accounts/studio/locations/cloud"
    saved = tmp_path / "cad.keypeg"
    shown = keypeg("activation", "show", "x0", "--save", str(saved))
    assert shown.exit_code == 0, shown.stderr
    license_document, delegation = document.all_from_text(saved.read_text())
    assert license_document == fakes.document_for(server.activations[0])
    assert delegation == fakes.delegation()
    assert keypeg("activation", "delete", "x0").exit_code == 0
    assert keypeg.json("activation", "list") == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".cad")]


def test_an_activation_needs_exactly_one_place(keypeg: CommandLine) -> None:
    assert keypeg("activation", "create", "acme/cad").exit_code == 2
    both = keypeg("activation", "create", "acme/cad", "--location", "cloud", "--key", "e55")
    assert both.exit_code == 2


def test_the_cloud_session_is_opened_moved_and_closed(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    opened = keypeg.json("session", "open")
    assert opened["device"] == "dev-here-0001"
    keypeg.environment["KEYPEG_DEVICE"] = "dev-there-0002"
    kept = keypeg("session", "open", "--keep")
    assert kept.exit_code == 5
    assert "keypeg session open" in kept.stderr
    moved = keypeg("session", "open")
    assert "moved here from" in moved.stderr
    assert keypeg.json("session", "close")["state"] == "CLOUD_SESSION_STATE_CLOSED"
    shown = keypeg("session", "show").stdout
    assert "A, automatic: as the server says" in shown
    assert len({one.request_id for one in server.asked["OpenCloudSession"]}) == 3


def test_seats_are_listed_acquired_renewed_and_released(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    assert keypeg.json("seat", "pools")[0]["held_count"] == 1
    assert keypeg.json("seat", "list")[0]["host_name"] == "atlas"
    assert keypeg.json("seat", "queue", "acme/solver")[0]["position"] == 1
    held = keypeg.json("seat", "acquire", "acme/solver", "--ttl", "5min", "--feature", "render=2")
    assert held["valid_for"] == "300s"
    asked = server.asked["AcquireSeat"][0]
    assert (asked.pool, asked.units, asked.device.id) == (fakes.POOL, 1, "dev-here-0001")
    assert [(one.feature, one.units) for one in asked.features] == [("render", 2)]
    keypeg.json("seat", "renew", "0d44")
    assert server.asked["RenewSeat"][0].fencing_number == 7
    assert keypeg.json("seat", "release", fakes.LEASE, "--fencing-number", "6") == {
        "released": True
    }
    assert server.asked["ReleaseSeat"][0].fencing_number == 6
    assert len(server.asked["ListLeases"]) == 2  # a whole name with its number costs no look


def test_a_seat_is_freed_with_a_reason(keypeg: CommandLine, server: fakes.Server) -> None:
    told = keypeg.json("seat", "free", "0d44", "--reason", "Needed", "--hold-off", "10min")
    assert told["hold_off_until_time"]
    assert keypeg.json("seat", "free", fakes.LEASE, "--reason", "Needed") == {
        "hold_off_until_time": None
    }
    first, second = server.asked["FreeSeat"]
    assert (first.name, first.reason, first.hold_off.seconds) == (fakes.LEASE, "Needed", 600)
    assert not second.HasField("hold_off")
    assert first.request_id != second.request_id
    assert keypeg("seat", "free", "0d44").exit_code == 2  # not without a reason


@pytest.mark.parametrize("ttl", ["soon", "5 weeks", "-3s"])
def test_a_duration_that_is_none_is_refused_with_an_example(keypeg: CommandLine, ttl: str) -> None:
    result = keypeg("seat", "acquire", "acme/solver", "--ttl", ttl)
    assert result.exit_code == 2
    assert "90s, 5min, 2h or 30d" in result.stderr


def test_a_lease_that_has_ended_is_released_in_peace_and_not_renewed(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.leases.clear()
    assert keypeg.json("seat", "release", fakes.LEASE) == {"released": False}
    assert keypeg("seat", "renew", fakes.LEASE).exit_code == 8
    assert keypeg("seat", "release", "0d44").exit_code == 1
    assert not server.asked["ReleaseSeat"]


def test_people_are_shown_by_their_logins_where_the_caller_may_see_them(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.user.name = server.leases[0].user = f"{fakes.ACCOUNT}/users/{'ab' * 16}"
    assert " ada " in keypeg("seat", "list").stdout
    server.refuse("ListUsers", errors.PermissionDenied("Members may not see the users."))
    shown = keypeg("seat", "list")
    assert shown.exit_code == 0
    assert " abababab " in shown.stdout


def test_users_are_added_with_a_password_from_a_file(
    keypeg: CommandLine, server: fakes.Server, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("a long secret\nnot this\n")
    result = keypeg("user", "create", "bea", "--role", "admin", "--password-file", str(secret))
    assert result.exit_code == 0, result.stderr
    assert "a long secret" not in result.output
    request = server.asked["CreateUser"][0]
    assert (request.password, request.role) == ("a long secret", account_pb2.ROLE_ADMIN)
    assert keypeg("user", "delete", "ada").exit_code == 0
    assert server.asked["DeleteUser"][0].name == "accounts/studio/users/ada"


def test_products_are_spelled_publisher_slash_product(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    made = keypeg.json(
        "product", "create", "acme/all", "--name", "All", "--location", "cloud",
        "--bundle", "acme/cad", "--offline-grace", "1h",
    )  # fmt: skip
    assert made["bundle_products"] == ["publishers/acme/products/cad"]
    assert made["offline_grace"] == "3600s"
    assert len(keypeg.json("product", "list", "acme")) == 2
    assert keypeg.json("product", "show", "acme/cad")["name"] == "publishers/acme/products/cad"
    wrong = keypeg("product", "show", "cad")
    assert wrong.exit_code == 2
    assert "publisher/product" in wrong.stderr


def test_staff_of_a_publisher_must_name_the_account(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    server.account = ""
    keypeg.environment["KEYPEG_TOKEN"] = fakes.TOKEN  # whose account is not the profile's
    result = keypeg("license", "list")
    assert result.exit_code == 2
    assert "--account" in result.stderr
    assert keypeg("license", "list", "--account", "studio").exit_code == 0


def test_status_shows_everything(with_bridge: CommandLine) -> None:
    facts = with_bridge.json("status")
    assert facts["server"]["reachable"] is True
    assert facts["caller"]["login"] == "ada"
    assert facts["licenses"] == {
        "count": 2,
        "usable": 1,
        "activations": 2,
        "activations_used": 1,
    }
    assert facts["pools"][0]["seat_count"] == 3
    assert facts["keys"][0]["serial"] == "0042"
    shown = with_bridge("status").stdout
    assert "acme/solver: 1 of 3 seats held, 1 waiting" in shown
    assert "Test key (emulated) 0042: present, no licenses" in shown


def test_status_shows_what_it_can_without_a_server(
    nowhere: CommandLine, bridge_target: str
) -> None:
    nowhere.environment |= {"KEYPEG_SERVER": "127.0.0.1:1", "KEYPEG_BRIDGE": bridge_target}
    result = nowhere("status")
    assert result.exit_code == 7
    assert "127.0.0.1:1, not reachable" in result.stdout
    assert "Test key (emulated) 0042" in result.stdout


def test_status_tells_a_server_that_answers_from_one_that_does_not(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    keypeg("logout")
    result = keypeg("status")
    assert result.exit_code == 4
    assert "reachable" in result.stdout
    assert "not reachable" not in result.stdout
    assert "nobody" in result.stdout


def test_what_is_made_is_called_by_its_id_unless_it_has_a_name(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    keypeg.json("account", "create", "nord")
    keypeg.json("account", "create", "--name", "South")
    assert [(one.account_id, one.display_name) for one in server.asked["CreateAccount"]] == [
        ("nord", "nord"),
        ("", "South"),
    ]
    assert keypeg("account", "create").exit_code == 2
    keypeg.json("product", "create", "acme/cam", "--location", "cloud")
    assert server.asked["CreateProduct"][0].display_name == "cam"

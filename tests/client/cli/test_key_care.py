"""Keys that are written again, taken back from, compared, lost and replaced: what the commands ask, and what they say."""

from __future__ import annotations

import pytest

from keypeg import errors
from keypeg.v1 import key_pb2
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine

LOCATION = "accounts/studio/locations/key1"


@pytest.fixture
def activated(with_bridge: CommandLine, server: fakes.Server) -> str:
    """The activation of a license on the key."""
    with_bridge("key", "enroll", "--name", "blue")
    assert with_bridge("activation", "create", "acme/cad", "--key", "0e55").exit_code == 0
    return server.activations[0].name


def test_a_license_is_taken_back_with_the_key_s_receipt(
    with_bridge: CommandLine, server: fakes.Server, bridge: fakes.Bridge, activated: str
) -> None:
    result = with_bridge("activation", "delete", activated)
    assert result.exit_code == 0, result.stderr
    removed = bridge.asked["RemoveKeyLicense"][0]
    assert (removed.activation, removed.nonce) == (activated, b"r" * 32)
    assert server.asked["DeleteActivation"][0].receipt == fakes.delegation()
    assert not bridge.writing
    assert not server.activations
    assert "0 on it now" in result.stderr


@pytest.mark.parametrize("how", ["another key", "no key", "no bridge"])
def test_without_the_key_it_says_which_one_and_what_to_do(
    with_bridge: CommandLine,
    server: fakes.Server,
    bridge: fakes.Bridge,
    activated: str,
    how: str,
) -> None:
    if how == "another key":
        bridge.key.card_id = "ff" * 16
    elif how == "no key":
        bridge.key.state = key_pb2.KEY_STATE_GONE
    where = ("--bridge", "unix:/tmp/no-bridge-here") if how == "no bridge" else ()
    result = with_bridge(*where, "activation", "delete", activated)
    assert result.exit_code == 1
    assert f"lives on the key blue ({LOCATION})" in result.stderr.replace("0042 ", "")
    assert "keypeg key report-lost" in result.stderr
    assert server.activations
    assert not server.asked["BeginDeactivation"]


def test_a_receipt_that_was_not_handed_in_is_made_again_by_the_same_command(
    with_bridge: CommandLine, server: fakes.Server, activated: str
) -> None:
    server.refuse("DeleteActivation", errors.NonceMismatch("It was undone."))
    failed = with_bridge("activation", "delete", activated)
    assert failed.exit_code == 1
    assert "is not free yet" in failed.stderr
    assert with_bridge("activation", "delete", activated).exit_code == 0
    assert not server.activations


def test_checking_a_key_tells_its_bridge(
    with_bridge: CommandLine, bridge: fakes.Bridge, activated: str
) -> None:
    before = len(bridge.asked["FenceKey"])
    shown = with_bridge.json("key", "check")
    assert shown["standing"] == "KEY_STANDING_CURRENT"
    assert len(bridge.asked["FenceKey"]) == before + 1


def test_a_key_is_written_again(
    with_bridge: CommandLine, bridge: fakes.Bridge, activated: str
) -> None:
    written = len(bridge.asked["WriteKeyLicense"])
    result = with_bridge("key", "refresh")
    assert result.exit_code == 0, result.stderr
    assert len(bridge.asked["WriteKeyLicense"]) == written + 1
    assert not bridge.writing


def test_a_loss_is_asked_about_and_then_reported(
    with_bridge: CommandLine, server: fakes.Server, activated: str
) -> None:
    words = ("key", "report-lost", "blue", "--reason", "left in a train")
    assert with_bridge(*words).exit_code != 0, "nobody says yes"
    assert not server.asked["ReportKeyLost"]
    result = with_bridge(*words, "--yes")
    assert result.exit_code == 0, result.stderr
    assert server.asked["ReportKeyLost"][0].reason == "left in a train"
    assert "keypeg key replace" in result.stderr
    # From then on nothing is written to it, and its license needs no receipt.
    refused = with_bridge("activation", "create", "acme/cad", "--key", "0e55")
    assert refused.exit_code == 5
    assert "reported lost" in refused.stderr
    assert with_bridge("activation", "delete", activated).exit_code == 0


def test_a_replacement_says_what_moved_and_what_stays(
    with_bridge: CommandLine, server: fakes.Server, bridge: fakes.Bridge, activated: str
) -> None:
    result = with_bridge("key", "replace", LOCATION, LOCATION)
    assert result.exit_code == 0, result.stderr
    assert "Its publisher decides." in result.stdout
    assert "1 licenses stay with the lost key" in result.stderr
    bridge.key.state = key_pb2.KEY_STATE_GONE
    result = with_bridge("key", "replace", LOCATION, LOCATION)
    assert "keypeg key refresh" in result.stderr

"""The relay between a bridge and a server: enrolling a key, and activating onto it."""

from __future__ import annotations

from keypeg import errors
from keypeg.v1 import key_pb2
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine


def test_a_key_is_enrolled_with_its_own_secrets(
    with_bridge: CommandLine, server: fakes.Server, bridge: fakes.Bridge
) -> None:
    location = with_bridge.json("key", "enroll", "--name", "blue")
    assert location["card_id"] == fakes.CARD
    authorize = server.asked["AuthorizeKeyWrite"][0]
    assert (authorize.challenge, authorize.factory_key, authorize.emulated) == (
        b"12345678",
        True,
        True,
    )
    enroll = bridge.asked["EnrollKey"][0]
    assert enroll.new_management_key == b"m" * 24
    create = server.asked["CreateKeyLocation"][0]
    assert (create.signature, create.enrollment_nonce) == (b"signed", b"n" * 32)
    assert create.public_key == bridge.key.public_key
    assert create.display_name == "blue"
    assert not bridge.writing


def test_no_secret_of_the_relay_is_printed(with_bridge: CommandLine) -> None:
    result = with_bridge("--debug", "-o", "json", "key", "enroll")
    assert "mmmm" not in result.output
    assert "write-1" not in result.output


def test_a_key_is_enrolled_once(with_bridge: CommandLine, bridge: fakes.Bridge) -> None:
    with_bridge("key", "enroll")
    result = with_bridge("key", "enroll")
    assert result.exit_code == 1
    assert "enrolled already" in result.stderr
    assert len(bridge.asked["BeginKeyWrite"]) == 1


def test_a_key_with_licenses_of_others_is_not_enrolled(
    with_bridge: CommandLine, bridge: fakes.Bridge
) -> None:
    bridge.key.licenses.add(slot=1)
    result = with_bridge("key", "enroll")
    assert result.exit_code == 1
    assert "carries 1 licenses" in result.stderr
    assert not bridge.asked["BeginKeyWrite"]


def test_a_license_is_activated_onto_a_key(
    with_bridge: CommandLine, server: fakes.Server, bridge: fakes.Bridge
) -> None:
    with_bridge("key", "enroll")
    made = with_bridge.json("activation", "create", "acme/cad", "--key", "0e55")
    assert made["location"] == "accounts/studio/locations/key1"
    assert bridge.key.licenses[0].license == fakes.document_for(server.activations[0])
    assert bridge.asked["WriteKeyLicense"][0].delegation == fakes.delegation()
    assert not bridge.writing
    assert "acme/cad" in with_bridge("key", "list").stdout


def test_a_key_of_no_account_spends_no_activation(
    with_bridge: CommandLine, server: fakes.Server
) -> None:
    result = with_bridge("activation", "create", "acme/cad", "--key", "0e55")
    assert result.exit_code == 1
    assert "keypeg key enroll" in result.stderr
    assert not server.activations


def test_a_full_key_spends_no_activation(
    with_bridge: CommandLine, server: fakes.Server, bridge: fakes.Bridge
) -> None:
    with_bridge("key", "enroll")
    bridge.key.licenses.add(slot=1)
    bridge.key.licenses.add(slot=2)
    result = with_bridge("activation", "create", "acme/cad", "--key", "0e55")
    assert "room for no more" in result.stderr
    assert not server.activations


def test_a_refused_activation_frees_the_key(
    with_bridge: CommandLine, server: fakes.Server, bridge: fakes.Bridge
) -> None:
    with_bridge("key", "enroll")
    server.refuse("CreateActivation", errors.ActivationsExhausted("All 2 activations are used."))
    result = with_bridge("activation", "create", "acme/cad", "--key", "0e55")
    assert result.exit_code == 5
    assert not bridge.writing


def test_a_failed_write_is_repaired_by_the_same_command(
    with_bridge: CommandLine, server: fakes.Server, bridge: fakes.Bridge
) -> None:
    with_bridge("key", "enroll")
    bridge.refuse("WriteKeyLicense", errors.KeyUnplugged("The key was unplugged."))
    failed = with_bridge("activation", "create", "acme/cad", "--key", "0e55")
    assert failed.exit_code == 1
    assert "do the same again to write it" in failed.stderr
    assert not bridge.writing
    assert with_bridge("activation", "create", "acme/cad", "--key", "0e55").exit_code == 0
    assert len(server.activations) == 1
    assert len(bridge.key.licenses) == 1


def test_one_of_two_keys_must_be_named(with_bridge: CommandLine, bridge: fakes.Bridge) -> None:
    bridge.keys.append(key_pb2.Key(name="keys/other", state=key_pb2.KEY_STATE_PRESENT))
    assert with_bridge("key", "show").exit_code == 2
    assert with_bridge.json("key", "show", "0042")["serial"] == "0042"


def test_without_a_bridge_the_socket_is_named(keypeg: CommandLine) -> None:
    result = keypeg("key", "list")
    assert result.exit_code == 7
    assert "bridge.sock" in result.stderr


def test_keys_are_watched_as_they_go(with_bridge: CommandLine) -> None:
    lines = with_bridge("key", "watch", "-o", "jsonl").stdout.splitlines()
    assert ["PRESENT" in lines[0], "MISSING" in lines[1], len(lines)] == [True, True, 2]
    assert len(with_bridge("key", "watch", "--count", "1").stdout.splitlines()) == 1


def test_problems_of_the_bridge_go_to_standard_error(
    with_bridge: CommandLine, bridge: fakes.Bridge
) -> None:
    bridge.problems.append("No card service runs.")
    assert with_bridge("-o", "json", "key", "list").stderr == "warning: No card service runs.\n"

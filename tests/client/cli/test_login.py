"""Signing in: the profile it writes, and the secrets that it does not show."""

from __future__ import annotations

import hashlib
import ssl
import stat
from pathlib import Path

import pytest

from keypeg import profile as profiles
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine


@pytest.fixture
def sign_in(nowhere: CommandLine, address: tuple[str, Path]) -> list[str]:
    """The arguments that sign in."""
    target, ca_file = address
    return ["login", "--server", target, "--ca-file", str(ca_file), "--login", "ada"]


def config(keypeg: CommandLine) -> dict[str, str]:
    return {"KEYPEG_CONFIG_DIR": str(keypeg.environment["KEYPEG_CONFIG_DIR"])}


def test_signing_in_keeps_a_profile_and_a_private_token(
    nowhere: CommandLine, sign_in: list[str]
) -> None:
    result = nowhere(*sign_in, stdin=f"{fakes.PASSWORD}\n")
    assert result.exit_code == 0, result.stderr
    assert fakes.TOKEN not in result.output
    assert fakes.PASSWORD not in result.output
    kept = profiles.load(environment=config(nowhere))
    assert (kept.account, kept.token) == (fakes.ACCOUNT, fakes.TOKEN)
    token_file = profiles.config_dir(config(nowhere)) / "tokens" / "default"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert nowhere.json("whoami")["login"] == "ada"


def test_a_password_file_is_read_to_its_first_line_end(
    nowhere: CommandLine, sign_in: list[str], tmp_path: Path, server: fakes.Server
) -> None:
    secret = tmp_path / "password"
    secret.write_text(f"{fakes.PASSWORD}\r\nsomething else\n")
    assert nowhere(*sign_in, "--password-file", str(secret)).exit_code == 0
    assert server.asked["SignIn"][0].password == fakes.PASSWORD


def test_a_wrong_password_keeps_nothing(nowhere: CommandLine, sign_in: list[str]) -> None:
    result = nowhere(*sign_in, stdin="wrong\n")
    assert result.exit_code == 4
    assert profiles.names(config(nowhere)) == ()
    assert nowhere("whoami").exit_code == 2


def test_no_password_is_taken_from_the_command_line(
    nowhere: CommandLine, sign_in: list[str]
) -> None:
    assert nowhere(*sign_in, "--password", fakes.PASSWORD).exit_code == 2


def test_a_fingerprint_is_compared_in_any_spelling(
    nowhere: CommandLine, sign_in: list[str], address: tuple[str, Path]
) -> None:
    der = ssl.PEM_cert_to_DER_cert(address[1].read_text())
    digest = hashlib.sha256(der).hexdigest()
    pairs = ":".join(digest[n : n + 2] for n in range(0, 64, 2)).upper()
    for spelled in (digest, pairs, f"SHA256:{pairs}"):
        done = nowhere(*sign_in, "--fingerprint", spelled, stdin=f"{fakes.PASSWORD}\n")
        assert done.exit_code == 0, done.stderr


def test_another_fingerprint_refuses_before_the_password_is_sent(
    nowhere: CommandLine, sign_in: list[str], server: fakes.Server
) -> None:
    result = nowhere(*sign_in, "--fingerprint", "00" * 32, stdin=f"{fakes.PASSWORD}\n")
    assert result.exit_code == 2
    assert not server.asked


def test_a_second_profile_stands_beside_the_first(
    nowhere: CommandLine, sign_in: list[str], address: tuple[str, Path]
) -> None:
    nowhere(*sign_in, stdin=fakes.PASSWORD)
    done = nowhere("--profile", "lab", *sign_in, stdin=fakes.PASSWORD)
    assert done.exit_code == 0, done.stderr
    assert profiles.names(config(nowhere)) == ("default", "lab")
    assert nowhere.json("--profile", "default", "whoami")["profile"] == "default"


def test_signing_out_ends_the_token_there_and_here(
    keypeg: CommandLine, server: fakes.Server
) -> None:
    assert keypeg("logout").exit_code == 0
    assert len(server.asked["SignOut"]) == 1
    assert keypeg("whoami").exit_code == 4
    assert keypeg("logout").exit_code == 0
    assert len(server.asked["SignOut"]) == 1


def test_a_token_is_never_sent_to_another_host(
    keypeg: CommandLine, address: tuple[str, Path], server: fakes.Server
) -> None:
    port = address[0].rpartition(":")[2]
    result = keypeg("--server", f"localhost:{port}", "license", "list")
    assert result.exit_code == 4
    assert not server.asked
    keypeg.environment["KEYPEG_SERVER"] = f"localhost:{port}"
    assert keypeg("license", "list").exit_code == 4
    assert not server.asked
    keypeg.environment["KEYPEG_TOKEN"] = fakes.TOKEN  # one's own word that it belongs there
    assert keypeg("license", "list").exit_code == 0


def test_a_server_with_another_certificate_is_refused(
    keypeg: CommandLine, server: fakes.Server, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(fakes.certificate()[1])
    result = keypeg("--ca-file", str(other), "license", "list")
    assert result.exit_code == 7
    assert "certificate" in result.stderr
    assert not server.asked

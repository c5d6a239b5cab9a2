"""doctor: one cause, one cross, and what to do about it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from keypeg.cli import health
from keypeg.cli.doctor import fitted
from keypeg.cli.health import Evidence, Verdict
from keypeg.v1 import key_pb2
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine


def verdicts(keypeg: CommandLine) -> dict[str, str]:
    import json

    result = keypeg("-o", "json", "doctor")
    found = {one["check"]: one["verdict"] for one in json.loads(result.stdout)}
    assert result.exit_code == (1 if "failed" in found.values() else 0)
    return found


def failed(keypeg: CommandLine) -> list[str]:
    return [check for check, verdict in verdicts(keypeg).items() if verdict == "failed"]


def test_a_sound_installation_has_no_cross(with_bridge: CommandLine) -> None:
    assert set(verdicts(with_bridge).values()) == {"ok"}
    result = with_bridge("doctor")
    assert "✗" not in result.stdout
    assert result.stderr == "All is well.\n"


def test_a_computer_that_never_signed_in_is_told_to(nowhere: CommandLine) -> None:
    result = nowhere("doctor")
    assert result.exit_code == 1
    assert "✗ Configuration: no server is named" in result.stdout
    assert "keypeg login --server HOST:PORT" in result.stdout
    assert failed(nowhere) == ["Configuration"]


def test_a_broken_configuration_file_is_named(keypeg: CommandLine) -> None:
    path = Path(str(keypeg.environment["KEYPEG_CONFIG_DIR"])) / "config.toml"
    path.write_text("current = [")
    assert failed(keypeg) == ["Configuration"]
    assert str(path) in keypeg("doctor").stdout


def test_a_token_that_others_can_read_is_told(keypeg: CommandLine) -> None:
    token = Path(str(keypeg.environment["KEYPEG_CONFIG_DIR"])) / "tokens" / "default"
    token.chmod(0o644)
    assert failed(keypeg) == ["Tokens"]
    assert f"chmod 600 {token}" in keypeg("doctor").stdout


def test_a_server_that_is_away_gives_one_cross(keypeg: CommandLine) -> None:
    keypeg.environment["KEYPEG_SERVER"] = "127.0.0.1:1"
    found = verdicts(keypeg)
    assert found["Server 127.0.0.1:1"] == "failed"
    assert found["Signed in"] == "skipped"
    assert list(found.values()).count("failed") == 1


def test_a_certificate_of_someone_else_is_told(keypeg: CommandLine, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(fakes.certificate()[1])
    keypeg.environment["KEYPEG_CA_FILE"] = str(other)
    assert failed(keypeg) == ["TLS"]
    assert "fingerprint" in keypeg("doctor").stdout


def test_a_token_that_was_revoked_is_told(keypeg: CommandLine) -> None:
    keypeg.environment["KEYPEG_TOKEN"] = "another"
    assert failed(keypeg) == ["Signed in"]


def test_a_bridge_that_is_away_and_a_faulty_key_are_told(
    with_bridge: CommandLine, bridge: fakes.Bridge
) -> None:
    bridge.key.state = key_pb2.KEY_STATE_FAULTY
    bridge.key.fault = "answers with rubbish"
    bridge.problems.append("No card service runs.")
    assert failed(with_bridge) == ["Keys", "Key Test key 0042"]
    with_bridge.environment["KEYPEG_BRIDGE"] = "unix:/nowhere/b.sock"
    assert "Bridge" in failed(with_bridge)


def test_a_clock_that_is_behind_or_ahead_is_told(keypeg: CommandLine, server: fakes.Server) -> None:
    keypeg("session", "open")
    keypeg.clock.now = fakes.NOW - timedelta(hours=3)
    assert "Clock" in failed(keypeg)
    assert "at least 3 h behind" in keypeg("doctor").stdout
    keypeg.clock.now = fakes.NOW + timedelta(days=60)
    assert "Clock" in failed(keypeg)
    assert "ahead" in keypeg("doctor").stdout


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        ([], Verdict.SKIPPED),
        ([Evidence("x", not_before=fakes.NOW)], Verdict.OK),
        ([Evidence("x", not_before=fakes.NOW + timedelta(minutes=1))], Verdict.OK),
        ([Evidence("x", not_before=fakes.NOW + timedelta(minutes=3))], Verdict.FAILED),
        ([Evidence("x", not_after=fakes.NOW - timedelta(minutes=1))], Verdict.OK),
        ([Evidence("x", not_after=fakes.NOW - timedelta(minutes=3))], Verdict.FAILED),
    ],
)
def test_a_clock_is_judged_by_evidence(evidence: list[Evidence], verdict: Verdict) -> None:
    assert health.clock(fakes.NOW, evidence).verdict is verdict


def test_certificates_are_judged_by_their_time() -> None:
    pem = fakes.certificate()[1]
    assert health.certificates(pem, "ca.pem", fakes.NOW + timedelta(days=7000)).verdict is (
        Verdict.FAILED
    )
    assert health.certificates(b"-----BEGIN CERTIFICATE-----", "x", fakes.NOW).verdict is (
        Verdict.FAILED
    )


def test_long_findings_are_broken_between_words_for_a_terminal_only() -> None:
    text = "✓ Versions: keypeg 1.0, platform Linux-6.18-x86_64-with-glibc2.36"
    assert fitted(text, None) == text
    assert fitted(text, 40).splitlines() == [
        "✓ Versions: keypeg 1.0, platform",
        "    Linux-6.18-x86_64-with-glibc2.36",
    ]
    assert fitted("    " + "keypeg login " * 3, 20).splitlines() == ["    keypeg login"] * 3

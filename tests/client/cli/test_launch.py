"""`keypeg launch`: what is remembered, and what is said where nobody can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from keypeg import credential_file, errors
from keypeg.cli import launch_look
from keypeg.launch_memory import Memory
from keypeg.profile import Profile
from tests.client.cli import fakes
from tests.client.cli.conftest import CommandLine
from tests.client.credential_cases import KEY, Case

ADA = f"{fakes.ACCOUNT}/users/ada"
CAD = "publishers/acme/products/cad"


def memory(keypeg: CommandLine) -> Memory:
    return Memory(Path(str(keypeg.environment["KEYPEG_CONFIG_DIR"])))


def test_what_is_remembered_is_shown_and_forgotten(keypeg: CommandLine) -> None:
    assert "Nothing is remembered" in keypeg("launch", "show").stderr
    kept = memory(keypeg)
    for family, place in ((CAD, "cloud"), ("acme plug-ins", "key")):
        kept.remember(ADA, "ada", family, fakes.NOW, place)
    shown = keypeg("launch", "show").stdout
    assert "acme/cad" in shown
    assert "acme plug-ins" in shown
    assert [one["place"] for one in keypeg.json("launch", "show")] == ["cloud", "key"]
    assert "for acme/cad, as ada: cloud session opened without asking" in keypeg("status").stdout
    assert [one["family"] for one in keypeg.json("status")["always_use"]] == [
        CAD,
        "acme plug-ins",
    ]
    assert "1 answer forgotten" in keypeg("launch", "reset", "acme/cad").stderr
    assert [one.family for one in kept.all()] == ["acme plug-ins"]
    assert "1 answer forgotten" in keypeg("launch", "reset").stderr
    assert "0 answers forgotten" in keypeg("launch", "reset").stderr


def test_what_is_no_product_is_refused_with_an_example(keypeg: CommandLine) -> None:
    for text in ("cad", "a/b/c", "acme/"):
        refused = keypeg("launch", "ask", text)
        assert refused.exit_code == 2
        assert "acme/cad" in refused.stderr


def test_in_a_pipe_it_says_what_to_do_instead(keypeg: CommandLine) -> None:
    keypeg.environment.update({"KEYPEG_ASK": "terminal", "KEYPEG_TOKEN": None})
    refused = keypeg("launch", "ask", "acme/cad", "--profile", "default")
    assert refused.exit_code != 0
    assert "Nobody can be asked here" in refused.stderr


def test_an_app_gets_the_credential_file_that_was_opened_for_it_but_not_one_that_is_sealed(
    keypeg: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYPEG_CONFIG_DIR", str(keypeg.environment["KEYPEG_CONFIG_DIR"]))
    monkeypatch.delenv("KEYPEG_TOKEN", raising=False)
    document, key = Case("right", None).envelope(), KEY.private_bytes()
    for passphrase in ("", "open sesame"):
        made = credential_file.make(document, key, passphrase)
        (tmp_path / "studio.keypeg").write_text(made.text())
        profile = Profile(
            "guest",
            server="lan:7400",
            credential=str(tmp_path / "studio.keypeg"),
            opened=credential_file.make(document, key),
        )
        if not passphrase:
            found = launch_look.environment_of(profile)
            assert found == {"KEYPEG_CREDENTIAL": profile.credential, "KEYPEG_TOKEN": ""}
            continue
        with pytest.raises(errors.FieldInvalid, match="--once"):
            launch_look.environment_of(profile)

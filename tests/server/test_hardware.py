"""Signing keys and the wrapping key in a PKCS#11 token: SoftHSM's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from keypeg_server import hardware
from keypeg_server.hardware import ED25519, HardwareError, Token
from tests.server.keypegd import command, failed
from tests.server.softhsm import PIN, softhsm


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings that name a token of its own."""
    with softhsm(tmp_path_factory.mktemp("softhsm")) as made:
        before = os.environ.get("SOFTHSM2_CONF")
        os.environ["SOFTHSM2_CONF"] = made.pop("SOFTHSM2_CONF")
        yield made
        hardware._open.clear()
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture
def data(tmp_path: Path, made_data: Path) -> Path:
    shutil.copytree(made_data, tmp_path / "data")
    return tmp_path / "data"


def test_a_key_of_the_token_signs_for_the_server(data: Path, token: dict[str, str]) -> None:
    root = data / "root" / "acme.key"
    of = ("--data", data, "--publisher", "acme")
    rotate = ("key", "rotate", *of, "--root-key", root, "--pkcs11", "acme-2026")
    code, said = command(*rotate, env=token)
    assert code == 0, said
    listed = json.loads(command("key", "list", *of, "-o", "json", env=token)[1])
    (signs,) = [one["key_id"] for one in listed["keys"] if one["signs"]]
    file = data / "secrets" / f"signing-acme.{signs}.key"
    assert file.read_text() == "pkcs11:acme-2026\n"
    code, said = command("check", "--data", data, env=token)
    assert (code, f"key {signs}" in said) == (0, True), said
    assert "signs already, or did" in failed(*rotate, env=token)[1]
    (data / "secrets" / "signing-acme.key").rename(data / "old")  # it is needed no more
    assert command("check", "--data", data, env=token)[0] == 0
    copy, again = data.parent / "backup", data.parent / "again"
    assert command("backup", "--data", data, copy, env=token)[0] == 0
    code, said = command("restore", "--data", again, copy, env=token)
    assert code == 0, said
    code, said = command("check", "--data", again, env=token)
    assert (code, f"key {signs}" in said) == (0, True), said


def test_files_are_wrapped_under_a_key_that_the_token_keeps(
    data: Path, token: dict[str, str]
) -> None:
    to = ("secrets", "rewrap", "--data", data, "--to", "pkcs11:wrapping")
    assert command(*to, env=token)[0] == 0
    env = {**token, "KEYPEGD_SECRETS__WRAPPING_KEY": "pkcs11:wrapping"}
    assert command("check", "--data", data, env=env)[0] == 0
    env["KEYPEGD_SECRETS__WRAPPING_KEY"] = "pkcs11:another"
    assert command("check", "--data", data, env=env)[0] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"KEYPEGD_HARDWARE__TOKEN": "nobody"}, "NoSuchToken"),
        ({"KEYPEGD_HARDWARE__MODULE": "/nowhere.so"}, "can not open the token"),
        ({"KEYPEGD_HARDWARE__MODULE": ""}, "hardware.module names no library"),
        ({"KEYPEGD_HARDWARE__PIN": "/nowhere"}, "The PIN /nowhere can not be read"),
    ],
)
def test_a_token_that_can_not_be_used_is_one_sentence_without_the_pin(
    data: Path, token: dict[str, str], change: dict[str, str], said: str
) -> None:
    to = ("secrets", "rewrap", "--data", data, "--to", "pkcs11:wrapping")
    told = failed(*to, env={**token, **change})[1]
    assert said in told
    assert PIN not in told


def test_a_token_without_ed25519_says_so() -> None:
    library = pytest.importorskip("pkcs11", reason="install python-pkcs11")
    token = Token(library, None, set(), "old token")
    with pytest.raises(HardwareError, match="'old token' has no Ed25519"):
        token.signer("acme")
    assert ED25519.hex() == "06032b6570"

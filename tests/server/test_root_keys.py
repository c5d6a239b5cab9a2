"""Root keys in files, and the commands of a computer that has nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from keypeg_server import sealing
from keypeg_server.sealing import SealError
from tests.server.keypegd import command, failed

PASSPHRASE = "kept in a drawer"


@pytest.fixture
def passphrase(tmp_path: Path) -> Path:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\nanother line\n")
    return path


def test_a_sealed_secret_opens_with_its_passphrase_alone() -> None:
    text = sealing.sealed(bytes(32), "label", PASSPHRASE)
    assert sealing.opened(text, PASSPHRASE) == bytes(32)
    assert sealing.label_of(text) == "label"
    for wrong, said in ((text, "another one"), (text.replace("label", "babel"), PASSPHRASE)):
        with pytest.raises(SealError, match="does not open"):
            sealing.opened(wrong, said)


@pytest.mark.parametrize(
    "text",
    ["", "keypeg-sealed-1", "keypeg-sealed-1:x:", "keypeg-sealed-1:x:AAAA", "a:b:c", "x" * 9999],
)
def test_what_is_no_sealed_secret_is_said_so(text: str) -> None:
    with pytest.raises(SealError, match="no sealed key"):
        sealing.opened(text, PASSPHRASE)


def test_a_root_key_is_made_sealed_shown_and_never_replaced(
    tmp_path: Path, passphrase: Path
) -> None:
    file = tmp_path / "acme.key"
    sealed = ("--root-key", file, "--passphrase-file", passphrase)
    code, said = command("root", "create", *sealed)
    assert (code, "(sealed)" in said) == (0, True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, shown = command("root", "show", "--root-key", file)
    assert code == 0
    assert shown.strip() in said
    assert "already; it is not replaced" in failed("root", "create", *sealed)[1]
    assert "is sealed already" in failed("root", "seal", *sealed)[1]


def test_a_short_passphrase_seals_nothing(tmp_path: Path) -> None:
    short, file = tmp_path / "short", tmp_path / "acme.key"
    short.write_text("hunter2")
    create = ("root", "create", "--root-key", file, "--passphrase-file", short)
    assert "12 characters" in failed(*create)[1]
    assert not file.exists()


def test_what_is_no_request_is_not_signed(tmp_path: Path) -> None:
    file, request = tmp_path / "acme.key", tmp_path / "request"
    assert command("root", "create", "--root-key", file)[0] == 0
    request.write_text("nothing of ours")
    sign = ("root", "sign", "--root-key", file, "--yes", request, tmp_path / "response")
    assert "holds 0 documents" in failed(*sign)[1]
    assert not (tmp_path / "response").exists()


def test_a_server_is_made_for_a_root_that_is_elsewhere(tmp_path: Path) -> None:
    root, data = tmp_path / "acme.key", tmp_path / "data"
    request, response = tmp_path / "request", tmp_path / "response"
    assert command("root", "create", "--root-key", root)[0] == 0
    public = command("root", "show", "--root-key", root)[1].strip()
    init = ("init", "--data", data, "--publisher", "acme", "--root-public-key")
    quick = {"KEYPEGD_PASSWORDS__MEMORY_KIB": "8192", "KEYPEGD_PASSWORDS__ITERATIONS": "1"}
    assert "64 hexadecimal digits" in failed(*init, "12", "--request", request, env=quick)[1]
    assert command(*init, public, "--request", request, env=quick)[0] == 0
    assert not (data / "root").exists()
    serve = ("serve", "--data", data, "--listen", "127.0.0.1:0")
    assert "has delegated none of the keys" in failed(*serve)[1]
    assert command("root", "sign", "--root-key", root, "--yes", request, response)[0] == 0
    code, said = command("key", "install", "--data", data, response)
    assert (code, "generation:        1" in said) == (0, True), said
    code, said = command("check", "--data", data)
    assert (code, "delegation acme" in said) == (0, True), said

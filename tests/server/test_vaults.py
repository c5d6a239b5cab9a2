"""Secret files that are wrapped, under keys from files and credentials."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from keypeg_server import secret_files
from keypeg_server.secret_files import SecretError
from keypeg_server.settings import Secrets, Settings
from keypeg_server.vaults import vault_of
from tests.server.keypegd import command, failed

QUICK = {"KEYPEGD_PASSWORDS__MEMORY_KIB": "8192", "KEYPEGD_PASSWORDS__ITERATIONS": "1"}


@pytest.fixture
def data(tmp_path: Path, made_data: Path) -> Path:
    """A directory whose files are wrapped under the file `wrapping`."""
    found = tmp_path / "data"
    shutil.copytree(made_data, found)
    (tmp_path / "wrapping").write_text("0f" * 32)
    (tmp_path / "other").write_text("1f" * 32)
    for name in ("wrapping", "other"):
        (tmp_path / name).chmod(0o600)
    under(found, tmp_path / "wrapping", found)
    return found


def under(data: Path, key: object, where: Path) -> None:
    """Wrap the files of a directory, and say so in its settings."""
    code, said = command("secrets", "rewrap", "--data", where, "--to", key)
    assert code == 0, said
    (data / "keypegd.toml").write_text(f'[secrets]\nwrapping_key = "{key}"\n')


def bare(data: Path) -> list[str]:
    return [
        path.name
        for path in sorted((data / "secrets").glob("*.key"))
        if not path.read_text().startswith(secret_files.WRAPPED)
    ]


def test_a_directory_is_whole_when_its_files_are_wrapped(data: Path, made_data: Path) -> None:
    assert bare(data) == []
    code, said = command("check", "--data", data)
    assert code == 0, said
    vault = vault_of(data, Settings(secrets=Secrets(str(data.parent / "wrapping"))))
    before, after = secret_files.load(made_data, None), secret_files.load(data, vault)
    assert after.management_key == before.management_key
    assert after.site.public_key == before.site.public_key


def test_a_server_is_made_with_wrapped_files_from_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "wrapping").write_text("0f" * 32)
    (tmp_path / "wrapping").chmod(0o600)
    env = {**QUICK, "KEYPEGD_SECRETS__WRAPPING_KEY": str(tmp_path / "wrapping")}
    made = tmp_path / "made"
    assert command("init", "--data", made, "--publisher", "acme", env=env)[0] == 0
    assert bare(made) == []
    assert command("check", "--data", made, env=env)[0] == 0


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "is wrapped; secrets.wrapping_key has to say under what"),
        ("{}/other", "wrapped under another key"),
        ("{}/nowhere", "can not be read (No such file"),
        ("credential:wrapping", "LoadCredential"),
    ],
)
def test_without_the_right_key_a_server_does_not_start_and_says_why(
    data: Path, key: str, said: str
) -> None:
    env = {"KEYPEGD_SECRETS__WRAPPING_KEY": key.format(data.parent)}
    assert said in failed("serve", "--data", data, "--listen", "127.0.0.1:0", env=env)[1]
    assert said.partition(";")[0] in command("check", "--data", data, env=env)[1]


def test_a_credential_of_systemd_is_read_where_systemd_puts_it(data: Path) -> None:
    env = {"CREDENTIALS_DIRECTORY": str(data.parent)}
    env["KEYPEGD_SECRETS__WRAPPING_KEY"] = "credential:wrapping"
    code, said = command("check", "--data", data, env=env)
    assert code == 0, said


def test_files_go_from_one_key_to_another_and_to_none(data: Path) -> None:
    under(data, data.parent / "other", data)
    assert command("check", "--data", data)[0] == 0
    assert command("secrets", "rewrap", "--data", data, "--to", "none")[0] == 0
    assert len(bare(data)) == 5
    (data / "keypegd.toml").write_text("")
    assert command("check", "--data", data)[0] == 0


def test_a_rewrap_that_was_interrupted_is_ended_by_another(data: Path) -> None:
    done = data / "secrets" / "site.key"
    before = done.read_text()
    to = ("secrets", "rewrap", "--data", data, "--to", data.parent / "other")
    assert command(*to)[0] == 0
    done.write_text(before)  # as if it had not come to this one
    assert command(*to)[0] == 0
    (data / "keypegd.toml").write_text(f'[secrets]\nwrapping_key = "{data.parent / "other"}"\n')
    assert command("check", "--data", data)[0] == 0


def test_a_file_that_was_put_in_the_place_of_another_is_refused(data: Path) -> None:
    shutil.copy(data / "secrets" / "ticket.key", data / "secrets" / "release.key")
    vault = vault_of(data, Settings(secrets=Secrets(str(data.parent / "wrapping"))))
    with pytest.raises(SecretError, match=r"release\.key is wrapped under another key"):
        secret_files.load(data, vault)


def test_a_wrapping_key_that_others_may_read_is_found(data: Path) -> None:
    (data.parent / "wrapping").chmod(0o644)
    code, said = command("check", "--data", data)
    assert (code, "wrapping has mode 0644" in said) == (1, True), said


def test_a_key_that_can_be_guessed_wraps_nothing(data: Path) -> None:
    (data.parent / "short").write_text("hunter2")
    to = ("secrets", "rewrap", "--data", data, "--to", data.parent / "short")
    assert "32 or more random ones" in failed(*to)[1]
    assert command("check", "--data", data)[0] == 0

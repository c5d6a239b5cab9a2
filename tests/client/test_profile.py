"""Profiles, tokens, the computer's id, and where bridges and agents are."""

from __future__ import annotations

import multiprocessing
import os
import socket
import stat
from pathlib import Path

import pytest

from keypeg import discovery, errors, profile
from keypeg.profile import Profile


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"KEYPEG_CONFIG_DIR": str(tmp_path / "config")}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_was_saved_is_loaded(env):
    saved = Profile(
        "lab",
        "host:1",
        "/ca.pem",
        "accounts/a",
        "users/u",
        "open",
        tokens="file",
        token="token-1",
    )
    profile.save(saved, environment=env)
    assert profile.load(environment=env) == saved
    assert profile.load("lab", environment=env) == saved
    assert profile.names(env) == ("lab",)


def test_the_environment_wins_over_the_file(env):
    profile.save(Profile("lab", "host:1", token="t"), environment=env)
    over = {
        **env,
        "KEYPEG_SERVER": "other:2",
        "KEYPEG_TOKEN": "u",
        "KEYPEG_BRIDGE": "unix:/b",
        "KEYPEG_CA_FILE": "/c",
    }
    loaded = profile.load(environment=over)
    assert (loaded.server, loaded.token, loaded.bridge, loaded.ca_file) == (
        "other:2",
        "u",
        "unix:/b",
        "/c",
    )


def test_where_tokens_are_kept_is_one_of_three(env):
    profile.save(Profile("lab", "host:1", tokens="keyring"), environment=env)
    assert profile.load(environment=env).tokens == "keyring"
    assert profile.load(environment={**env, "KEYPEG_TOKENS": "file"}).tokens == "file"
    with pytest.raises(
        errors.FieldInvalid, match=r"auto, file, keyring, not in 'safe'.*KEYPEG_TOK"
    ):
        profile.load(environment={**env, "KEYPEG_TOKENS": "safe"})


def test_one_of_several_profiles_is_current(env):
    profile.save(Profile("one", "h:1"), environment=env)
    profile.save(Profile("two", "h:2"), environment=env)
    assert profile.load(environment=env).name == "two"
    profile.save(Profile("one", "h:3"), current=False, environment=env)
    assert profile.load(environment=env).name == "two"
    assert profile.load(environment={**env, "KEYPEG_PROFILE": "one"}).server == "h:3"


def test_a_token_is_its_owners_only_and_in_no_repr(env):
    profile.save(Profile("lab", "h:1", token="very-secret"), environment=env)
    path = profile.config_dir(env) / "tokens" / "lab"
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert "very-secret" not in repr(profile.load(environment=env))
    assert "very-secret" not in (profile.config_dir(env) / "config.toml").read_text()
    profile.keeper("lab", environment=env).forget()
    profile.keeper("lab", environment=env).forget()
    assert profile.load(environment=env).token == ""


def test_strange_values_survive_the_file(env):
    strange = Profile("lab", 'a"b\\c\td\x7fé☃', user="]\n[x]")
    profile.save(strange, environment=env)
    assert profile.load(environment=env) == strange


@pytest.mark.parametrize(
    "text",
    [
        "not toml =",
        "[profiles.lab]\nsurprise = 1",
        "[profiles.lab]\nserver = 1",
        "x" * (1 << 20 | 1),
    ],
    ids=["no TOML", "unknown setting", "no text", "too long"],
)
def test_a_file_that_is_wrong_is_an_error_with_its_name(env, text):
    path = profile.config_dir(env) / "config.toml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(errors.FieldInvalid, match=r"config\.toml"):
        profile.load("lab", environment=env)


def test_a_profile_that_is_not_there_is_named(env):
    with pytest.raises(errors.FieldInvalid, match=r"no profile 'nowhere'.*keypeg login"):
        profile.load("nowhere", environment=env)


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 64, "Ä"])
def test_a_name_that_could_leave_the_directory_is_refused(env, name):
    with pytest.raises(errors.FieldInvalid, match="profile name"):
        profile.keeper(name, environment=env)


def test_a_directory_that_can_not_be_written_says_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    env = {"KEYPEG_CONFIG_DIR": str(tmp_path / "file")}
    with pytest.raises(errors.FieldInvalid, match="KEYPEG_CONFIG_DIR"):
        profile.save(Profile(), environment=env)


def test_the_id_of_a_computer_is_made_once(env):
    first = profile.device_id(env)
    assert profile.DEVICE_ID.fullmatch(first)
    assert profile.device_id(env) == first
    assert profile.device_id({**env, "KEYPEG_DEVICE": "lab-computer-7"}) == "lab-computer-7"
    with pytest.raises(errors.FieldInvalid, match="KEYPEG_DEVICE"):
        profile.device_id({**env, "KEYPEG_DEVICE": "No!"})


def _device(env: dict[str, str], barrier, answers) -> None:
    barrier.wait(20)
    answers.put(profile.device_id(env))


def test_many_programs_that_start_at_once_have_one_id(env):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    programs = [context.Process(target=_device, args=(env, barrier, answers)) for _ in range(4)]
    for program in programs:
        program.start()
    assert len({answers.get(timeout=20) for _ in programs}) == 1
    for program in programs:
        program.join(20)
    assert os.listdir(profile.config_dir(env)) == ["device.toml"]


def test_certificates_are_read_and_nothing_else(tmp_path):
    with pytest.raises(errors.FieldInvalid, match="can not be read"):
        profile.read_certificates(tmp_path / "none.pem")
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(errors.FieldInvalid, match="no certificate"):
        profile.read_certificates(tmp_path / "key.pem")


def test_a_bridge_is_found_where_it_is_named_or_where_it_usually_is(tmp_path):
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    assert discovery.bridge_target("", env) is None
    assert discovery.agent_target(env) is None
    path = tmp_path / "keypeg" / "bridge.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        assert discovery.bridge_target("", env) == f"unix:{path}"
        assert discovery.agent_target(env) == f"unix:{path}"
        assert discovery.bridge_target("", {**env, "KEYPEG_BRIDGE": "unix:/b"}) == "unix:/b"
        assert discovery.bridge_target("unix:/c", {**env, "KEYPEG_BRIDGE": "unix:/b"}) == "unix:/c"
        assert discovery.bridge_target("", {**env, "KEYPEG_BRIDGE": "off"}) is None
        assert discovery.agent_target({**env, "KEYPEG_AGENT": "unix:/a"}) == "unix:/a"
        assert discovery.agent_target({**env, "KEYPEG_AGENT": "off"}) is None
        assert discovery.agent_target({**env, "KEYPEG_BRIDGE": "lab:99"}) is None


def test_what_is_no_socket_is_no_bridge(tmp_path):
    path = tmp_path / "keypeg" / "bridge.sock"
    path.parent.mkdir()
    path.write_text("")
    assert discovery.bridge_target("", {"XDG_RUNTIME_DIR": str(tmp_path)}) is None


def test_several_servers_are_a_list_in_the_file(env):
    profile.save(Profile(server="a:1,b:2"), environment=env)
    path = Path(env["KEYPEG_CONFIG_DIR"]) / "config.toml"
    text = path.read_text()
    assert 'server = ["a:1", "b:2"]' in text
    assert profile.load(environment=env).server == "a:1,b:2"
    path.write_text(text.replace('"b:2"', "2"))
    with pytest.raises(errors.FieldInvalid, match="server address"):
        profile.load(environment=env)

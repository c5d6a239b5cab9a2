"""Settings: what is read, what is refused and how, and that the operations page shows them all."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from keypeg.settings_reading import SettingsError
from keypeg_server.settings import Settings
from keypeg_server.settings_reading import describe, load

ROOT = Path(__file__).resolve().parents[2]


PROVIDER = """[[sign_in.providers]]
name = 'work'
issuer = 'https://id.example'
client_id = 'keypeg'
"""


def loaded(tmp_path: Path, text: str, **environment: str) -> Settings:
    path = tmp_path / "keypegd.toml"
    path.write_text(text)
    return load(path, {f"KEYPEGD_{name}": value for name, value in environment.items()})


def test_without_a_file_everything_is_as_described(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml", {}) == Settings()


def test_the_environment_stands_over_the_file(tmp_path: Path) -> None:
    text = '[server]\nlisten = "0.0.0.0:7"\n[tokens]\nvalid_for = "2h"\n[keys]\nallow_emulated = false\n'
    settings = loaded(
        tmp_path,
        text,
        KEYS__ALLOW_EMULATED="true",
        LIMITS__OPEN_FILES="2048",
        SERVER__HOST_NAMES="a.example, b.example",
        SESSIONS__SEAT_GRANT="15s",
    )
    assert settings.server.listen == "0.0.0.0:7"
    assert settings.tokens.valid_for == timedelta(hours=2)
    assert settings.keys.allow_emulated is True
    assert settings.limits.open_files == 2048
    assert settings.server.host_names == ("a.example", "b.example")
    assert settings.sessions.seat_grant == timedelta(seconds=15)


def test_providers_are_a_list_of_tables(tmp_path: Path) -> None:
    local = PROVIDER.replace("work", "home").replace("https://id.example", "http://127.0.0.1:8/")
    [work, home] = loaded(tmp_path, PROVIDER + local).sign_in.providers
    assert (work.name, work.issuer, work.scopes) == ("work", "https://id.example", ("openid",))
    assert (home.issuer, home.second_factor) == ("http://127.0.0.1:8/", "ours")


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("[server", {}, "not TOML"),
        ("x = 1\n", {}, "'x' stands outside of a section"),
        ("[sever]\nlisten = 'a'\n", {}, "there is no section 'sever'"),
        ("[sever]\n", {}, "there is no section 'sever'"),
        ("[server]\nlisen = 'a'\n", {}, "there is no setting 'lisen' in [server]"),
        ("[server]\nlisten = 7\n", {}, "server.listen is a text, not int"),
        ("[keys]\nallow_emulated = 1\n", {}, "keys.allow_emulated is true or false, not int"),
        ("[limits]\nopen_files = true\n", {}, "limits.open_files is a number, not bool"),
        ("[limits]\nopen_files = 1\n", {}, "limits.open_files is 1; it goes from 1,024 to"),
        ("[tokens]\nvalid_for = 5\n", {}, "is a duration such as"),
        ("[tokens]\nvalid_for = '5 h'\n", {}, "is a duration such as"),
        ("[tokens]\nvalid_for = '1s'\n", {}, "is 1s; it goes from 1m to 365d"),
        ("[logs]\nlevel = 'loud'\n", {}, "is one of debug, info, warning, error; not 'loud'"),
        ("[server]\nhost_names = ['a', 1]\n", {}, "is a list of texts"),
        ("[server]\ntls_key = 'k.pem'\n", {}, "go together; set both"),
        ("[sign_in]\nproviders = 7\n", {}, "[[sign_in.providers]]"),
        ("[[sign_in.providers]]\nnam = 'x'\n", {}, "there is no setting 'nam' in [[sign_in.pro"),
        ("[[sign_in.providers]]\nname = 7\n", {}, "sign_in.providers[1].name is a text, not int"),
        (PROVIDER + "second_factor = 'none'\n", {}, "second_factor is one of ours, amr, theirs"),
        (PROVIDER + "scopes = ['email']\n", {}, "scopes name openid"),
        (PROVIDER + PROVIDER, {}, "two have the same name"),
        (PROVIDER + PROVIDER.replace("work", "home"), {}, "two have the same issuer"),
        (PROVIDER.replace("work", "Work place"), {}, "a name of 1 to 32 characters"),
        (PROVIDER.replace("https", "http"), {}, "issuer is an https URL"),
        (PROVIDER.replace("id.example", "user@id.example"), {}, "issuer is an https URL"),
        (PROVIDER.replace("client_id = 'keypeg'", ""), {}, "client_id is missing"),
        ("", {"SIGN_IN__PROVIDERS": "work"}, "[[sign_in.providers]]"),
        ("", {"SERVER__PORT": "1"}, "KEYPEGD_SERVER__PORT: there is no setting 'port'"),
        ("", {"NONSENSE": "1"}, "KEYPEGD_NONSENSE: there is no section 'nonsense'"),
        ("", {"LIMITS__OPEN_FILES": "many"}, "limits.open_files is a number, not str"),
        ("", {"KEYS__ALLOW_EMULATED": "maybe"}, "keys.allow_emulated is true or false"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    tmp_path: Path, text: str, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        loaded(tmp_path, text, **environment)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can not be read"):
        load(tmp_path, {})
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not TOML"):
        load(tmp_path / "bytes.toml", {})


def test_every_setting_says_what_it_does() -> None:
    for name, _, _, limits, what in describe():
        assert what.endswith("."), name
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+(\[\]\.[a-z_]+)?", name)
        if limits:
            assert " to " in limits


def test_the_operations_page_shows_every_setting() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rows = [f"| `{n}` | {k} | `{d}` | {m} | {w} |" for n, k, d, m, w in describe()]
    missing = [row for row in rows if row not in page]
    assert not missing, "docs/operations.md lacks:\n" + "\n".join(missing)
    table = page[page.index("## Settings") :]
    shown = re.findall(r"^\| `([a-z_]+\.[a-z_.\[\]]+)` \|", table, re.MULTILINE)
    assert shown == [name for name, *_ in describe()]

"""The bridge's settings: refused when unknown or out of range, and documented."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from keypeg.settings_reading import SettingsError
from keypeg_bridge.rack.states import TRANSITIONS
from keypeg_bridge.rack.write_steps import STEPS
from keypeg_bridge.rpc.protocol import PHASES
from keypeg_bridge.settings import Settings, describe, load

PAGE = Path(__file__).parents[2] / "docs" / "bridge.md"


def test_without_a_file_everything_is_as_described() -> None:
    assert (
        load(None, {"KEYPEG_BRIDGE": "unix:/x", "KEYPEG_BRIDGE__X": "1", "HOME": "/"}) == Settings()
    )


def test_the_environment_stands_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text(
        '[keys]\nbackends = ["libusb"]\n[sessions]\nvalid_for = "20s"\nlimit = 7\n'
        "[listen]\nlan = false\n"
    )
    settings = load(
        file,
        {
            "KEYPEG_BRIDGE_KEYS__BACKENDS": "libusb, usbip:127.0.0.1:3240",
            "KEYPEG_BRIDGE_LISTEN__LAN": "true",
            "KEYPEG_BRIDGE_SESSIONS__LIMIT": "9",
        },
    )
    assert settings.keys.backends == ("libusb", "usbip:127.0.0.1:3240")
    assert settings.sessions.valid_for == timedelta(seconds=20)
    assert settings.sessions.limit == 9
    assert settings.listen.lan


@pytest.mark.parametrize(
    ("text", "env", "words"),
    [
        ("[keys", {}, "not TOML"),
        ("limit = 3", {}, "outside of a section"),
        ("[colors]", {}, "no section 'colors'"),
        ('[keys]\ncolor = "red"', {}, "no setting 'color' in [keys]"),
        ('[keys]\nbackends = "libusb"', {}, "a list of texts"),
        ('[keys]\ndrivers = ["fido2", "otp"]', {}, "one of piv, smartkey, fido2; not 'otp'"),
        ('[keys]\npiv_algorithms = ["P-521"]', {}, "one of P-256, P-384, Ed25519, RSA-2048; not"),
        ("[sessions]\nlimit = true", {}, "a number, not bool"),
        ("[sessions]\nlimit = 0", {}, "goes from 1 to 100,000"),
        ("[sessions]\nvalid_for = 30", {}, "a duration such as"),
        ('[sessions]\nvalid_for = "31s"', {}, "goes from 1s to 30s"),
        ('[logs]\nlevel = "loud"', {}, "one of debug"),
        ("[listen]\nlan = 1", {}, "true or false"),
        ("", {"KEYPEG_BRIDGE_KEYS__COLOR": "red"}, "no setting 'color'"),
        ("", {"KEYPEG_BRIDGE_COLORS__RED": "1"}, "no section 'colors'"),
        ("", {"KEYPEG_BRIDGE_SESSIONS__LIMIT": "many"}, "a number, not str"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    tmp_path: Path, text: str, env: dict[str, str], words: str
) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load(file, env)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value).replace(str(file), "")


def test_a_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can not be read"):
        load(tmp_path / "none.toml", {})


def test_the_page_shows_every_setting_and_every_table() -> None:
    page = PAGE.read_text()
    rows = [f"| `{n}` | `{d}` | {limits} | {what} |" for n, _, d, limits, what in describe()]
    rows += [
        f"| {a.name.lower()} | {h.value} | {b.name.lower()} |" for (a, h), b in TRANSITIONS.items()
    ]
    rows += [f"| {a.value} | {e.value} | {b.value} |" for (a, e), b in PHASES.items()]
    rows += [f"| {a.value} | {d.value} | {b.value} |" for (a, d), b in STEPS.items()]
    missing = [row for row in rows if row not in page]
    assert not missing, "docs/bridge.md lacks:\n" + "\n".join(missing)

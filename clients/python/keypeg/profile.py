"""What a person has set up on this computer: profiles, and the computer's own id.

Promises: everything lives in one directory (KEYPEG_CONFIG_DIR, else the platform's configuration
directory for `keypeg`), but for tokens that are in the system's keyring; files are written whole or not at
all; a token shows in no repr. The environment wins over the file, the caller wins over both.

    config.toml            current = "default", [profiles.default] server, ca_file, account, cloud ...
    device.toml            id = "..."            made once per computer
    tokens/<profile>       what keeps the user signed in, or where that is (token_place)   0600
    credentials/<profile>  a credential file     0600
    licenses/*.keypeg      license documents for this computer
    marks/                 a file for each session that runs (device_marks)
    borrows/               seats that are borrowed for this computer (borrow_shelf)

Leaves to others: where tokens are (token_place), and what a profile is used for (client, cli).
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import platformdirs

from keypeg import config_text, files, servers, token_place
from keypeg.errors import FieldInvalid, SignInRequired
from keypeg.token_file import Tokens
from keypeg.token_place import PlacedKeeper

if TYPE_CHECKING:
    from keypeg.credential_file import CredentialFile

CONFIG_FILE: Final = "config.toml"
DEVICE_FILE: Final = "device.toml"
CREDENTIAL_DIRECTORY: Final = "credentials"
TOKEN_DIRECTORY: Final = "tokens"  # noqa: S105 (a directory, no token)
LICENSE_DIRECTORY: Final = "licenses"
BORROW_DIRECTORY: Final = "borrows"
MARK_DIRECTORY: Final = "marks"
DEFAULT_PROFILE: Final = "default"

DEVICE_ID: Final = re.compile(r"[a-z0-9-]{8,64}")  # as Device.id of the contract
PROFILE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class Profile:
    """How to reach a server, and as whom; everything may be empty."""

    name: str = DEFAULT_PROFILE
    server: str = ""  # `host:port`, several separated by commas; in the file also a list
    ca_file: str = ""  # PEM; empty for the system's certificates
    account: str = ""  # `accounts/{account}`
    user: str = ""  # `users/{user}` or `accounts/{account}/users/{user}`; for display
    cloud: str = ""  # the remembered answer to "open a cloud session here?": ask, open, move, never
    bridge: str = ""  # `unix:/path` or `host:port`; empty for the default socket
    credential: str = ""  # a credential file, which signs in when there is no token
    tokens: str = ""  # where tokens are kept: auto, keyring, file; empty for auto
    token: str = field(default="", repr=False)
    # Why there is no token, where there is one that can not be read.
    unread: SignInRequired | None = field(default=None, repr=False, compare=False)
    ca_pem: str = field(default="", repr=False)  # of the credential file, where no ca_file is set
    # The token is the kept one, or one that is kept in memory: it is refreshed.
    follows: bool = field(default=False, compare=False)
    in_memory: Tokens | None = field(default=None, repr=False, compare=False)
    # The credential file, where a person has opened it for this process alone.
    opened: CredentialFile | None = field(default=None, repr=False, compare=False)

    def readable(self) -> Profile:
        """This profile; raises why its token can not be read, where that is so."""
        if self.unread is not None and not (self.token or self.credential):
            raise self.unread
        return self

    def ca_certificates(self) -> bytes | None:
        """The certificates to trust, PEM; None for the system's."""
        if self.ca_file:
            return read_certificates(self.ca_file)
        return self.ca_pem.encode() or None


_STORED: Final = tuple(
    f.name
    for f in fields(Profile)
    if f.name not in ("name", "token", "unread", "follows", "in_memory", "ca_pem", "opened")
)


def config_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where everything lives; need not exist."""
    env = os.environ if environment is None else environment
    if chosen := env.get("KEYPEG_CONFIG_DIR"):
        return Path(chosen).expanduser()
    return platformdirs.user_config_path("keypeg", appauthor=False)


def licenses_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where license documents for this computer are put."""
    return config_dir(environment) / LICENSE_DIRECTORY


def marks_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where the sessions of this computer find each other's marks."""
    return config_dir(environment) / MARK_DIRECTORY


def borrows_dir(environment: Mapping[str, str] | None = None) -> Path:
    """Where seats that are borrowed for this computer are kept."""
    return config_dir(environment) / BORROW_DIRECTORY


def load(name: str | None = None, environment: Mapping[str, str] | None = None) -> Profile:
    """The profile of that name, else KEYPEG_PROFILE, else the current one; the environment over it.

    A profile that is named and not there is FieldInvalid; without a name an empty one is fine.
    """
    env = os.environ if environment is None else environment
    root = config_dir(env)
    table = config_text.read(root / CONFIG_FILE)
    wanted = name or env.get("KEYPEG_PROFILE") or ""
    chosen = wanted or str(table.get("current", DEFAULT_PROFILE))
    stored = table.get("profiles", {}).get(chosen)
    if stored is None and wanted and not env.get("KEYPEG_SERVER"):
        known = ", ".join(sorted(table.get("profiles", {}))) or "none yet"
        raise FieldInvalid(
            f"There is no profile {chosen!r} in {root / CONFIG_FILE} (there: {known}); "
            "sign in with `keypeg login`, or name another profile.",
            field="profile",
        )
    values: dict[str, Any] = _checked(stored or {}, chosen, root / CONFIG_FILE)
    by_hand, by_credential = env.get("KEYPEG_TOKEN") or "", env.get("KEYPEG_CREDENTIAL") or ""
    token, unread = by_hand, None
    if not by_hand and not by_credential:
        token, unread = _loaded(keeper(chosen, environment=env))
    profile = Profile(name=chosen, **values)
    profile = replace(
        profile,
        server=env.get("KEYPEG_SERVER") or profile.server,
        ca_file=env.get("KEYPEG_CA_FILE") or profile.ca_file,
        bridge=env.get("KEYPEG_BRIDGE") or profile.bridge,
        tokens=env.get(token_place.VARIABLE) or profile.tokens,
        token=token,
        unread=unread,
        credential=by_credential or profile.credential,
        follows=not by_hand,
    )
    token_place.setting(profile.tokens)
    return _with_credential(profile) if profile.credential and not profile.token else profile


def given(
    name: str | None,
    server: str | None,
    ca_file: str | None,
    token: str | None,
    account: str | None,
    credential: str | None = None,
) -> Profile:
    """A profile, with what is given by hand in its place; None: as the profile says."""
    loaded = load(name)
    if credential is not None:
        loaded = _with_credential(replace(loaded, credential=credential, token=""))
    loaded = replace(loaded, follows=loaded.follows and token is None)
    by_hand: dict[str, Any] = {
        "server": server,
        "ca_file": ca_file,
        "token": token,
        "account": account,
    }
    return replace(loaded, **{key: value for key, value in by_hand.items() if value is not None})


def _with_credential(profile: Profile) -> Profile:
    """What the credential file says, where nothing else does."""
    from keypeg import credential_file

    document = credential_file.load(profile.credential).document
    account = document.credential.partition("/credentials/")[0]
    return replace(
        profile,
        server=profile.server or ",".join(document.servers),
        ca_pem=document.ca_certificates,
        account=account,
        user=document.user,
    )


def names(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The profiles that there are."""
    return tuple(
        sorted(config_text.read(config_dir(environment) / CONFIG_FILE).get("profiles", {}))
    )


def server_of(name: str, environment: Mapping[str, str] | None = None) -> str:
    """The server of a profile, whatever is set beside it; empty when there is none."""
    path = config_dir(environment) / CONFIG_FILE
    stored = config_text.read(path).get("profiles", {}).get(name, {})
    return _checked(stored, name, path).get("server", "")


def save(
    profile: Profile, *, current: bool = True, environment: Mapping[str, str] | None = None
) -> None:
    """Keeps a profile, its token too when it has one; `current` makes it the default one."""
    root = config_dir(environment)
    _check_name(profile.name)
    table = config_text.read(root / CONFIG_FILE)
    profiles = dict(table.get("profiles", {}))
    stored = {key: value for key in _STORED if (value := getattr(profile, key))}
    if "," in profile.server:
        stored["server"] = profile.server.split(",")
    profiles[profile.name] = stored
    chosen = profile.name if current else str(table.get("current", DEFAULT_PROFILE))
    files.write(root / CONFIG_FILE, config_text.written(chosen, profiles))
    if profile.token:
        kept = keeper(profile.name, profile.tokens, environment=environment)
        if _loaded(kept)[0] != profile.token:
            kept.begin(Tokens(profile.token))


def keeper(
    name: str, wanted: str = "", *, environment: Mapping[str, str] | None = None
) -> PlacedKeeper:
    """What keeps the tokens of a profile; `wanted` is where: auto (default), keyring or file."""
    _check_name(name)
    path = config_dir(environment) / TOKEN_DIRECTORY / name
    return PlacedKeeper(path, token_place.setting(wanted))


def device_id(environment: Mapping[str, str] | None = None) -> str:
    """The id of this computer: KEYPEG_DEVICE, else the one in device.toml, made at the first call."""
    env = os.environ if environment is None else environment
    if chosen := env.get("KEYPEG_DEVICE"):
        return _checked_device(chosen, "KEYPEG_DEVICE")
    path = config_dir(env) / DEVICE_FILE
    table = config_text.read(path)
    if not table:
        made = f"dev-{secrets.token_hex(16)}"
        if files.write_once(path, f'id = "{made}"\n'.encode()):
            return made
        table = config_text.read(path)  # another process was first
    return _checked_device(str(table.get("id", "")), str(path))


def read_certificates(path: str | Path) -> bytes:
    """The PEM file of certificates; FieldInvalid when it can not be read."""
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise FieldInvalid(
            f"The certificate file {path} can not be read: {error.strerror}.", field="ca_file"
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise FieldInvalid(f"The file {path} holds no certificate in PEM form.", field="ca_file")
    return data


def _loaded(kept: PlacedKeeper) -> tuple[str, SignInRequired | None]:
    """The token that is kept, or why it can not be read."""
    try:
        return kept.load().token, None
    except SignInRequired as error:
        return "", error


def _checked_device(device: str, where: str) -> str:
    if not DEVICE_ID.fullmatch(device):
        raise FieldInvalid(
            f"The device id {device!r} in {where} is not 8 to 64 characters of [a-z0-9-].",
            field="device",
        )
    return device


def _check_name(name: str) -> None:
    if not PROFILE_NAME.fullmatch(name):
        raise FieldInvalid(
            f"The profile name {name!r} is not 1 to 63 characters of [a-z0-9._-].", field="profile"
        )


def _checked(stored: Mapping[str, Any], name: str, path: Path) -> dict[str, str]:
    _check_name(name)
    if unknown := sorted(set(stored) - set(_STORED)):
        raise FieldInvalid(
            f"Profile {name!r} in {path} has unknown settings: {', '.join(unknown)}; "
            f"there are {', '.join(_STORED)}.",
            field="profile",
        )
    values = dict(stored)
    if isinstance(values.get("server"), list):
        values["server"] = servers.joined(values["server"])
    if wrong := sorted(key for key, value in values.items() if not isinstance(value, str)):
        raise FieldInvalid(f"Settings in {path} must be text: {', '.join(wrong)}.", field="profile")
    return values

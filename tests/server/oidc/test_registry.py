"""Providers of the settings, before anybody signs in at one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keypeg.errors import NotFound
from keypeg_server import vaults
from keypeg_server.oidc import registry
from keypeg_server.oidc.registry import KnownProviders, ProviderError, of_settings
from keypeg_server.secret_files import SecretError
from keypeg_server.settings import SignInProvider
from tests.server.service.office import HandClock

WORK = SignInProvider(name="work", issuer="https://id.example", client_id="keypeg")


def made(data: Path, **others: Any) -> KnownProviders:
    return of_settings([replace(WORK, **others)], data, HandClock(), vaults.read)


def test_a_provider_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    known = made(tmp_path, client_secret_file="secret")
    assert known.provider("work").issuer == "https://id.example"
    assert "s3cret" not in repr(vars(known.provider("work")))
    with pytest.raises(NotFound, match="it has: work"):
        known.provider("home")


def test_what_is_missing_is_said_when_the_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SecretError, match="client secret of the provider work"):
        made(tmp_path, client_secret_file="nowhere")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ProviderError, match="is empty"):
        made(tmp_path, client_secret_file="empty")
    with pytest.raises(ProviderError, match="ca_file"):
        made(tmp_path, ca_file="empty")
    monkeypatch.setattr(registry, "NEEDED", ("no_such_library",))
    with pytest.raises(ProviderError, match=r"pip install 'keypeg\[oidc\]'"):
        made(tmp_path)
    none = of_settings([], tmp_path, HandClock(), vaults.read)
    with pytest.raises(NotFound, match="it has: none"):
        none.provider("work")

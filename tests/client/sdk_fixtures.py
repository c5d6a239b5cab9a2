"""A computer of one's own for each test: its configuration, and no bridge or agent from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

DEVICE = "device-of-the-test"


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration directory."""
    for name in ("SERVER", "CA_FILE", "TOKEN", "PROFILE"):
        monkeypatch.delenv(f"KEYPEG_{name}", raising=False)
    config = tmp_path / "config"
    monkeypatch.setenv("KEYPEG_CONFIG_DIR", str(config))
    monkeypatch.setenv("KEYPEG_DEVICE", DEVICE)
    monkeypatch.setenv("KEYPEG_BRIDGE", "off")
    monkeypatch.setenv("KEYPEG_AGENT", "off")
    monkeypatch.setenv("KEYPEG_ASK", "never")
    return config

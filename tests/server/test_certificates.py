"""The certificate that a server shows, while its files are replaced; time is an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import structlog
from cryptography import x509

from keypeg_server import certificates, tls
from keypeg_server.certificates import Certificates
from keypeg_server.opened import StartError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


class Now:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = NOW

    def monotonic(self) -> float:
        return self.now.timestamp()

    def wall(self) -> datetime:
        return self.now

    def wall_us(self) -> int:
        return int(self.now.timestamp() * 1_000_000)


class Files:
    """An operator's own certificate in two files."""

    def __init__(self, folder: Path) -> None:
        self.clock = Now()
        self.folder = folder
        self.replace(NOW)

    def replace(self, now: datetime) -> None:
        made = tls.development_identity(self.folder / f"of-{now:%Y-%m-%d}", [], now)
        self.write(made.chain, made.key)

    def write(self, chain: bytes, key: bytes) -> None:
        (self.folder / "chain.pem").write_bytes(chain)
        (self.folder / "key.pem").write_bytes(key)

    def identity(self) -> tls.Identity:
        try:
            return tls.own_identity(self.folder / "chain.pem", self.folder / "key.pem")
        except ValueError as error:
            raise StartError(f"The server's certificate can not be used: {error}.") from error


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def ends(shown: Certificates) -> datetime:
    return x509.load_pem_x509_certificates(shown.identity.chain)[0].not_valid_after_utc


def test_files_that_were_replaced_are_shown_and_others_are_not_looked_at_again(
    files: Files,
) -> None:
    shown = Certificates(files)
    first = shown.identity
    shown.refresh()
    assert shown.identity is first
    files.replace(NOW + YEAR)
    shown.refresh()
    assert ends(shown) > NOW + YEAR


def test_files_that_do_not_fit_together_change_nothing_and_are_said_once(files: Files) -> None:
    shown = Certificates(files)
    before = shown.identity
    new = tls.development_identity(files.folder / "new", [], NOW)
    with structlog.testing.capture_logs() as said:
        files.write(new.chain, before.key)
        shown.refresh()
        shown.refresh()
        assert shown.identity is before
        files.write(new.chain, new.key)
        shown.refresh()
    assert shown.identity.chain == new.chain
    assert [one["event"] for one in said] == [
        "certificate can not be replaced",
        "certificate replaced",
    ]


def test_an_end_that_is_near_is_said_once_a_day(files: Files) -> None:
    shown = Certificates(files)
    files.clock.now = ends(shown) - certificates.WARNING + timedelta(hours=1)
    with structlog.testing.capture_logs() as said:
        shown.refresh()
        shown.refresh()
        files.clock.now += timedelta(days=1)
        shown.refresh()
    own = [one["days"] for one in said if one["which"] == "certificate"]
    assert own == [29, 28]
